//! `lem verify`: a run that was really measured, as it is and after every kind of edit.

use std::fs;

use serde_json::Value;

use crate::support::{Bench, run_dir, stderr};

fn report(bench: &Bench, run: &str, code: i32) -> Value {
    let out = bench.verb(&["verify", run, "--format", "json"], &[]);
    assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn verdict<'a>(report: &'a Value, check: &str) -> &'a str {
    let checks = report["checks"].as_array().unwrap();
    let found = checks.iter().find(|c| c["check"] == check).unwrap();
    found["verdict"].as_str().unwrap()
}

#[test]
fn a_measured_run_is_verified_and_an_edited_one_is_not() {
    let bench = Bench::new();
    let run = run_dir(&bench.result(
        &[
            "--measure-baseline",
            "--set",
            "measurement.baseline.duration_s=0.5",
            "--set",
            "measurement.baseline.settle_s=0",
        ],
        0,
    ));
    let path = run.to_str().unwrap();
    let whole = report(&bench, path, 0);
    assert_eq!(whole["ok"], true, "{whole:#}");
    for check in [
        "log",
        "seal",
        "clock",
        "artifacts",
        "metrics",
        "result",
        "series",
    ] {
        assert_eq!(verdict(&whole, check), "passed", "{check}: {whole:#}");
    }
    let out = bench.verb(&["verify", path], &[]);
    let told = String::from_utf8(out.stdout).unwrap();
    assert!(
        told.contains("its result follows from its records"),
        "{told}"
    );

    // After a rebuild too.
    let out = bench.verb(&["results", "rebuild", path], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert_eq!(report(&bench, path, 0)["ok"], true);

    let log = run.join("records.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    // One digit of one sample.
    let samples = text.find("\"kind\":\"samples\"").unwrap();
    let values = samples + text[samples..].find("\"values\":[").unwrap() + "\"values\":[".len();
    let digit = values
        + text[values..]
            .find(|c: char| ('1'..='8').contains(&c))
            .unwrap();
    let mut edited = text.clone();
    edited.replace_range(digit..=digit, "9");
    fs::write(&log, &edited).unwrap();
    let broken = report(&bench, path, 1);
    assert_eq!(verdict(&broken, "seal"), "failed");
    assert_eq!(verdict(&broken, "series"), "failed");
    fs::write(&log, &text).unwrap();

    let config = run.join("artifacts/config.yaml");
    fs::write(&config, "model_name: another\n").unwrap();
    let broken = report(&bench, path, 1);
    assert_eq!(verdict(&broken, "artifacts"), "failed");
    assert_eq!(verdict(&broken, "result"), "passed");
}

#[test]
fn what_is_no_run_fails_and_several_are_checked_one_by_one() {
    let bench = Bench::new();
    let run = run_dir(&bench.result(&[], 0));
    let path = run.to_str().unwrap();
    let out = bench.verb(&["verify", "nowhere", path, "--format", "json"], &[]);
    assert_eq!(out.status.code(), Some(1));
    let both: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(both[0]["error"].as_str().unwrap().contains("holds no run"));
    assert_eq!(both[1]["ok"], true, "{both:#}");
}
