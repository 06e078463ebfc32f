//! The ledger of what held the clocks down.

use lem_record::{Attributes, Column, How, Record, Samples};
use serde_json::json;

use super::super::testing::{MS, T0, TestLog, source};
use super::super::{Analysis, RunData, analyse, records};

const S: u64 = 1_000 * MS;

fn column(metric: &str, reason: &str, values: Vec<Option<f64>>) -> Column {
    Column {
        metric: metric.into(),
        attributes: Attributes::from([("lem.throttle.reason".into(), reason.into())]),
        how: How::Measured,
        values,
    }
}

/// Two cycles of ten seconds: in the second the power limit held for 2.5 s by the driver's
/// clock, and a slowdown was seen in ten polls of a hundred.
fn log() -> TestLog {
    let mut log = TestLog::started(json!([source(
        "gpu0",
        "gpu",
        "measured",
        &["sample.power"],
        &json!({"update_s": 0.1})
    )]));
    for cycle in 0..2u32 {
        let start = T0 + u64::from(cycle) * 20 * S;
        log.constant(
            "gpu0",
            "sample.power",
            How::Measured,
            (start, start + 10 * S),
            100 * MS,
            300.0,
        );
        let held = if cycle == 1 { 2.5 } else { 0.0 };
        let edges = Samples {
            source: "gpu0".into(),
            t_ns: vec![start, start + 10 * S],
            columns: vec![
                column(
                    "throttle.time",
                    "power_cap",
                    vec![Some(7.0), Some(7.0 + held)],
                ),
                column("throttle.time", "thermal", vec![Some(1.0), Some(1.0)]),
            ],
        };
        log.push(Record::Samples(edges), start + 10 * S);
        let slow = |i: u64| f64::from(u8::from(cycle == 1 && (40..50).contains(&i)));
        let polled = Samples {
            source: "gpu0".into(),
            t_ns: (0..=100).map(|i| start + i * 100 * MS).collect(),
            columns: vec![
                column(
                    "sample.throttled",
                    "hw_slowdown",
                    (0..=100).map(|i| Some(slow(i))).collect(),
                ),
                // The driver's own count of the same reason is better than this.
                column(
                    "sample.throttled",
                    "power_cap",
                    (0..=100).map(|_| Some(1.0)).collect(),
                ),
            ],
        };
        log.push(Record::Samples(polled), start + 10 * S);
        log.finished(cycle, start, start + 10 * S);
    }
    log
}

fn analysis() -> (RunData, Analysis) {
    let data = RunData::from_log(&log().envelopes);
    let analysis = analyse(&data);
    (data, analysis)
}

#[test]
fn every_event_is_in_the_ledger_with_its_duration() {
    let (data, analysis) = analysis();
    assert_eq!(analysis.cycles[0].throttled_s(), Some(0.0));
    assert_eq!(analysis.cycles[1].throttled_s(), Some(2.5));
    let mut held: Vec<_> = analysis.cycles[1]
        .throttled
        .iter()
        .flatten()
        .filter(|t| t.seconds > 0.0)
        .map(|t| {
            (
                t.reason.as_str(),
                t.counted,
                (t.seconds * 1e6).round() / 1e6,
            )
        })
        .collect();
    held.sort_by_key(|t| t.0);
    assert_eq!(
        held,
        [("hw_slowdown", false, 1.0), ("power_cap", true, 2.5)]
    );
    let warnings: Vec<_> = analysis
        .warnings
        .iter()
        .filter(|w| w.code == "throttle.cycles")
        .map(|w| w.message.as_str())
        .collect();
    assert_eq!(
        warnings,
        [
            "gpu0 was held down (hw_slowdown) in cycle 1 for 1.00 of 10.0 s",
            "gpu0 was held down (power_cap) in cycle 1 for 2.50 of 10.0 s",
        ]
    );
    let records = records(&data, &analysis);
    let table = records.iter().find_map(|r| match r {
        Record::Table(t) if t.name == "throttling" => Some(t),
        _ => None,
    });
    assert_eq!(table.unwrap().rows.len(), 2);
    // Of the run the sum of the cycles, one metric a reason.
    let sums: Vec<_> = records
        .iter()
        .filter_map(|r| match r {
            Record::Metric(m) if m.id == "throttle.time" && m.cycle.is_none() => {
                Some((m.attributes["lem.throttle.reason"].clone(), m.value.clone()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(sums.len(), 3, "{sums:?}");
    assert!(
        sums.contains(&("power_cap".into(), lem_record::MetricValue::Number(2.5))),
        "{sums:?}"
    );
    let result = crate::results::build(&data, &analysis, Vec::new(), std::path::Path::new("run"));
    crate::results::assert_valid(&result);
    assert_eq!(result.throttling.len(), 2);
    assert_eq!(result.cycles[1].throttled_s, Some(2.5));
}

#[test]
fn a_machine_that_does_not_tell_has_no_zero() {
    let mut log = TestLog::modelled();
    log.cycle(0, T0, 50.0);
    let data = RunData::from_log(&log.envelopes);
    let analysis = analyse(&data);
    assert_eq!(analysis.cycles[0].throttled_s(), None);
    assert!(!analysis.run.entries.iter().any(|e| e.id == "throttle.time"));
    let result = crate::results::build(&data, &analysis, Vec::new(), std::path::Path::new("run"));
    assert_eq!(result.cycles[0].throttled_s, None);
    assert!(result.throttling.is_empty());
}
