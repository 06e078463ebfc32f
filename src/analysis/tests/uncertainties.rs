//! Every derived number is as uncertain as what it is made of.

use lem_record::{How, SpanKind};
use proptest::prelude::*;
use serde_json::json;

use super::super::estimators::slope::line;
use super::super::shares;
use super::super::testing::{MS, T0, TestLog, source};
use super::super::{RunData, analyse};

#[test]
fn every_energy_of_a_measured_run_has_an_uncertainty() {
    let data = RunData::from_log(super::golden::golden_log());
    let analysis = analyse(&data);
    let uncertain = [
        "energy.",
        "power.",
        "efficiency.",
        "carbon.emissions",
        "cost.",
        "baseline.power",
        "baseline.energy",
        "baseline.ratio",
        "baseline.parking",
    ];
    let exact = [
        "energy.closure",
        "energy.uncertainty",
        "baseline.power_stddev",
    ];
    let mut checked = 0;
    for entry in &analysis.run.entries {
        let Ok(reading) = &entry.reading else {
            continue;
        };
        if exact.contains(&entry.id) || !uncertain.iter().any(|p| entry.id.starts_with(p)) {
            continue;
        }
        // Rented time is exact.
        if entry
            .attributes
            .get("lem.cost.kind")
            .is_some_and(|k| k == "gpu")
        {
            continue;
        }
        let budget = reading
            .budget
            .unwrap_or_else(|| panic!("{} has no uncertainty", entry.id));
        assert!(
            budget.expanded().is_some_and(|u| u.expanded > 0.0),
            "{}: {budget:?}",
            entry.id
        );
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
    // What two numbers of one board have in common is not in their ratio.
    let ratio = analysis.run.quantity("baseline.ratio").uncertainty.unwrap();
    assert_eq!(ratio.systematic, Some(0.0));
}

/// A log of a measured GPU with random power, phases, and a counter if wanted.
fn measured(watts: &[f64], cuts: &[u64], counter: bool, update_ms: u64) -> TestLog {
    let sensor = json!({"window_s": 0.02, "update_s": update_ms as f64 / 1e3, "lag_s": 0.01, "gain_relative": 0.05});
    let metrics: &[&str] = if counter {
        &["sample.power", "sample.energy"]
    } else {
        &["sample.power"]
    };
    let mut log = TestLog::started(json!([source("gpu0", "gpu", "measured", metrics, &sensor)]));
    let points: Vec<(u64, f64)> = watts
        .iter()
        .enumerate()
        .map(|(i, w)| (T0 + i as u64 * update_ms * MS, *w))
        .collect();
    let end = points.last().unwrap().0;
    log.samples("gpu0", "sample.power", How::Measured, &points);
    if counter {
        let mean = watts.iter().sum::<f64>() / watts.len() as f64;
        let joules = mean * (end - T0) as f64 / 1e9 * 1.02;
        log.samples(
            "gpu0",
            "sample.energy",
            How::Measured,
            &[(T0, 0.0), (end, joules)],
        );
    }
    let mut t = T0;
    for (i, cut) in cuts.iter().enumerate() {
        let next = (t + cut * MS).min(end);
        let name = ["prefill", "decode", "other"][i % 3];
        if next > t && name != "other" {
            log.span(SpanKind::Phase, name, Some(0), t, next);
        }
        t = next;
    }
    log.finished(0, T0, end);
    log
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the power and the phases: they sum to the total, gross and above idle, and no
    /// part is surer than its gain.
    #[test]
    fn measured_phases_sum_to_the_total(
        watts in proptest::collection::vec(1.0..800.0f64, 50..200),
        cuts in proptest::collection::vec(60..400u64, 2..12),
        counter in any::<bool>(),
    ) {
        let analysis = analyse(&RunData::from_log(&measured(&watts, &cuts, counter, 20).envelopes));
        let value = |id: &str| analysis.run.value(id).unwrap();
        let sum = value("energy.prefill") + value("energy.decode") + value("energy.other");
        prop_assert!((sum - value("energy.total")).abs() < 1e-9 * value("energy.total"));
        for id in ["energy.total", "energy.prefill", "energy.decode"] {
            let told = analysis.run.quantity(id);
            let u = told.uncertainty.unwrap();
            prop_assert!(u.expanded + 1e-9 >= 2.0 * u.systematic.unwrap());
            prop_assert!(u.expanded + 1e-9 >= 2.0 * u.statistical.unwrap());
            prop_assert!((u.systematic.unwrap() - 0.05 * told.value.unwrap().abs() / 3f64.sqrt()).abs() < 1e-6);
        }
        // A number a token is as unsure as the number.
        let relative = |id: &str| { let q = analysis.run.quantity(id); q.uncertainty.unwrap().expanded / q.value.unwrap() };
        prop_assert!((relative("energy.delay_product") - relative("energy.total")).abs() < 1e-9);
    }

    /// The whole analysis sees a signal, not its samples: more of them on the same lines change
    /// no total.
    #[test]
    fn totals_do_not_depend_on_how_a_piecewise_linear_signal_is_sampled(
        watts in proptest::collection::vec(1.0..800.0f64, 20..60),
        finer in 2..5u64,
    ) {
        let coarse = analyse(&RunData::from_log(&measured(&watts, &[], false, 100).envelopes));
        let mut more = Vec::new();
        for pair in watts.windows(2) {
            more.extend((0..finer).map(|i| pair[0] + (pair[1] - pair[0]) * i as f64 / finer as f64));
        }
        more.push(*watts.last().unwrap());
        // 100 ms over 2, 3 and 4 are no whole milliseconds for 3.
        let finer = if finer == 3 { return Ok(()) } else { finer };
        let fine = analyse(&RunData::from_log(&measured(&more, &[], false, 100 / finer).envelopes));
        let (a, b) = (coarse.run.value("energy.total").unwrap(), fine.run.value("energy.total").unwrap());
        // The lag moves the window over the last sample, where power holds.
        prop_assert!((a - b).abs() < 1e-6 * a.max(1.0), "{} and {}", a, b);
    }

    /// Least squares finds the line that points were made from, and says how far off noise
    /// makes it; and no standard error is below that of the points alone.
    #[test]
    fn a_line_is_found_within_its_uncertainty(a in -50.0..500.0f64, b in 0.01..10.0f64, noise in 0.0..5.0f64) {
        let points: Vec<(f64, f64, f64)> = [15.0, 31.0, 47.0, 63.0, 63.0, 47.0, 31.0, 15.0].iter().enumerate()
            .map(|(i, x)| (*x, a + b * x + noise * [1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0][i], 0.5)).collect();
        let found = line(&points).unwrap();
        prop_assert!((found.intercept - a).abs() <= 4.0 * found.u_intercept + 1e-9);
        prop_assert!((found.slope - b).abs() <= 4.0 * found.u_slope + 1e-9);
        let xx: f64 = points.iter().map(|p| (p.0 - 39.0).powi(2)).sum();
        prop_assert!(found.u_slope + 1e-12 >= 0.5 / xx.sqrt());
        prop_assert_eq!(found.freedom, 6);
    }

    /// The shares of a cycle's requests sum to it, whatever failed and however long they were.
    #[test]
    fn shares_sum_to_the_cycle(
        lengths in proptest::collection::vec((0..5_000u64, 0..500u64), 1..20),
        prefill in -10.0..500.0f64, decode in -10.0..500.0f64, other in -10.0..50.0f64,
    ) {
        let mut log = TestLog::modelled();
        log.cycle(0, T0, 50.0);
        let one = RunData::from_log(&log.envelopes).cycles[0].requests[0].clone();
        let requests: Vec<_> = lengths.iter().map(|(input, output)| {
            let mut request = one.clone();
            request.timeline.input_tokens = *input;
            request.timeline.output_tokens = *output;
            request
        }).collect();
        let shares = shares::of(&requests, shares::Phases { prefill, decode, other });
        let sum: f64 = shares.iter().sum();
        prop_assert!((sum - prefill - decode - other).abs() < 1e-6);
    }
}

#[test]
fn three_points_on_one_length_make_no_line() {
    assert_eq!(
        line(&[(1.0, 2.0, 0.1), (1.0, 3.0, 0.1), (1.0, 4.0, 0.1)]),
        None
    );
    assert_eq!(line(&[(1.0, 2.0, 0.1)]), None);
    // Two have no residuals: what is known of each is known of the line.
    let two = line(&[(1.0, 2.0, 0.1), (3.0, 3.0, 0.1)]).unwrap();
    assert!((two.intercept - 1.5).abs() < 1e-12 && (two.slope - 0.5).abs() < 1e-12);
    let u = 0.1 * (1.5f64.powi(2) + 0.5f64.powi(2)).sqrt();
    assert!((two.u_intercept - u).abs() < 1e-12, "{two:?}");
}
