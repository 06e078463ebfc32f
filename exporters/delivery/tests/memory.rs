//! Whatever waits, waits on the disk. In a process of its own: it measures memory.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lem_delivery::{Delivery, DeliveryState, Spool};
use lem_record::{Column, How, Record, Recorder, RunStatus, Samples};
use support::{Act, Call, Probe, quick, warning};

/// Highest resident memory so far, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const CHANNELS: u64 = 10;
const TIMES: u64 = 100;

/// A thousand points.
fn samples(block: u64) -> Record {
    let at = |n: u64| 1_000_000_000 + (block * TIMES + n) * 1_000_000;
    let value = |channel: u64, n: u64| 1.0 / (3 + channel + n) as f64 + block as f64;
    let column = |channel: u64| Column {
        metric: "sample.power".to_owned(),
        attributes: [("hw.id".to_owned(), format!("gpu{channel}"))].into(),
        how: How::Measured,
        values: (0..TIMES).map(|n| Some(value(channel, n))).collect(),
    };
    Record::Samples(Samples {
        source: "node".to_owned(),
        t_ns: (0..TIMES).map(at).collect(),
        columns: (0..CHANNELS).map(column).collect(),
    })
}

#[test]
fn a_million_points_for_two_dead_sinks_of_four_cost_no_memory() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("r");
    let spool = Spool::create(&folder, "r", lem_testkit::golden::started()).unwrap();
    let down = Probe::new("down", |call, _| match call {
        Call::Open => Act::Work,
        _ => Act::Retry(None),
    });
    let hung = Probe::new("hung", |call, _| match call {
        Call::Open => Act::Work,
        _ => Act::Hang,
    });
    let good = ["a", "b"].map(|name| Probe::good(name).forgetful());
    let sinks = [&down, &hung, &good[0], &good[1]].map(Probe::boxed);
    let delivery = Delivery::start(&spool, sinks.into(), &quick()).unwrap();
    let mut n = 0;
    let mut record = |record: Record| {
        spool.record(record);
        spool.commit().unwrap();
        n += 1;
        for sink in good.iter().filter(|_| n % 10 == 0) {
            sink.wait_for("the record", |world| world.through == n);
        }
    };

    // all that each of them ever needs at once
    for block in 0..50 {
        record(samples(block));
    }
    down.wait_for("a try", |world| world.seen.len() > 2);
    hung.wait_for("a try", |world| world.seen.len() > 1);
    let before = peak_kib();
    for block in 50..1050 {
        record(samples(block));
    }
    let grown = peak_kib() - before;
    // 1e6 points take 16 MiB in memory and more as text
    assert!(grown < 8 << 10, "{grown} KiB more for 1e6 points that wait");

    let text = "x".repeat(1 << 20);
    record(warning(text.clone()));
    let before = peak_kib();
    for _ in 0..100 {
        record(warning(text.clone()));
    }
    let outcomes = delivery.finish(RunStatus::Finished, Duration::from_secs(2));
    let grown = peak_kib() - before;
    assert!(grown < 20 << 10, "{grown} KiB more for 100 MiB that wait");
    for outcome in &outcomes {
        let expected = match outcome.sink.as_str() {
            "down" | "hung" => (DeliveryState::Owing, 1050 + 101 + 1),
            _ => (DeliveryState::Delivered, 0),
        };
        assert_eq!((outcome.state, outcome.owed), expected, "{}", outcome.sink);
    }
}
