//! A sink that is down, slow or refuses never costs a run; what is owed is delivered later.

use crate::support::{Bench, run_dir, stderr};

#[test]
fn a_copy_arrives_and_a_repeat_changes_nothing() {
    let bench = Bench::new();
    let on = [
        "--set",
        "integrations.files.enabled=true",
        "--set",
        "integrations.files.path=copies",
    ];
    let result = bench.result(&on, 0);
    let export = &result["exports"][0];
    assert_eq!(
        (export["sink"].as_str(), export["state"].as_str()),
        (Some("files"), Some("delivered"))
    );
    let copy = bench
        .path()
        .join("copies")
        .join(result["run_id"].as_str().unwrap());
    let digest = |path: &std::path::Path| std::fs::read(path).unwrap();
    let series = digest(&copy.join("timeseries.parquet"));
    assert_eq!(series, digest(&run_dir(&result).join("timeseries.parquet")));
    let again = bench
        .lem()
        .args(["export", "--to", "files"])
        .arg(run_dir(&result))
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(series, digest(&copy.join("timeseries.parquet")));
}

#[test]
fn a_dead_server_costs_a_warning_or_exit_code_3() {
    let bench = Bench::new();
    let dead = [
        "--mlflow",
        "--set",
        "integrations.mlflow.tracking_uri=http://127.0.0.1:9",
        "--set",
        "integrations.deadline_s=1",
    ];
    let out = bench.run(&dead);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(stderr(&out).contains("lem export"), "{}", stderr(&out));
    let result = bench.result(&[&dead[..], &["--strict-export"]].concat(), 3);
    assert_eq!(result["status"], "finished");
    assert_ne!(result["exports"][0]["state"], "delivered");
    // Owed to nobody in particular: it goes wherever the next export says.
    let store = bench.path().join("store");
    let out = bench
        .lem()
        .args(["export", "--to", "mlflow"])
        .arg(run_dir(&result))
        .env("MLFLOW_TRACKING_URI", &store)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(store.is_dir());
    assert_eq!(
        bench.show(&run_dir(&result))["exports"][0]["state"],
        "delivered"
    );
}

#[test]
fn a_sink_that_is_not_known_is_told_by_name() {
    let bench = Bench::new();
    let result = bench.result(&[], 0);
    let out = bench
        .lem()
        .args(["export", "--to", "mlfow"])
        .arg(run_dir(&result))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("Did you mean mlflow"),
        "{}",
        stderr(&out)
    );
}
