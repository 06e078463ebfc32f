//! Whatever waits, waits on the disk. In a process of its own: it measures memory.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use lem_delivery::{Delivery, DeliveryState, Spool};
use lem_record::{Recorder, RunStatus};
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

#[test]
fn a_sink_that_is_down_costs_no_memory() {
    let scratch = tempfile::tempdir().unwrap();
    let spool = Spool::create(
        &scratch.path().join("r"),
        "r",
        lem_testkit::golden::started(),
    )
    .unwrap();
    let down = Probe::new("down", |call, _| match call {
        Call::Open => Act::Work,
        _ => Act::Retry(None),
    });
    let delivery = Delivery::start(&spool, vec![down.boxed()], &quick()).unwrap();
    let text = "x".repeat(1 << 20);
    spool.record(warning(text.clone()));
    spool.commit().unwrap();
    down.wait_for("a try", |world| world.seen.len() > 2);
    let before = peak_kib();
    for _ in 0..100 {
        spool.record(warning(text.clone()));
        spool.commit().unwrap();
    }
    let outcome = delivery
        .finish(RunStatus::Finished, Duration::from_millis(200))
        .remove(0);
    assert_eq!((outcome.state, outcome.owed), (DeliveryState::Owing, 102));
    let grown = peak_kib() - before;
    assert!(grown < 20 << 10, "{grown} KiB more for 100 MiB that wait");
}
