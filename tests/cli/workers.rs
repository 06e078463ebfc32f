//! Engines in other languages, from the command line.

use serde_json::Value;

use crate::support::{Bench, stderr};

fn script(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn bench(worker: &[&str]) -> Bench {
    let bench = Bench::new();
    let command: Vec<String> = worker.iter().map(|word| format!("{word:?}")).collect();
    let config = format!(
        "\
model_name: any
backend: worker
worker: {{ command: [{}], timeout_s: 20, stop_timeout_s: 5 }}
num_input_prompts: 4
num_cycles: 3
prompts: {{ type: synthetic, input_tokens: 16, output_tokens: 16 }}
batching: {{ batch_size: 2 }}
measurement: {{ interval_ms: 5, warmup: {{ min_rounds: 1, max_rounds: 1 }} }}
",
        command.join(", ")
    );
    std::fs::write(bench.path().join("tiny.yaml"), config).unwrap();
    bench
}

#[test]
fn a_worker_is_measured_like_any_engine() {
    let bench = bench(&["python3", &script("workers/echo.py")]);
    let result = bench.result(&[], 0);
    assert_eq!(result["status"], "finished");
    for cycle in result["cycles"].as_array().unwrap() {
        assert_eq!(cycle["tokens"]["output"], 16 * 4, "{cycle}");
        assert_eq!(cycle["requests"]["failed"], 0);
    }
    // A token a millisecond, and 0.1 ms a token of the prompt.
    let decode = result["decode_time_ms"].as_f64().unwrap();
    let prefill = result["prefill_time_ms"].as_f64().unwrap();
    assert!(
        decode > 55.0 && prefill > 6.0 && decode > prefill,
        "{prefill} and {decode}"
    );
    assert_eq!(result["model"]["engine"], "echo");
}

#[test]
fn a_worker_that_dies_leaves_a_partial_result_that_says_so() {
    let bench = bench(&["python3", &script("tests/engine/faulty.py"), "dies"]);
    let out = bench.run(&[]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let told = stderr(&out);
    assert!(
        told.contains("exit code 3") && told.contains("RuntimeError: out of luck"),
        "{told}"
    );
    let runs = bench.runs();
    let result = std::fs::read_to_string(runs[0].join("result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["status"], "failed");
    let why = result["status_reason"].as_str().unwrap();
    assert!(why.contains("exit code 3"), "{why}");
    // It died in the warm-up already.
    assert_eq!(result["cycles"].as_array().unwrap().len(), 0);
}

#[test]
fn the_check_says_by_its_exit_code_whether_a_worker_holds() {
    let bench = Bench::new();
    let echo = script("workers/echo.py");
    let out = bench.verb(&["worker", "check", "--", "python3", &echo], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let faulty = script("tests/engine/faulty.py");
    let out = bench.verb(
        &[
            "worker",
            "check",
            "--format",
            "json",
            "--",
            "python3",
            &faulty,
            "tells the past",
        ],
        &[],
    );
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let findings: Value = serde_json::from_slice(&out.stdout).unwrap();
    let failed = findings
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["verdict"] == "fail");
    let failed: Vec<&Value> = failed.collect();
    assert_eq!(failed.len(), 1, "{findings}");
    assert!(
        failed[0]["detail"]
            .as_str()
            .unwrap()
            .contains("before the one before it")
    );
    let out = bench.verb(&["worker", "check"], &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("Write a command behind --"),
        "{}",
        stderr(&out)
    );
}

#[test]
fn the_engines_are_listed_with_what_they_lack() {
    let bench = Bench::new();
    let out = bench.verb(&["engines", "--no-python", "--format", "json"], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let list: Value = serde_json::from_slice(&out.stdout).unwrap();
    let engines = list["engines"].as_array().unwrap();
    assert_eq!(engines.len(), 11);
    for engine in engines {
        let ready = engine["state"] == "ready";
        assert!(
            ready || engine["remedy"].as_str().is_some_and(|r| !r.is_empty()),
            "{engine}"
        );
    }
    assert!(list["gpus"].is_u64());
    let missing = bench.verb(&["engines", "--set", "worker.python=/no/such/python"], &[]);
    let told = String::from_utf8(missing.stdout).unwrap();
    assert!(told.contains("/no/such/python cannot be started"), "{told}");
    assert!(told.contains("Set worker.python"), "{told}");
}

/// No joule a request may come of requests that were all refused.
#[test]
fn work_that_is_all_refused_is_no_measurement() {
    let bench = bench(&["python3", &script("tests/engine/faulty.py"), "refuses all"]);
    let cold = ["min_rounds", "max_rounds"].map(|key| format!("measurement.warmup.{key}=0"));
    // The warm-up is one batch of two; without it a cycle is all four.
    for (more, requests) in [(vec![], 2), (vec!["--set", &cold[0], "--set", &cold[1]], 4)] {
        let out = bench.run(&more);
        assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
        let told = stderr(&out);
        let refused = format!("Not one of {requests} requests was answered");
        assert!(
            told.contains(&refused) && told.contains("too long"),
            "{told}"
        );
        all_refused(bench.runs().last().unwrap());
    }
}

fn all_refused(run: &std::path::Path) {
    let result = std::fs::read_to_string(run.join("result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["status"], "failed");
    assert!(
        result["total_energy_j"]["value"].is_null(),
        "{}",
        result["total_energy_j"]
    );
}
