//! When an idle power is steady, what it is worth where it is an earlier run's, and signs.

use lem_record::{How, Record, SpanKind, Table};
use serde_json::{Value, json};

use super::super::testing::{MS, T0, TestLog, source};
use super::super::{Analysis, CACHED_BASELINES, CACHED_COLUMNS, RunData, analyse};

const S: u64 = 1_000 * MS;

/// A GPU at 300 W for a cycle of ten seconds, and what `idle` adds before it.
fn run(idle: impl FnOnce(&mut TestLog)) -> Analysis {
    let sensor = json!({"update_s": 0.1, "gain_relative": 0.05});
    let metrics = [
        "sample.power",
        "sample.temperature",
        "sample.performance_state",
    ];
    let mut log = TestLog::started(json!([source(
        "gpu0", "gpu", "measured", &metrics, &sensor
    )]));
    idle(&mut log);
    let start = T0 + 100 * S;
    log.constant(
        "gpu0",
        "sample.power",
        How::Measured,
        (start, start + 10 * S),
        100 * MS,
        300.0,
    );
    log.finished(0, start, start + 10 * S);
    analyse(&RunData::from_log(&log.envelopes))
}

/// Thirty seconds of samples every 100 ms.
fn baseline(log: &mut TestLog, kind: &str, at: u64, columns: &[(&str, &dyn Fn(f64) -> f64)]) {
    for (metric, value) in columns {
        let points: Vec<(u64, f64)> = (0..=300u64)
            .map(|i| (at + i * 100 * MS, value(i as f64 / 10.0)))
            .collect();
        log.samples("gpu0", metric, How::Measured, &points);
    }
    log.span(SpanKind::Baseline, kind, None, at, at + 30 * S);
}

fn told(analysis: &Analysis, code: &str) -> Vec<String> {
    let of = analysis.warnings.iter().filter(|w| w.code == code);
    of.map(|w| w.message.clone()).collect()
}

fn noise(t: f64) -> f64 {
    // Deterministic, uneven and without a trend.
    ((t * 1234.567).sin() * 43_758.545).fract()
}

#[test]
fn power_temperature_and_state_must_stand_still() {
    let steady = |t: f64| 120.0 + noise(t);
    let still = |_: f64| 40.0;
    let quiet = run(|log| {
        baseline(
            log,
            "loaded",
            T0,
            &[
                ("sample.power", &steady),
                ("sample.temperature", &still),
                ("sample.performance_state", &|_| 0.0),
            ],
        )
    });
    assert!(
        told(&quiet, "baseline.unstable").is_empty(),
        "{:?}",
        quiet.warnings
    );
    assert_eq!(quiet.idles.len(), 1);
    for (what, power, temperature, state) in [
        ("moved by 2.", 2.5, 0.0, 0.0),
        ("temperature moved by 1.", 0.0, 0.5, 0.0),
        ("P0, P2", 0.0, 0.0, 2.0),
    ] {
        let analysis = run(|log| {
            let watts = |t: f64| steady(t) + power * t / 30.0;
            let warm = |t: f64| 40.0 + temperature * t / 30.0;
            let pstate = |t: f64| if t > 20.0 { state } else { 0.0 };
            baseline(
                log,
                "loaded",
                T0,
                &[
                    ("sample.power", &watts),
                    ("sample.temperature", &warm),
                    ("sample.performance_state", &pstate),
                ],
            );
        });
        let warnings = told(&analysis, "baseline.unstable");
        assert!(
            warnings.len() == 1 && warnings[0].contains(what),
            "{what}: {warnings:?}"
        );
        assert!(analysis.idles.is_empty(), "no later run may use it");
    }
}

#[test]
fn what_is_above_idle_may_be_negative() {
    let analysis = run(|log| baseline(log, "loaded", T0, &[("sample.power", &|_| 310.0)]));
    let corrected = analysis.run.quantity("energy.total_corrected");
    assert!(
        (corrected.value.unwrap() + 100.0).abs() < 1e-6,
        "{corrected:?}"
    );
    assert!(corrected.uncertainty.is_some());
}

#[test]
fn a_mean_of_noise_is_as_uncertain_as_its_independent_samples() {
    let analysis = run(|log| {
        baseline(
            log,
            "loaded",
            T0,
            &[("sample.power", &|t| 120.0 + 10.0 * noise(t))],
        )
    });
    let idle = &analysis.idles[0];
    let expected = idle.stddev / 301f64.sqrt();
    assert!(
        idle.uncertainty >= 0.9 * expected && idle.uncertainty < 2.0 * expected,
        "{idle:?}"
    );
    // Neighbours that are alike: as many samples, far fewer of them independent.
    let slow = run(|log| {
        baseline(
            log,
            "loaded",
            T0,
            &[("sample.power", &|t| 120.0 + 10.0 * noise((t / 2.0).floor()))],
        )
    });
    assert!(
        slow.idles[0].uncertainty > 2.5 * idle.uncertainty,
        "{:?}",
        slow.idles
    );
}

fn cached(rows: Vec<Vec<Value>>) -> Record {
    Record::Table(Table {
        name: CACHED_BASELINES.into(),
        columns: CACHED_COLUMNS.map(str::to_owned).into(),
        rows,
    })
}

#[test]
fn an_idle_power_of_an_earlier_run_is_used_and_labelled_and_less_sure() {
    let row = |kind: &str, watts: f64| {
        vec![
            json!(kind),
            json!("gpu0"),
            json!(watts),
            json!(1.0),
            json!(0.1),
            json!(3.25),
            json!("earlier"),
        ]
    };
    let analysis = run(|log| log.push(cached(vec![row("bare", 70.0), row("loaded", 120.0)]), T0));
    let corrected = analysis.run.quantity("energy.total_corrected");
    assert!((corrected.value.unwrap() - 1_800.0).abs() < 1e-6);
    let u = corrected.uncertainty.unwrap().statistical.unwrap();
    let enlarged = 10.0 * 0.1f64.hypot(2.4 / 3f64.sqrt());
    assert!((u - enlarged).abs() < 1e-6, "{u}");
    let power = analysis
        .run
        .entries
        .iter()
        .find(|e| e.id == "baseline.power")
        .unwrap();
    let method = power.reading.as_ref().unwrap().method.clone().unwrap();
    assert!(
        method.starts_with("cached baseline, measured 3.2 h ago by run earlier"),
        "{method}"
    );
    assert_eq!(told(&analysis, "baseline.cached").len(), 2);
    assert!((analysis.run.value("baseline.parking").unwrap() - 50.0).abs() < 1e-9);
    assert!(
        analysis.idles.is_empty(),
        "it is not measured again by being used"
    );
    // One that was measured now counts.
    let analysis = run(|log| {
        log.push(cached(vec![row("loaded", 500.0)]), T0);
        baseline(log, "loaded", T0, &[("sample.power", &|_| 100.0)]);
    });
    assert!((analysis.run.value("energy.total_corrected").unwrap() - 2_000.0).abs() < 1e-6);
    assert!(told(&analysis, "baseline.cached").is_empty());
    // One that says nothing sensible counts for nothing.
    let analysis = run(|log| {
        log.push(
            cached(vec![
                vec![json!("loaded"), json!("gpu0"), json!("much")],
                vec![],
            ]),
            T0,
        )
    });
    assert_eq!(analysis.run.value("energy.total_corrected"), None);
}
