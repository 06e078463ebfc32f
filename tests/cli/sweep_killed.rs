//! A sweep that is killed twice, or interrupted, and resumed: exactly what is missing is
//! measured, and the sinks have one parent and each point once.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::mlflow::{Server, python};
use crate::support::{Bench, stderr};
use crate::sweep::{cycles, folder, in_file_store, sweep};

const POINTS: &[&str] = &[
    "slow.yaml",
    "--vary",
    "batching.batch_size=1,2,4,8",
    "--zip",
    "max_output_tokens=16,32,64 num_input_prompts=96,64,48",
    "--cycles",
    "3",
    "--id",
    "killed",
];

fn bench() -> Bench {
    let bench = Bench::new();
    let tiny = std::fs::read_to_string(bench.path().join("tiny.yaml")).unwrap();
    std::fs::write(bench.path().join("slow.yaml"), tiny).unwrap();
    bench
}

/// Cycles that are finished, over all points.
fn finished(bench: &Bench) -> usize {
    let points = bench.path().join("lem-runs/killed/points");
    let entries = std::fs::read_dir(points).into_iter().flatten().flatten();
    let of = |run: PathBuf| {
        let log = std::fs::read_to_string(run.join("records.jsonl")).unwrap_or_default();
        log.matches("\"kind\":\"cycle_finished\"").count()
    };
    entries.map(|entry| of(entry.path())).sum()
}

/// Starts a sweep and ends it by a signal a random moment after `more` further cycles.
fn broken_off(bench: &Bench, args: &[&str], more: usize, signal: &str) {
    let before = finished(bench);
    let mut child = bench
        .lem()
        .arg("sweep")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while finished(bench) < before + more {
        assert!(
            Instant::now() < end && child.try_wait().unwrap().is_none(),
            "no further cycle was seen in time"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    // Anywhere in a visit: within a cycle, between two, at a sink.
    std::thread::sleep(Duration::from_millis(rand_below(120)));
    let killed = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let status = child.wait().unwrap();
    let code = (signal == "-INT").then_some(130);
    assert_eq!(status.code(), code, "it was to be ended while it went on");
}

fn rand_below(most: u64) -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::from(now.unwrap().subsec_nanos()) / 1000 % most
}

/// Twelve whole points, and no cycle twice.
fn whole(bench: &Bench, out: &std::process::Output) -> Value {
    assert_eq!(out.status.code(), Some(0), "{}", stderr(out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    let points = report["points"].as_array().unwrap();
    assert_eq!(points.len(), 12);
    for point in points {
        assert_eq!(point["state"], "done", "{point}");
        let run = folder(bench, point);
        assert_eq!(cycles(&run), [0, 1, 2], "{}", run.display());
        let result = bench.show(&run);
        assert_eq!(result["num_cycles"], 3);
        let verified = bench.verb(&["verify", run.to_str().unwrap()], &[]);
        let told = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert_eq!(verified.status.code(), Some(0), "{told}");
    }
    let folders = std::fs::read_dir(bench.path().join("lem-runs/killed/points")).unwrap();
    assert_eq!(folders.count(), 12);
    report
}

#[test]
fn what_is_missing_is_measured_and_nothing_twice() {
    let bench = bench();
    let began = Instant::now();
    broken_off(&bench, &[POINTS, &["--mlflow"]].concat(), 5, "-KILL");
    let early = in_file_store(bench.path());
    broken_off(&bench, &["--resume", "killed"], 9, "-KILL");
    broken_off(&bench, &["--resume", "lem-runs/killed"], 4, "-INT");
    let out = sweep(&bench, &["--resume", "killed", "--format", "json"]);
    whole(&bench, &out);
    let (parents, children) = in_file_store(bench.path());
    assert_eq!((parents.len(), children.len()), (1, 12));
    assert_eq!(parents, early.0, "the same parent as before");
    for (child, parent) in &children {
        assert_eq!(*parent, parents[0], "{child}");
    }
    for (child, _) in &early.1 {
        assert!(children.iter().any(|(c, _)| c == child), "{child} is gone");
    }
    eprintln!(
        "killed twice, interrupted once, resumed: {:?}",
        began.elapsed()
    );
}

#[test]
fn a_real_mlflow_has_the_same_parent_and_children() {
    let Some(python) = python() else { return };
    let bench = bench();
    let store = tempfile::TempDir::new().unwrap();
    let server = Server::start(&python, store.path());
    let uri = format!("integrations.mlflow.tracking_uri={}", server.uri());
    let on = ["--mlflow", "--set", &uri];
    let began = Instant::now();
    broken_off(&bench, &[POINTS, &on].concat(), 4, "-KILL");
    let early = runs(&python, &server.uri());
    broken_off(&bench, &["--resume", "killed"], 7, "-KILL");
    let out = sweep(&bench, &["--resume", "killed", "--format", "json"]);
    whole(&bench, &out);
    eprintln!(
        "killed twice and resumed, with a real MLflow: {:?}",
        began.elapsed()
    );

    let now = runs(&python, &server.uri());
    let tag = |run: &Value, name: &str| run["tags"][name].as_str().unwrap_or_default().to_owned();
    let parents: Vec<&Value> = now
        .iter()
        .filter(|r| tag(r, "lem.kind") == "sweep")
        .collect();
    assert_eq!((now.len(), parents.len()), (13, 1));
    let parent = parents[0]["id"].as_str().unwrap();
    let mut points = Vec::new();
    for run in &now {
        assert_eq!(run["status"], "FINISHED", "{run}");
        if tag(run, "lem.kind") == "sweep" {
            assert!(
                run["metrics"]["energy/per_output_token_joules"].is_number(),
                "{run}"
            );
            continue;
        }
        assert_eq!(tag(run, "mlflow.parentRunId"), parent);
        assert_eq!(tag(run, "lem.sweep_id"), "killed");
        points.push(tag(run, "lem.sweep_point").parse::<u32>().unwrap());
        // A point a cycle, and the run's own after them.
        assert_eq!(run["steps"], serde_json::json!([0, 1, 2, 3]), "{run}");
    }
    points.sort_unstable();
    assert_eq!(points, (0..12).collect::<Vec<_>>());
    for run in &early {
        assert!(now.iter().any(|n| n["id"] == run["id"]), "{run} is gone");
    }
}

/// Every run of the experiment, as the official client reads it.
fn runs(python: &str, uri: &str) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/sweep_runs.py");
    let out = Command::new(python)
        .arg(script)
        .args([uri, "lem"])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}
