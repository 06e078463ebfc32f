//! Workers that break the protocol: each ends in a clear record, and nothing is counted that
//! did not happen.

use std::path::Path;
use std::time::{Duration, Instant};

use lem::config::{Backend, Config, Worker};
use lem::engine::worker::check::Verdict;
use lem::engine::worker::{check_configured, open};
use lem::engine::{Cancel, Engine, EngineError, Event, EventSink, Sampling, TokenIds};
use lem_record::{FinishReason, Record};

use crate::support::{request, work};

const LENGTH: u32 = 6;

#[derive(Default)]
struct Kept(Vec<Event>);

impl EventSink for Kept {
    fn event(&mut self, event: Event) {
        self.0.push(event);
    }
}

impl Kept {
    fn tokens(&self) -> u64 {
        let count = |event: &Event| match event {
            Event::Tokens { ids, .. } => match ids {
                TokenIds::One(_) => 1,
                TokenIds::Many(ids) => ids.len() as u64,
                TokenIds::Count(count) => u64::from(*count),
            },
            _ => 0,
        };
        self.0.iter().map(count).sum()
    }

    fn failures(&self) -> Vec<(u64, &str)> {
        let failed = |event: &'_ Event| matches!(event, Event::Failed { .. });
        let events = self.0.iter().filter(|e| failed(e));
        events
            .filter_map(|event| match event {
                Event::Failed { request, error, .. } => Some((*request, error.as_str())),
                _ => None,
            })
            .collect()
    }

    fn finished(&self) -> Vec<(u64, FinishReason)> {
        let of = |event: &Event| match event {
            Event::Finished {
                request, reason, ..
            } => Some((*request, *reason)),
            _ => None,
        };
        self.0.iter().filter_map(of).collect()
    }
}

fn config(command: &[&str]) -> Config {
    Config {
        model_name: Some("faulty".into()),
        backend: Backend::Worker,
        worker: Worker {
            command: command.iter().map(|s| (*s).to_owned()).collect(),
            timeout_s: 2.0,
            load_timeout_s: 10.0,
            stop_timeout_s: 1.0,
            ..Worker::default()
        },
        ..Config::default()
    }
}

fn script(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn faulty(fault: &str) -> Config {
    config(&["python3", &script("tests/engine/faulty.py"), fault])
}

/// Two requests, the first of which gets two tokens before the fault.
fn generated(fault: &str) -> (Result<(), EngineError>, Kept, Vec<Record>) {
    let mut engine = open(&faulty(fault), None).unwrap();
    let mut kept = Kept::default();
    let requests = vec![
        request(0, &[1, 2, 3], LENGTH, LENGTH),
        request(1, &[4, 5], LENGTH, LENGTH),
    ];
    let work = work(requests, 2, Sampling::default());
    let outcome = engine.generate(&work, &mut kept, &Cancel::default());
    let records = engine.after_cycle(0);
    (outcome, kept, records)
}

/// Fault in a generation, what the error says, and how many tokens had happened.
const FAULTS: &[(&str, &str, u64)] = &[
    ("hangs", "said nothing for 2 s when asked to generate", 2),
    ("dies", "exit code 3", 2),
    ("is killed", "signal 9", 2),
    ("closes its output", "closed its standard output", 2),
    ("tells the future", "after it was told", 2),
    ("tells the past", "before the one before it", 2),
    ("tells no time", "has no time", 2),
    ("prints rubbish", "Loading weights: 100%", 2),
    ("is no UTF-8", "no UTF-8", 2),
    ("is no JSON", "no message in JSON", 2),
    ("writes a huge line", "more than 16 MiB", 2),
    ("answers another question", "answered question 10", 2),
    (
        "knows another request",
        "request 99 is said to have output, but was never made",
        2,
    ),
    ("starts twice", "request 0 is said to have started twice", 2),
    (
        "counts too many",
        "8 output tokens, but 6 were asked for",
        2,
    ),
    (
        "counts one by one too many",
        "7 output tokens, but 6 were asked for",
        6,
    ),
    ("claims the length", "its length with 2 output tokens", 2),
    ("stops too early", "stopped after 2 output tokens", 2),
    ("goes on after the end", "had ended already", 6),
    ("finishes for no reason", "bored", 2),
    ("leaves the phases", "in no phase", 2),
    ("knows another phase", "thinking", 2),
    ("ends too early", "2 requests unfinished", 2),
    ("gives up", "the GPU fell off the bus", 2),
];

#[test]
fn each_fault_of_a_generation_ends_in_an_error_and_counts_nothing_more() {
    for (fault, says, tokens) in FAULTS {
        let (outcome, kept, _) = generated(fault);
        let error = outcome.expect_err(fault).to_string();
        assert!(error.contains(says), "{fault}: {error}");
        assert_eq!(kept.tokens(), *tokens, "{fault}");
        // Every request has one end, and those that did not finish say why.
        let (failures, finished) = (kept.failures(), kept.finished());
        assert_eq!(failures.len() + finished.len(), 2, "{fault}: {:?}", kept.0);
        for (_, why) in failures {
            assert!(why.contains(says), "{fault}: {why}");
        }
        assert!(error.len() < 3000, "{fault}: {error}");
    }
}

#[test]
fn the_last_words_of_a_worker_that_dies_are_told() {
    let (outcome, ..) = generated("dies");
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("RuntimeError: out of luck"), "{error}");
}

#[test]
fn each_fault_before_a_generation_is_refused_when_it_is_opened() {
    let cases = [
        ("is of another version", "version 9"),
        ("has another clock", "not CLOCK_MONOTONIC"),
        ("does not load", "said nothing for 10 s when asked to load"),
        ("refuses to load", "no such model"),
    ];
    for (fault, says) in cases {
        let error = open(&faulty(fault), None).err().expect(fault).to_string();
        assert!(error.contains(says), "{fault}: {error}");
    }
    let error = open(&config(&["/no/such/worker"]), None).err().unwrap();
    assert!(error.to_string().contains("worker.command"), "{error}");
    let error = open(&config(&["true"]), None).err().unwrap().to_string();
    assert!(error.contains("exit code 0"), "{error}");
    let error = open(&config(&["cat"]), None).err().unwrap().to_string();
    assert!(
        error.contains("said nothing") || error.contains("no messages"),
        "{error}"
    );
}

#[test]
fn a_few_lines_of_rubbish_are_borne_and_reported_once() {
    let (outcome, kept, records) = generated("prints a little");
    outcome.unwrap();
    assert_eq!(kept.tokens(), u64::from(2 * LENGTH));
    let warnings: Vec<&lem_record::Warning> = records
        .iter()
        .filter_map(|record| match record {
            Record::Warning(warning) => Some(warning),
            _ => None,
        })
        .collect();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code, "worker.rubbish");
    assert!(warnings[0].message.contains("2 lines") && warnings[0].message.contains("Hello!"));
}

#[test]
fn what_the_engine_tells_is_kept_as_tables() {
    let (outcome, _, records) = generated("none");
    outcome.unwrap();
    let table = |name: &str| {
        let of = |record: &Record| match record {
            Record::Table(table) if table.name == name => Some(table.clone()),
            _ => None,
        };
        records.iter().find_map(of).expect(name)
    };
    assert_eq!(
        table("engine_requests").columns,
        ["cycle", "request", "queue_s"]
    );
    assert_eq!(
        serde_json::json!(table("engine_requests").rows),
        serde_json::json!([[0, 0, 0.25]])
    );
    assert_eq!(
        serde_json::json!(table("engine_cycle").rows),
        serde_json::json!([[0, "peak_bytes", 17]])
    );
    let clock = table("worker").rows;
    assert!(
        clock[0][1].as_i64() <= Some(0) && clock[1][1].as_i64() >= Some(0),
        "{clock:?}"
    );
}

#[test]
fn one_request_may_fail_and_the_others_go_on() {
    let (outcome, kept, _) = generated("fails a request");
    outcome.unwrap();
    assert_eq!(kept.failures(), [(1, "too long. Cut it")]);
    assert_eq!(kept.finished(), [(0, FinishReason::Length)]);
    assert_eq!(kept.tokens(), u64::from(LENGTH));
}

#[test]
fn log_probabilities_are_held_against_what_can_be() {
    let mut engine = open(&faulty("none"), None).unwrap();
    assert_eq!(engine.score(&[1, 2, 3]).unwrap(), [-1.0, -1.0]);
    for (fault, says) in [
        ("scores too many", "there are 3 for 3 tokens"),
        ("scores above one", "0.5 is no natural logarithm"),
    ] {
        let mut engine = open(&faulty(fault), None).unwrap();
        let error = engine.score(&[1, 2, 3]).unwrap_err().to_string();
        assert!(error.contains(says), "{fault}: {error}");
        let error = engine.score(&[1, 2, 3]).unwrap_err().to_string();
        assert!(error.contains("no longer there"), "{error}");
    }
}

#[test]
fn a_worker_that_does_not_stop_is_ended_within_its_time() {
    let mut engine = open(&faulty("ignores cancel"), None).unwrap();
    let cancel = Cancel::default();
    let soon = cancel.clone();
    let waiting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        soon.cancel();
    });
    let began = Instant::now();
    let mut kept = Kept::default();
    let work = work(
        vec![request(0, &[1], LENGTH, LENGTH)],
        1,
        Sampling::default(),
    );
    engine.generate(&work, &mut kept, &cancel).unwrap();
    waiting.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(kept.finished(), [(0, FinishReason::Cancelled)]);
    assert_eq!(kept.tokens(), 2);
    let records = engine.after_cycle(0);
    let ended = |r: &Record| matches!(r, Record::Warning(w) if w.code == "worker.ended");
    assert!(records.iter().any(ended), "{records:?}");
}

#[test]
fn nothing_that_a_worker_started_outlives_the_engine() {
    for fault in ["none", "stays", "hangs", "dies"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let mut config = faulty(fault);
        config
            .worker
            .command
            .push(file.to_str().unwrap().to_owned());
        let mut engine = open(&config, None).unwrap();
        let work = work(
            vec![request(0, &[1], LENGTH, LENGTH)],
            1,
            Sampling::default(),
        );
        let _ = engine.generate(&work, &mut Kept::default(), &Cancel::default());
        drop(engine);
        let pids = std::fs::read_to_string(&file).unwrap();
        let pids: Vec<&str> = pids.split(' ').collect();
        assert_eq!(pids.len(), 2);
        let until = Instant::now() + Duration::from_secs(10);
        let alive = |pid: &&&str| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(") Z ")
        };
        while pids.iter().any(|pid| alive(&pid)) {
            assert!(Instant::now() < until, "{fault}: {pids:?} live on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn the_example_worker_holds_to_the_protocol() {
    let example = script("workers/echo.py");
    let findings = check_configured(&config(&["python3", &example]), None).unwrap();
    for finding in &findings {
        assert_ne!(finding.verdict, Verdict::Fail, "{finding:?}");
    }
    let skipped = findings.iter().filter(|f| f.verdict == Verdict::Skip);
    assert_eq!(skipped.count(), 2, "cancel and score: {findings:?}");
    // A page, so that people read it.
    let lines = std::fs::read_to_string(Path::new(&example)).unwrap();
    assert!(lines.lines().count() < 60);
}

#[test]
fn the_check_names_the_requirement_that_does_not_hold() {
    let cases = [
        ("is of another version", "starts and says hello"),
        ("has another clock", "its clock is ours"),
        ("refuses to load", "loads the model"),
        ("tells the past", "generates the exact length"),
        ("ends too early", "generates the exact length"),
        ("ignores cancel", "generates the exact length"),
        ("scores too many", "scores tokens"),
        ("prints a little", "writes only messages to standard output"),
        ("stays", "ends by itself when unloaded"),
    ];
    for (fault, requirement) in cases {
        let mut config = faulty(fault);
        config.worker.stop_timeout_s = 1.0;
        let findings = check_configured(&config, None).unwrap();
        let failed: Vec<&str> = findings
            .iter()
            .filter(|f| f.verdict == Verdict::Fail)
            .map(|f| f.requirement)
            .collect();
        assert!(failed.contains(&requirement), "{fault}: {findings:?}");
    }
}
