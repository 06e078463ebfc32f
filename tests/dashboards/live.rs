//! A run while it goes on, scraped by a real Prometheus with the shipped configuration.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::expressions::filled;
use crate::prometheus::{Server, free_port, programs};
use crate::support::{Bench, run_dir, stderr};
use crate::{boards, read, root};

/// What a machine without a GPU and without sensors shows too.
const SHOWN: [&str; 9] = [
    "lem-live.json: Progress A",
    "lem-live.json: Cycle A",
    "lem-live.json: Output tokens A",
    "lem-live.json: Phase A",
    "lem-live.json: Power by source A",
    "lem-live.json: Output tokens per second A",
    "lem-live.json: Joules per output token A",
    "lem-live.json: Power of all sources A",
    "lem-live.json: Utilisation and activity C",
];

/// Of the result, which the last scrape has.
const ENDED: [&str; 5] = [
    "lem-run.json: Energy per output token A",
    "lem-run.json: Energy of a cycle A",
    "lem-run.json: Output tokens per second A",
    "lem-run.json: Time to first token A",
    "lem-compare.json: Runs A",
];

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

#[test]
fn a_run_is_seen_while_it_goes_on_and_its_result_after_it() {
    let Some(programs) = programs() else { return };
    let port = free_port();
    let rules = root().join("dashboards/prometheus/rules");
    let config = read("dashboards/prometheus/prometheus.yaml")
        .replace("127.0.0.1:9464", &format!("127.0.0.1:{port}"))
        // a tiny run takes a few seconds
        .replace("scrape_interval: 1s", "scrape_interval: 250ms")
        .replace("rules/*.yaml", &format!("{}/*.yaml", rules.display()));
    let server = Server::start(&programs, TempDir::new().unwrap(), &config);

    let bench = Bench::new();
    let out = bench
        .lem()
        .args(["run", "tiny.yaml", "--format", "json", "--cycles", "800"])
        .args(["--set", "num_input_prompts=16", "--linger=20"])
        .arg(format!("--prometheus=127.0.0.1:{port}"))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let result: Value = serde_json::from_slice(&out.stdout).unwrap();
    let run = run_dir(&result)
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let asked = boards::expressions();
    let mut wrong = Vec::new();
    for place in SHOWN.iter().chain(&ENDED) {
        let asked = asked.iter().find(|asked| asked.place == *place);
        let asked = asked.unwrap_or_else(|| panic!("there is no {place}"));
        let expression = filled(&asked.expression, &run);
        // A scrape that has just been answered may not be stored yet.
        let mut answer = server.query_over(&expression, asked.instant, now(), 60);
        for _ in 0..50 {
            if answer.as_ref().is_ok_and(|series| !series.is_empty()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            answer = server.query_over(&expression, asked.instant, now(), 60);
        }
        match answer {
            Ok(series) if series.is_empty() => {
                wrong.push(format!("{place}: no answer to {expression}"))
            }
            Ok(series) => {
                let other = |series: &Value| {
                    let instance = &series["metric"]["instance"];
                    !(instance.is_null() || *instance == run)
                };
                assert!(!series.iter().any(other), "{place}: {series:?}");
            }
            Err(error) => wrong.push(format!("{place}: {expression}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // lem's own labels stand, not those of the scrape.
    let info = server.query_over("last_over_time(lem_run_info[60s])", true, now(), 60);
    let info = info.unwrap();
    assert!(!info.is_empty());
    for series in info {
        assert_eq!(series["metric"]["job"], "lem");
        assert_eq!(series["metric"]["instance"], run.as_str());
    }
}
