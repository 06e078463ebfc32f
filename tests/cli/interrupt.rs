//! Ctrl-C.

use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::Bench;

/// Long enough that a signal finds it measuring.
const LONG: &[&str] = &["--cycles", "200", "--set", "num_input_prompts=64"];

fn signal(pid: u32, name: &str) {
    let done = std::process::Command::new("kill")
        .args([name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(done.success());
}

/// Waits until a cycle has been finished.
fn wait_for_a_cycle(bench: &Bench) {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end {
        let found = bench.runs().iter().any(|run| {
            std::fs::read_to_string(run.join("records.jsonl"))
                .is_ok_and(|log| log.contains("\"cycle_finished\""))
        });
        if found {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no cycle was finished in a minute");
}

#[test]
fn the_first_signal_keeps_what_was_measured() {
    let bench = Bench::new();
    let mut child = bench
        .lem()
        .args(["run", "tiny.yaml", "--format", "json"])
        .args(LONG)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_a_cycle(&bench);
    signal(child.id(), "-INT");
    let mut out = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let result: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(result["status"], "interrupted");
    let cycles = result["cycles"].as_array().unwrap();
    assert!(cycles.iter().any(|cycle| cycle["complete"] == true));
    assert!(cycles.len() < 200);
    // What was under way is shown as a part, and counts for nothing.
    assert!(
        cycles
            .iter()
            .filter(|cycle| cycle["complete"] == false)
            .count()
            <= 1
    );
}
