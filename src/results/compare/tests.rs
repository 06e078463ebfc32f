//! Comparisons of runs that are made up record by record.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::json;

use super::{Comparison, Verdict, compare};
use crate::analysis::testing::{T0, TestLog};
use crate::analysis::{RunData, analyse};
use crate::results::grid::GridFormat;
use crate::results::{RunResult, build};

/// A run of cycles of these powers, in watts beside 10 W of memory.
fn run(id: &str, watts: &[f64]) -> RunResult {
    let mut log = TestLog::modelled();
    let mut at = T0;
    for (cycle, watts) in watts.iter().enumerate() {
        at = log.cycle(u32::try_from(cycle).unwrap(), at, *watts);
    }
    let data = RunData::from_log(&log.envelopes).with_status(lem_record::RunStatus::Finished, None);
    let mut result = build(&data, &analyse(&data), Vec::new(), Path::new("runs/x"));
    id.clone_into(&mut result.run_id);
    id.clone_into(&mut result.name);
    result.environment = json!({"host": {"hostname": "a"}});
    result
}

fn verdict(comparison: &Comparison, path: &str) -> Option<Verdict> {
    let row = comparison.metrics.iter().find(|m| m.path == path).unwrap();
    row.compared[0].verdict
}

#[test]
fn what_differs_is_said_only_where_the_cycles_show_it() {
    let quiet = run("a", &[50.0, 50.1, 49.9, 50.05]);
    let louder = run("b", &[60.0, 60.1, 59.9, 60.05]);
    let comparison = compare(&[quiet.clone(), louder]).unwrap();
    assert_eq!(
        verdict(&comparison, "total_energy_j"),
        Some(Verdict::Higher)
    );
    assert_eq!(
        verdict(&comparison, "efficiency.tokens_per_joule"),
        Some(Verdict::Lower)
    );
    assert_eq!(
        verdict(&comparison, "prefill_time_ms"),
        Some(Verdict::NoDifferenceShown)
    );
    let row = comparison
        .metrics
        .iter()
        .find(|m| m.path == "total_energy_j")
        .unwrap();
    let ratio = row.compared[0].ratio.unwrap();
    assert!((ratio - 70.0125 / 60.0125).abs() < 1e-4, "{ratio}");
    // The same model of the same processor: its gain of 50 % is in neither.
    assert!(row.compared[0].interval.unwrap().low > 1.15);
    assert!(comparison.method[1].contains("cancels"));
    let scattered = run("c", &[30.0, 80.0, 45.0, 65.0]);
    let comparison = compare(&[quiet, scattered]).unwrap();
    assert_eq!(
        verdict(&comparison, "total_energy_j"),
        Some(Verdict::NoDifferenceShown)
    );
}

#[test]
fn the_gain_of_two_boards_is_in_the_interval() {
    let quiet = run("a", &[50.0, 50.1, 49.9, 50.05]);
    let mut elsewhere = run("b", &[60.0, 60.1, 59.9, 60.05]);
    elsewhere.environment = json!({"host": {"hostname": "b"}});
    let comparison = compare(&[quiet, elsewhere]).unwrap();
    assert_eq!(
        verdict(&comparison, "total_energy_j"),
        Some(Verdict::NoDifferenceShown)
    );
    assert!(
        comparison
            .warnings
            .iter()
            .any(|w| w.starts_with("the machines differ"))
    );
    assert!(comparison.method[1].contains("different sensors"));
}

#[test]
fn hosts_that_are_not_known_are_not_the_same_host() {
    let unknown = |id: &str, watts: &[f64]| {
        let mut result = run(id, watts);
        result.environment = json!({"hosts": [{}, {}]});
        result
    };
    let a = unknown("a", &[50.0, 50.1, 49.9, 50.05]);
    let b = unknown("b", &[60.0, 60.1, 59.9, 60.05]);
    let comparison = compare(&[a, b]).unwrap();
    assert_eq!(
        verdict(&comparison, "total_energy_j"),
        Some(Verdict::NoDifferenceShown)
    );
    assert!(comparison.method[1].contains("do not tell by which"));
}

#[test]
fn a_reference_that_is_not_above_zero_has_no_ratio() {
    let mut a = run("a", &[50.0, 50.1, 49.9]);
    for cycle in &mut a.cycles {
        cycle.numbers.total_energy_j.value = Some(-1.0);
    }
    let comparison = compare(&[a, run("b", &[50.0, 50.1, 49.9])]).unwrap();
    let row = comparison
        .metrics
        .iter()
        .find(|m| m.path == "total_energy_j")
        .unwrap();
    assert_eq!(row.compared[0].ratio, None);
    assert_eq!(
        row.compared[0].reason.as_deref(),
        Some("the reference is not above 0")
    );
}

#[test]
fn names_break_no_markdown_and_several_runs_have_columns_of_their_own() {
    let of = |id: &str| run(id, &[50.0, 50.1, 49.9]);
    let comparison = compare(&[of("[a](x)"), of("b_*"), of("c")]).unwrap();
    let text = super::render(&comparison, GridFormat::Markdown);
    assert!(
        text.contains("\\[a\\](x)") && text.contains("b\\_\\*"),
        "{text}"
    );
    let grid = super::metrics_grid(&comparison, GridFormat::Csv);
    let columns: std::collections::BTreeSet<&String> = grid.columns.iter().collect();
    assert_eq!(columns.len(), grid.columns.len(), "{:?}", grid.columns);
    assert!(grid.columns.contains(&"C/A verdict".to_owned()));
}

#[test]
fn a_single_cycle_and_a_run_that_was_killed_are_told() {
    let mut one = run("one", &[50.0]);
    one.status = lem_record::RunStatus::Killed;
    let comparison = compare(&[run("a", &[50.0, 51.0, 50.5]), one]).unwrap();
    let row = comparison
        .metrics
        .iter()
        .find(|m| m.path == "total_energy_j")
        .unwrap();
    assert!(row.compared[0].ratio.is_some() && row.compared[0].verdict.is_none());
    assert_eq!(
        row.compared[0].reason.as_deref(),
        Some("a single cycle has no interval")
    );
    let told = comparison.warnings.join("\n");
    assert!(
        told.contains("1 finished cycles") && told.contains("killed"),
        "{told}"
    );
}

#[test]
fn measured_and_modelled_joules_are_not_judged() {
    let modelled = run("a", &[50.0, 50.1, 49.9]);
    let mut measured = run("b", &[60.0, 60.1, 59.9]);
    measured.numbers.total_energy_j.how = Some(lem_record::How::Measured);
    let comparison = compare(&[modelled, measured]).unwrap();
    let row = comparison
        .metrics
        .iter()
        .find(|m| m.path == "total_energy_j")
        .unwrap();
    assert_eq!(row.compared[0].verdict, None);
    assert!(
        row.compared[0]
            .reason
            .as_ref()
            .unwrap()
            .contains("modelled")
    );
    // A cost is made of them.
    let cost = super::Metric {
        title: "Cost".into(),
        path: "cost.total_usd".into(),
        unit: "USD",
        shape: super::Shape::Quantity,
        id: None,
    };
    assert!(super::of_power(&cost));
}

#[test]
fn only_the_parameters_that_differ_are_shown_in_every_format() {
    let a = run("a", &[50.0, 50.1, 49.9]);
    let mut b = run("b_2", &[50.0, 50.1, 49.9]);
    b.config["max_output_tokens"] = json!(6);
    b.config["io"] = json!({"results_dir": "elsewhere"});
    b.config["new"] = json!(true);
    let comparison = compare(&[a, b]).unwrap();
    let keys: Vec<&str> = comparison
        .parameters
        .iter()
        .map(|d| d.key.as_str())
        .collect();
    assert_eq!(keys, ["max_output_tokens", "new"]);
    assert_eq!(comparison.parameters[0].values, [json!(5), json!(6)]);
    for format in [
        GridFormat::Table,
        GridFormat::Markdown,
        GridFormat::Latex,
        GridFormat::Csv,
        GridFormat::Json,
    ] {
        let text = super::render(&comparison, format);
        assert!(
            text.contains("no difference shown") || text.contains("no_difference_shown"),
            "{text}"
        );
        assert!(format == GridFormat::Csv || text.contains("max"), "{text}");
    }
    let latex = super::render(&comparison, GridFormat::Latex);
    assert!(
        latex.contains("max\\_output\\_tokens") && latex.contains("\\toprule"),
        "{latex}"
    );
}
