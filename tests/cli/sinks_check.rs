//! `lem sinks`: which there are, and whether they would take a run.

use lem_testkit::{FakeServer, Fault, Response, Rule};
use serde_json::Value;

use crate::support::{Bench, stderr};

fn rows(bench: &Bench, args: &[&str], variables: &[(&str, &str)], code: i32) -> Vec<Value> {
    let args = [&["sinks"], args, &["--format", "json"]].concat();
    let out = bench.verb(&args, variables);
    assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
    let text = String::from_utf8(out.stdout.clone()).unwrap();
    assert!(
        !text.contains("hunter2") && !stderr(&out).contains("hunter2"),
        "{text}"
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_sink_is_listed_with_its_place() {
    let bench = Bench::new();
    let on = [
        "list",
        "tiny.yaml",
        "--set",
        "integrations.mlflow.enabled=true",
    ];
    let variables = [("MLFLOW_TRACKING_URI", "http://ada:hunter2@h:5000")];
    let listed = rows(&bench, &on, &variables, 0);
    let of = |name: &str| listed.iter().find(|row| row["sink"] == name).unwrap();
    for name in [
        "mlflow",
        "wandb",
        "prometheus",
        "pushgateway",
        "remote-write",
        "openmetrics",
        "textfile",
        "otlp",
        "files",
    ] {
        assert!(!of(name)["sends"].as_array().unwrap().is_empty());
    }
    assert_eq!(of("mlflow")["enabled"], true);
    assert!(
        of("mlflow")["destination"]
            .as_str()
            .unwrap()
            .contains("h:5000")
    );
    assert_eq!(
        (&of("files")["built"], &of("files")["enabled"]),
        (&true.into(), &false.into())
    );
    assert!(
        of("files")["problem"]
            .as_str()
            .unwrap()
            .contains("integrations.files.path")
    );
    let out = bench.verb(&["sinks"], &variables);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        text.contains("mlflow") && !text.contains("hunter2"),
        "{text}"
    );
}

#[test]
fn a_check_proves_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let on = [
        "check",
        "tiny.yaml",
        "--set",
        "integrations.mlflow.enabled=true",
        "--set",
        "integrations.files={enabled: true, path: copies}",
    ];
    let reports = rows(&bench, &on, &[], 0);
    assert_eq!(reports.len(), 2);
    for report in &reports {
        assert_eq!(report["failed"], false);
        assert!(!report["items"].as_array().unwrap().is_empty());
    }
    assert!(!bench.path().join("mlruns").exists() && !bench.path().join("copies").exists());
    // Nothing is on, nothing was named: nothing would be proved.
    let out = bench.verb(&["sinks", "check"], &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("--to"), "{}", stderr(&out));
    let out = bench.verb(&["sinks", "check", "--to", "mlfow"], &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("mlflow"), "{}", stderr(&out));
}

#[test]
fn a_check_fails_where_a_sink_is_away_or_refuses() {
    let bench = Bench::new();
    let failing = |uri: &str| {
        let variables = [
            ("MLFLOW_TRACKING_URI", uri),
            ("MLFLOW_TRACKING_TOKEN", "hunter2-token"),
        ];
        let reports = rows(
            &bench,
            &["check", "--to", "mlflow", "--timeout", "1"],
            &variables,
            1,
        );
        assert_eq!(reports[0]["failed"], true);
        reports[0]["items"].to_string()
    };
    assert!(failing("http://ada:hunter2@127.0.0.1:9").contains("127.0.0.1:9"));
    let server = FakeServer::start(|_| Response::new(500));
    server.script(Rule::new(Fault::Answer(Response::new(401))).times(usize::MAX));
    assert!(failing(&server.url()).contains("MLFLOW_TRACKING"));
    let server = FakeServer::start(|_| Response::new(500));
    server.script(Rule::new(Fault::Hang).times(usize::MAX));
    assert!(failing(&server.url()).contains("no answer within 1 s"));
    // A setting that is wrong is a failed check and no end of the others.
    let on = [
        "check",
        "--to",
        "files,mlflow",
        "--set",
        "integrations.mlflow.tracking_uri=store",
    ];
    let reports = rows(&bench, &on, &[], 1);
    assert_eq!(
        (&reports[0]["failed"], &reports[1]["failed"]),
        (&true.into(), &false.into())
    );
    assert!(
        reports[0]["items"]
            .to_string()
            .contains("integrations.files.path")
    );
}
