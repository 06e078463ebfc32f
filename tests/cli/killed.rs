//! `kill -9` at any moment.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Bench, of_kind, records};

#[test]
fn every_finished_cycle_survives_and_is_delivered() {
    let bench = Bench::new();
    // Ten moments spread over a run, random within their tenth: from before the model is loaded to after the end.
    let began = Instant::now();
    bench.result(&["--cycles", "20"], 0);
    let whole = began.elapsed();
    std::fs::remove_dir_all(bench.path().join("lem-runs")).unwrap();
    for moment in 0..10_u32 {
        let spread = f64::from(std::process::id().wrapping_mul(moment + 1) % 100) / 100.0;
        let mut child = bench
            .lem()
            .args(["run", "tiny.yaml", "--cycles", "20", "--mlflow"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole.mul_f64((f64::from(moment) + spread) / 10.0));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut partial = 0;
    for run in bench.runs() {
        let finished = of_kind(&whole_records(&run), "cycle_finished").count();
        let shown = bench.show(&run);
        let complete = |result: &serde_json::Value| {
            result["cycles"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|c| c["complete"] == true)
                .count()
        };
        assert_eq!(complete(&shown), finished, "{}", run.display());
        let out = bench
            .lem()
            .args(["export", "--to", "mlflow"])
            .arg(&run)
            .output()
            .unwrap();
        assert_eq!(
            out.status.code(),
            Some(0),
            "{}",
            crate::support::stderr(&out)
        );
        let after = records(&run);
        let end = of_kind(&after, "run_finished").last().unwrap().clone();
        let again = bench.show(&run);
        assert_eq!(again["status"], end["status"]);
        assert_eq!(complete(&again), finished);
        if end["status"] == "killed" {
            partial += 1;
            let meta = mlflow_status(&bench, run.file_name().unwrap().to_str().unwrap());
            assert_eq!(meta.as_deref(), Some("5"), "KILLED in the file store");
        }
    }
    assert!(partial > 0, "no run was killed while it went on");
    std::thread::sleep(Duration::ZERO);
}

/// Records of a log that may end within a line.
fn whole_records(run: &std::path::Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("records.jsonl")).unwrap();
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The status line of the run's `meta.yaml` in the local MLflow store.
fn mlflow_status(bench: &Bench, run_id: &str) -> Option<String> {
    let experiments = std::fs::read_dir(bench.path().join("mlruns")).ok()?;
    for run in experiments
        .flatten()
        .flat_map(|e| std::fs::read_dir(e.path()).into_iter().flatten())
        .flatten()
    {
        let tag = std::fs::read_to_string(run.path().join("tags/lem.run_id"));
        if tag.is_ok_and(|tag| tag == run_id) {
            let meta = std::fs::read_to_string(run.path().join("meta.yaml")).ok()?;
            return meta
                .lines()
                .find_map(|line| line.strip_prefix("status: "))
                .map(str::to_owned);
        }
    }
    None
}
