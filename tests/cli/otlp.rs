//! `--otlp`, from the command line and the environment to the receiver.

use lem_testkit::{FakeServer, Response};

use crate::support::{Bench, run_dir, stderr};

fn receiver() -> FakeServer {
    FakeServer::start(|_| {
        Response::bytes(200, Vec::new()).header("content-type", "application/x-protobuf")
    })
}

#[test]
fn a_run_is_delivered_with_what_the_environment_says() {
    let bench = Bench::new();
    let server = receiver();
    let out = bench
        .lem()
        .args(["run", "tiny.yaml", "--format", "json", "--otlp"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", server.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hunter2")
        .env("OTEL_LOGS_EXPORTER", "none")
        .env("OTEL_BSP_SCHEDULE_DELAY", "5000")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let result: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let export = &result["exports"][0];
    assert_eq!(
        (export["sink"].as_str(), export["state"].as_str()),
        (Some("otlp"), Some("delivered")),
        "{export}"
    );
    let requests = server.requests();
    let to = |path: &str| requests.iter().filter(|r| r.path == path).count();
    assert!(to("/v1/metrics") > 0 && to("/v1/traces") > 0);
    assert_eq!(to("/v1/logs"), 0);
    assert!(
        requests
            .iter()
            .all(|r| r.header("x-key") == Some("hunter2"))
    );
    let log = std::fs::read_to_string(run_dir(&result).join("records.jsonl")).unwrap();
    let cursor = std::fs::read_to_string(run_dir(&result).join("delivery/otlp.json")).unwrap();
    assert!(!log.contains("hunter2") && !cursor.contains("hunter2"));
    // what has no effect is told, not ignored
    assert!(cursor.contains("OTEL_BSP_SCHEDULE_DELAY"), "{cursor}");
}

/// The run's own log knows where it was to go; headers come from the environment again.
#[test]
fn what_is_owed_is_delivered_later() {
    let bench = Bench::new();
    let server = receiver();
    server.go_down();
    let url = server.url();
    let set = format!("integrations.otlp.endpoint={url}");
    let on = [
        "--otlp",
        "--set",
        &set,
        "--set",
        "integrations.deadline_s=1",
    ];
    let result = bench.result(&on, 0);
    assert_ne!(result["exports"][0]["state"], "delivered");
    server.come_up();
    let out = bench
        .lem()
        .args(["export", "--to", "otlp"])
        .arg(run_dir(&result))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(server.request_count() > 0);
    let export = &bench.show(&run_dir(&result))["exports"][0];
    assert_eq!(export["state"], "delivered");
}

#[test]
fn a_check_proves_the_receiver_and_tells_what_has_no_effect() {
    let bench = Bench::new();
    let server = receiver();
    let check = |url: &str, code| {
        let out = bench
            .lem()
            .args(["sinks", "check", "--to", "otlp"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            .env("OTEL_PROPAGATORS", "b3")
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let good = check(&server.url(), 0);
    assert!(good.contains("takes OTLP"), "{good}");
    assert!(good.contains("OTEL_PROPAGATORS has no effect"), "{good}");
    server.go_down();
    let dead = check(&server.url(), 1);
    assert!(dead.contains("nothing listens"), "{dead}");
}

#[test]
fn spans_for_mlflow_need_a_server() {
    let bench = Bench::new();
    let out = bench.run(&["--mlflow", "--set", "integrations.mlflow.traces=true"]);
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert!(
        stderr(&out).contains("only a tracking server takes spans"),
        "{}",
        stderr(&out)
    );
}
