//! Delivery while a run goes on, and after.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lem_delivery::{
    Cursor, DeliverError, Delivery, DeliveryState, LockError, Log, Outcome, Policy, Spool,
    deliver_once,
};
use lem_record::{Exporter, Record, Recorder, RunFinished, RunStatus};
use lem_testkit::golden;
use support::{Act, Call, Probe, quick, warning};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(20);

fn spool() -> (TempDir, PathBuf, Spool) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("r1");
    let spool = Spool::create(&folder, "r1", golden::started()).unwrap();
    (scratch, folder, spool)
}

fn cycle(spool: &Spool, records: u64) {
    for n in 0..records {
        spool.record(warning(format!("record {n}")));
    }
    spool.commit().unwrap();
}

fn end(spool: &Spool, status: RunStatus) {
    spool.record(Record::RunFinished(RunFinished {
        status,
        reason: None,
        analysis: 1,
    }));
    spool.commit().unwrap();
}

fn once(folder: &Path, sink: &Probe) -> Outcome {
    once_with(folder, sink, &quick(), LONG)
}

fn once_with(folder: &Path, sink: &Probe, policy: &Policy, deadline: Duration) -> Outcome {
    let mut outcomes = deliver_once(folder, vec![sink.boxed()], policy, deadline).unwrap();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

#[test]
fn what_is_committed_is_sent_while_the_run_goes_on() {
    let (_scratch, folder, spool) = spool();
    let (a, b) = (Probe::good("a"), Probe::good("b"));
    let delivery = Delivery::start(&spool, vec![a.boxed(), b.boxed()], &quick()).unwrap();
    cycle(&spool, 25);
    for sink in [&a, &b] {
        sink.wait_for("the first cycle", |world| world.kept.len() == 26);
    }
    spool.record(warning("not committed"));
    end(&spool, RunStatus::Interrupted);
    let outcomes = delivery.finish(RunStatus::Interrupted, LONG);
    for (outcome, sink) in outcomes.iter().zip([&a, &b]) {
        assert_eq!(outcome.state, DeliveryState::Delivered, "{outcome:?}");
        assert_eq!(
            (outcome.owed, outcome.delivered_through, outcome.resends),
            (0, Some(27), 0)
        );
        assert_eq!(
            outcome.receipt.as_ref().unwrap().look_at.as_deref(),
            Some("memory:here")
        );
        assert_eq!(sink.kept(), (0..28).collect::<Vec<_>>());
        assert_eq!(
            sink.world.lock().unwrap().status,
            Some(RunStatus::Interrupted)
        );
        assert!(
            sink.calls(Call::Write)
                .iter()
                .all(|seen| seen.numbers.len() <= 10)
        );
        let cursor = Cursor::read(&Cursor::path(&folder, sink.name)).unwrap();
        assert!(cursor.finished);
        assert_eq!((cursor.next, cursor.run.as_str()), (28, "r1"));
        let shown = serde_json::to_string(outcome).unwrap();
        assert_eq!(&serde_json::from_str::<Outcome>(&shown).unwrap(), outcome);
    }
}

#[test]
fn a_failure_is_tried_again_and_not_before_the_time_that_was_named() {
    let (_scratch, _, spool) = spool();
    let pause = Duration::from_millis(150);
    let sink = Probe::new("s", move |call, n| match (call, n) {
        (Call::Open, 0) | (Call::Write, 0) | (Call::Finish, 0) => Act::Retry(None),
        (Call::Write, 1) => Act::Retry(Some(pause)),
        _ => Act::Work,
    });
    let delivery = Delivery::start(&spool, vec![sink.boxed()], &quick()).unwrap();
    let outcome = delivery.finish(RunStatus::Finished, LONG).remove(0);
    assert_eq!(outcome.state, DeliveryState::Delivered, "{outcome:?}");
    assert_eq!(outcome.reason, None);
    assert_eq!((outcome.resends, outcome.failures), (2, 4));
    let shown = spool.live().unwrap().now();
    let shown: Vec<_> = shown
        .iter()
        .map(|p| {
            (
                p.metric.as_str(),
                p.attributes["lem.sink"].as_str(),
                p.value,
            )
        })
        .collect();
    assert_eq!(
        shown,
        [("export.failures", "s", 4.0), ("export.owed", "s", 0.0)]
    );
    let writes = sink.calls(Call::Write);
    assert_eq!(writes.len(), 3);
    assert!(writes[2].at - writes[1].at >= pause);
}

#[test]
fn one_bad_sink_stops_neither_the_run_nor_the_others() {
    let bad = [
        Probe::new("gives-up", |_, _| Act::GiveUp),
        Probe::new("panics", |call, _| {
            if call == Call::Write {
                Act::Panic
            } else {
                Act::Work
            }
        }),
        Probe::new("hangs", |_, _| Act::Hang),
        Probe::new("blocks", |_, _| Act::Block(Duration::from_secs(6))),
        Probe::new("is-down", |_, _| Act::Retry(None)),
        Probe::new("waits", |_, _| {
            Act::Retry(Some(Duration::from_secs(86_400)))
        }),
        Probe::new("takes-none", |call, _| {
            if call == Call::Write {
                Act::Take(0)
            } else {
                Act::Work
            }
        }),
    ];
    let good = Probe::good("good");
    let (_scratch, folder, spool) = spool();
    let sinks: Vec<Box<dyn Exporter>> = bad.iter().chain([&good]).map(Probe::boxed).collect();
    let begun = Instant::now();
    let delivery = Delivery::start(&spool, sinks, &quick()).unwrap();
    cycle(&spool, 5);
    good.wait_for("the cycle", |world| world.kept.len() == 6);
    end(&spool, RunStatus::Finished);
    let outcomes = delivery.finish(RunStatus::Finished, Duration::from_millis(700));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "nobody waits for a sink that blocks"
    );

    for outcome in &outcomes[..7] {
        let expected = match outcome.sink.as_str() {
            "gives-up" | "panics" => DeliveryState::GaveUp,
            _ => DeliveryState::Owing,
        };
        assert_eq!(outcome.state, expected, "{outcome:?}");
        // to take records through 0 is to take record 0
        let owed = if outcome.sink == "takes-none" { 6 } else { 7 };
        assert_eq!(outcome.owed, owed, "{outcome:?}");
        assert!(
            outcome.reason.is_some() && outcome.remedy.is_some(),
            "{outcome:?}"
        );
        assert!(!format!("{outcome:?}").contains("s3cret"), "{outcome:?}");
    }
    assert_eq!(outcomes[0].remedy.as_deref(), Some("Do as told"));
    let again = format!("lem export {} --to is-down", folder.display());
    assert!(outcomes[4].remedy.as_ref().unwrap().contains(&again));
    assert_eq!(
        outcomes[7].state,
        DeliveryState::Delivered,
        "{:?}",
        outcomes[7]
    );
    assert_eq!(good.kept().len(), 7);
}

#[test]
fn a_sink_that_gave_up_is_left_alone_until_the_export() {
    let (_scratch, folder, spool) = spool();
    let sink = Probe::new("s", |call, n| match (call, n) {
        (Call::Write, 1) => Act::GiveUp,
        _ => Act::Work,
    });
    let delivery = Delivery::start(&spool, vec![sink.boxed()], &quick()).unwrap();
    cycle(&spool, 9);
    sink.wait_for("the first batch", |world| world.kept.len() == 10);
    for _ in 0..3 {
        cycle(&spool, 9);
    }
    end(&spool, RunStatus::Finished);
    let outcome = delivery.finish(RunStatus::Finished, LONG).remove(0);
    assert_eq!((outcome.state, outcome.owed), (DeliveryState::GaveUp, 28));
    assert_eq!(sink.calls(Call::Write).len(), 2);
    drop(spool);

    let outcome = once(&folder, &sink.with(|_, _| Act::Work));
    assert_eq!(
        (outcome.state, outcome.owed),
        (DeliveryState::Delivered, 0),
        "{outcome:?}"
    );
    let sent: Vec<u64> = sink
        .calls(Call::Write)
        .iter()
        .flat_map(|s| s.numbers.clone())
        .collect();
    // the batch that was refused came again, nothing else did
    assert_eq!(sink.kept(), (0..38).collect::<Vec<_>>());
    assert_eq!(sent.len(), 38 + sink.calls(Call::Write)[1].numbers.len());
}

#[test]
fn quiet_cancels_what_hangs_and_it_is_sent_afterwards() {
    let (_scratch, _, spool) = spool();
    let sink = Probe::new("s", |call, n| match (call, n) {
        (Call::Write, 0) => Act::Hang,
        (Call::Write, 1) => Act::WorkThenHang,
        _ => Act::Work,
    });
    let delivery = Delivery::start(&spool, vec![sink.boxed()], &quick()).unwrap();
    for cycle_number in 0..2 {
        let calls = cycle_number + 1;
        sink.wait_for("a call that hangs", |world| {
            world
                .seen
                .iter()
                .filter(|seen| seen.call == Call::Write)
                .count()
                == calls
        });
        spool.quiet(true);
        let before = sink.world.lock().unwrap().seen.len();
        spool.record(warning("measured"));
        spool.commit().unwrap();
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(
            sink.world.lock().unwrap().seen.len(),
            before,
            "nothing is sent meanwhile"
        );
        spool.quiet(false);
    }
    let outcome = delivery.finish(RunStatus::Finished, LONG).remove(0);
    assert_eq!(outcome.state, DeliveryState::Delivered, "{outcome:?}");
    assert_eq!((outcome.cancelled, outcome.resends), (2, 2));
    assert_eq!(sink.kept(), [0, 1, 2]);
    assert_eq!(spool.disturbances(), 0);
}

#[test]
fn a_sink_that_blocks_in_a_quiet_window_is_counted() {
    let (_scratch, _, spool) = spool();
    let sink = Probe::new("s", |_, _| Act::Block(Duration::from_secs(3)));
    let delivery = Delivery::start(&spool, vec![sink.boxed()], &quick()).unwrap();
    sink.wait_for("a call", |world| !world.seen.is_empty());
    let begun = Instant::now();
    spool.quiet(true);
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "a run waits only so long"
    );
    assert_eq!(spool.disturbances(), 1);
    drop(delivery);
}

/// A spool that waited for a sink would wait here for an hour.
#[test]
fn a_sink_that_hangs_never_delays_the_spool() {
    let (_scratch, _, spool) = spool();
    let hangs = |at: Call| move |call, _| if call == at { Act::Hang } else { Act::Work };
    let hung = [
        Probe::new("hangs-at-open", hangs(Call::Open)),
        Probe::new("hangs-at-write", hangs(Call::Write)),
        Probe::new("works-then-hangs", |_, _| Act::WorkThenHang),
    ];
    let good = Probe::good("good");
    let hour = Duration::from_secs(3600);
    let policy = Policy {
        call_timeout: hour,
        ..quick()
    };
    let sinks = hung.iter().chain([&good]).map(Probe::boxed).collect();
    let delivery = Delivery::start(&spool, sinks, &policy).unwrap();
    for sink in &hung {
        sink.wait_for("a call that hangs", |world| !world.seen.is_empty());
    }
    let begun = Instant::now();
    for n in 0..200 {
        spool.record(warning(format!("record {n}")));
        spool.commit().unwrap();
        if n % 50 == 0 {
            spool.quiet(true); // ends what hangs, which is then made again and hangs again
            spool.quiet(false);
        }
    }
    good.wait_for("all", |world| world.kept.len() == 201);
    assert!(begun.elapsed() < LONG, "{:?}", begun.elapsed());
    assert_eq!(spool.disturbances(), 0);
    let outcomes = delivery.finish(RunStatus::Finished, Duration::from_millis(200));
    let states: Vec<_> = outcomes.iter().map(|outcome| outcome.state).collect();
    use DeliveryState::{Delivered, Owing};
    assert_eq!(states, [Owing, Owing, Owing, Delivered]);
}

#[test]
fn a_call_without_an_answer_is_made_again() {
    let (_scratch, _, spool) = spool();
    let sink = Probe::new("s", |call, n| match (call, n) {
        (Call::Open, 0) | (Call::Finish, 0) => Act::Hang,
        (Call::Write, 0) => Act::WorkThenHang,
        _ => Act::Work,
    });
    let policy = Policy {
        call_timeout: Duration::from_millis(60),
        ..quick()
    };
    let delivery = Delivery::start(&spool, vec![sink.boxed()], &policy).unwrap();
    let outcome = delivery.finish(RunStatus::Finished, LONG).remove(0);
    assert_eq!(
        (outcome.state, outcome.resends),
        (DeliveryState::Delivered, 1),
        "{outcome:?}"
    );
    assert_eq!(sink.kept(), [0]);
}

#[test]
fn a_sink_that_the_user_lets_wait_has_its_time() {
    let (_scratch, _, spool) = spool();
    let waiting = Probe::new("s", |call, _| match call {
        Call::Finish => Act::Wait(Duration::from_millis(400)),
        _ => Act::Work,
    });
    let policy = Policy {
        call_timeout: Duration::from_millis(60),
        ..quick()
    };
    let patient = Probe {
        waits: Duration::from_millis(500),
        ..waiting.clone()
    };
    let delivery = Delivery::start(&spool, vec![patient.boxed()], &policy).unwrap();
    let outcome = delivery.finish(RunStatus::Finished, Duration::from_millis(200));
    assert_eq!(outcome[0].state, DeliveryState::Delivered, "{outcome:?}");
    assert_eq!(patient.calls(Call::Finish).len(), 1);
}

#[test]
fn a_batch_taken_in_part_goes_on_where_it_stopped() {
    let (_scratch, _, spool) = spool();
    cycle(&spool, 19);
    let sink = Probe::new("s", |_, n| {
        if n % 2 == 0 {
            Act::Take(3)
        } else {
            Act::Reject
        }
    });
    let delivery = Delivery::start(&spool, vec![sink.boxed()], &quick()).unwrap();
    let outcome = delivery.finish(RunStatus::Finished, LONG).remove(0);
    assert_eq!(outcome.state, DeliveryState::Delivered, "{outcome:?}");
    assert_eq!((outcome.resends, outcome.accepted), (0, 20));
    assert_eq!(outcome.rejected, outcome.rejections.len() as u64);
    assert!(outcome.rejected > 0);
    let sent: Vec<_> = sink
        .calls(Call::Write)
        .iter()
        .map(|s| s.numbers[0])
        .collect();
    assert!(sent.windows(2).all(|pair| pair[0] < pair[1]), "{sent:?}");
}

#[test]
fn what_is_owed_arrives_later_and_a_repeat_sends_nothing() {
    let (_scratch, folder, spool) = spool();
    let sink = Probe::new("s", |_, _| Act::Retry(None));
    let delivery = Delivery::start(&spool, vec![sink.boxed()], &quick()).unwrap();
    cycle(&spool, 30);
    end(&spool, RunStatus::Finished);
    let owing = delivery
        .finish(RunStatus::Finished, Duration::from_millis(100))
        .remove(0);
    assert_eq!(
        (owing.state, owing.owed),
        (DeliveryState::Owing, 32),
        "{owing:?}"
    );
    assert_eq!(owing.reason.as_deref(), Some("scripted trouble"));
    let locked = deliver_once(&folder, vec![sink.boxed()], &quick(), LONG).unwrap_err();
    assert!(
        matches!(locked, DeliverError::Lock(LockError::Locked { .. })),
        "{locked}"
    );
    drop(spool);

    let sink = sink.with(|_, _| Act::Work);
    let outcome = once(&folder, &sink);
    assert_eq!(outcome.state, DeliveryState::Delivered, "{outcome:?}");
    assert_eq!(sink.kept(), (0..32).collect::<Vec<_>>());
    let writes = sink.calls(Call::Write).len();
    let repeat = once(&folder, &sink);
    assert_eq!(repeat.state, DeliveryState::Delivered);
    assert_eq!(sink.calls(Call::Write).len(), writes);

    let all = once_with(
        &folder,
        &sink,
        &Policy {
            from_start: true,
            ..quick()
        },
        LONG,
    );
    assert_eq!(all.state, DeliveryState::Delivered);
    assert_eq!(sink.calls(Call::Write).len(), writes + 4);
}

#[test]
fn a_damaged_cursor_costs_a_replay_and_a_note() {
    let scratch = tempfile::tempdir().unwrap();
    let run = golden::run(scratch.path());
    let sink = Probe::good("s");
    once(scratch.path(), &sink);
    let path = Cursor::path(scratch.path(), "s");
    let good = fs::read_to_string(&path).unwrap();
    for damage in [
        &good[..good.len() / 2],
        "",
        "\0\0",
        &good.replace("golden-0001", "other"),
    ] {
        fs::write(&path, damage).unwrap();
        let outcome = once(scratch.path(), &sink);
        assert_eq!(outcome.state, DeliveryState::Delivered, "{outcome:?}");
        assert!(outcome.notes[0].contains("s.json"), "{:?}", outcome.notes);
        assert_eq!(sink.kept().len(), run.envelopes.len());
    }
    // an offset that lies costs time only
    let cursor: Cursor = serde_json::from_str(&good).unwrap();
    for offset in [1, 77, cursor.offset + 1_000_000, u64::MAX] {
        let lying = Cursor {
            next: 20,
            offset,
            ..cursor.clone()
        };
        lying.save(scratch.path(), "s").unwrap();
        let before = sink.calls(Call::Write).len();
        assert_eq!(once(scratch.path(), &sink).state, DeliveryState::Delivered);
        assert_eq!(sink.calls(Call::Write)[before].numbers[0], 20);
    }
}

#[test]
fn a_cursor_that_cannot_be_kept_is_told_and_stops_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let run = golden::run(scratch.path());
    fs::write(scratch.path().join("delivery"), "in the way").unwrap();
    let sink = Probe::good("s");
    let outcome = once(scratch.path(), &sink);
    assert_eq!(outcome.state, DeliveryState::Delivered, "{outcome:?}");
    assert!(
        outcome
            .notes
            .iter()
            .any(|note| note.contains("cannot be kept")),
        "{outcome:?}"
    );
    assert_eq!(sink.kept().len(), run.envelopes.len());
}

#[test]
fn a_killed_run_is_delivered_then_ended() {
    let scratch = tempfile::tempdir().unwrap();
    let run = golden::killed(scratch.path());
    let sink = Probe::good("s");
    let outcome = once(scratch.path(), &sink);
    assert_eq!((outcome.state, outcome.owed), (DeliveryState::Delivered, 0));
    assert!(
        sink.calls(Call::Finish).is_empty(),
        "nothing says how it ended"
    );

    let (spool, log) = Spool::reopen(scratch.path()).unwrap();
    assert_eq!(log.cycles.len(), 2);
    end(&spool, RunStatus::Killed);
    drop(spool);
    let outcome = once(scratch.path(), &sink);
    assert_eq!(outcome.state, DeliveryState::Delivered);
    assert_eq!(sink.world.lock().unwrap().status, Some(RunStatus::Killed));
    assert_eq!(sink.kept().len(), run.envelopes.len() + 1);
    assert!(Log::read(scratch.path()).unwrap().finished.is_some());
}

#[test]
fn a_damaged_log_is_delivered_as_far_as_it_goes() {
    let scratch = tempfile::tempdir().unwrap();
    let run = golden::run(scratch.path());
    let mut lines: Vec<String> = String::from_utf8(run.log())
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines[5] = "garbage".to_owned();
    let twice = lines[7].clone();
    lines.insert(8, twice);
    let text = lines.join("\n") + "\n{\"torn";
    fs::write(scratch.path().join("records.jsonl"), text).unwrap();
    let sink = Probe::good("s");
    let outcome = once(scratch.path(), &sink);
    assert_eq!(
        (outcome.state, outcome.owed),
        (DeliveryState::Delivered, 0),
        "{outcome:?}"
    );
    assert_eq!(sink.kept().len(), run.envelopes.len() - 1);
    assert_eq!(outcome.notes.len(), 4, "{:?}", outcome.notes);
}

#[test]
fn a_folder_without_a_run_is_refused_and_left_as_it_was() {
    let scratch = tempfile::tempdir().unwrap();
    let error = deliver_once(scratch.path(), Vec::new(), &quick(), LONG).unwrap_err();
    assert!(error.to_string().contains("holds no run"), "{error}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
