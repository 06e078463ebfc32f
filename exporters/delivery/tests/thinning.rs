//! However a run is delivered, the very same points arrive, and not too many.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use lem_delivery::{Delivery, DeliveryState, MAX_POINTS, Spool, deliver_once};
use lem_record::{Column, How, Record, Recorder, RunFinished, RunStatus, Samples};
use support::{Act, Call, Probe, quick};

const LONG: Duration = Duration::from_secs(30);

fn samples(source: &str, start: u64, count: u64) -> Record {
    let values =
        |phase: u64| (0..count).map(move |i| Some(((start + i + phase) * 7919 % 1009) as f64));
    let column = |id: &str, phase| Column {
        metric: id.to_owned(),
        attributes: BTreeMap::new(),
        how: How::Measured,
        values: values(phase).collect(),
    };
    Record::Samples(Samples {
        source: source.to_owned(),
        t_ns: (0..count).map(|i| (start + i) * 20_000_000).collect(),
        columns: vec![column("sample.power", 0), column("sample.temperature", 500)],
    })
}

/// Every point at the other end: source, metric, time, value.
fn points(sink: &Probe) -> Vec<(String, String, u64, u64)> {
    let world = sink.world.lock().unwrap();
    let mut points = Vec::new();
    for envelope in world.kept.values() {
        let Record::Samples(samples) = &envelope.record else {
            continue;
        };
        samples.check().unwrap();
        for column in &samples.columns {
            for (t, value) in samples.t_ns.iter().zip(&column.values) {
                if let Some(value) = value {
                    let (source, metric) = (samples.source.clone(), column.metric.clone());
                    points.push((source, metric, *t, value.to_bits()));
                }
            }
        }
    }
    points
}

#[test]
fn live_replayed_and_resumed_deliveries_send_the_same_points() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("r1");
    let spool = Spool::create(&folder, "r1", lem_testkit::golden::started()).unwrap();
    // fails often, so that every batch is cut somewhere
    let shaky = |call, n: usize| match (call, n % 3) {
        (Call::Write, 0) => Act::Retry(None),
        (Call::Write, 1) => Act::Take(2),
        _ => Act::Work,
    };
    let (live, resumed) = (
        Probe::new("live", shaky),
        Probe::new(
            "resumed",
            |_, n| {
                if n < 3 { Act::Take(5) } else { Act::GiveUp }
            },
        ),
    );
    let sinks = vec![live.boxed(), resumed.boxed()];
    let delivery = Delivery::start(&spool, sinks, &quick()).unwrap();
    let mut start = 0;
    for cycle in 0..60u64 {
        let count = 200 + cycle * 13 % 700; // uneven cycles
        spool.record(samples("gpu0", start, count));
        spool.record(samples("gpu1", start, count));
        spool.commit().unwrap();
        start += count;
    }
    spool.record(Record::RunFinished(RunFinished {
        status: RunStatus::Finished,
        reason: None,
        analysis: 1,
    }));
    spool.commit().unwrap();
    let outcomes = delivery.finish(RunStatus::Finished, LONG);
    assert_eq!(
        outcomes[0].state,
        DeliveryState::Delivered,
        "{:?}",
        outcomes[0]
    );
    assert_eq!(outcomes[1].state, DeliveryState::GaveUp);
    drop(spool);

    let replayed = Probe::good("replayed");
    let sinks = vec![replayed.boxed(), resumed.with(shaky).boxed()];
    let outcomes = deliver_once(&folder, sinks, &quick(), LONG).unwrap();
    assert!(
        outcomes.iter().all(|outcome| outcome.complete()),
        "{outcomes:?}"
    );

    let expected = points(&replayed);
    assert_eq!(points(&live), expected);
    assert_eq!(points(&resumed), expected);
    let series = expected
        .iter()
        .filter(|(s, m, ..)| s == "gpu0" && m == "sample.power")
        .count();
    assert!(
        start > 30_000 && series as u64 <= MAX_POINTS && series > 5000,
        "{series} of {start}"
    );
}
