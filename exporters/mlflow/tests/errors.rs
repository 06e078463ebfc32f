//! What a server may answer, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use std::time::Duration;

use fake::Fake;
use lem_mlflow::{MlflowConfig, MlflowExporter};
use lem_record::{CheckOutcome, ExportError, Exporter, RunStatus, Written};
use lem_testkit::golden::{self, Golden};
use lem_testkit::{Fault, Response, Rule};
use serde_json::Value;

fn config(fake: &Fake) -> MlflowConfig {
    MlflowConfig {
        tracking_uri: Some(fake.server.url()),
        ..MlflowConfig::default()
    }
}

struct Bench {
    fake: Fake,
    golden: Golden,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let golden = golden::run(&folder.path().join("run"));
        Self {
            fake: Fake::start(),
            golden,
            _folder: folder,
        }
    }

    async fn open(&self, config: MlflowConfig) -> Result<MlflowExporter, ExportError> {
        let mut exporter = MlflowExporter::new(config).unwrap();
        exporter
            .open(&self.golden.context(), &Value::Null)
            .await
            .map(|()| exporter)
    }

    async fn deliver(&self, config: MlflowConfig) -> (MlflowExporter, Written) {
        let mut exporter = self.open(config).await.unwrap();
        let written = exporter.write(&self.golden.envelopes).await.unwrap();
        exporter
            .finish(RunStatus::Finished, Duration::from_secs(9))
            .await
            .unwrap();
        (exporter, written)
    }
}

fn given_up<T: std::fmt::Debug>(result: Result<T, ExportError>) -> String {
    match result {
        Err(ExportError::GiveUp { reason, remedy }) => format!("{reason}. {remedy}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_that_create_the_run_at_once_keep_one() {
    let bench = Bench::new();
    let (one, two) = tokio::join!(
        bench.open(config(&bench.fake)),
        bench.open(config(&bench.fake))
    );
    let remote = |exporter: &MlflowExporter| exporter.state()["remote"]["run_id"].clone();
    assert_eq!(remote(&one.unwrap()), remote(&two.unwrap()));
    let world = bench.fake.world.lock().unwrap();
    assert_eq!(world.experiments.len(), 1);
    assert_eq!(
        world
            .runs
            .iter()
            .filter(|run| run.stage == "active")
            .count(),
        1
    );
}

#[tokio::test]
async fn an_experiment_that_another_makes_first_is_used() {
    let bench = Bench::new();
    // looked for before the other made it, created after
    let missing = Response::json(
        404,
        &serde_json::json!({"error_code": "RESOURCE_DOES_NOT_EXIST"}),
    );
    bench
        .fake
        .change(|world| world.experiments.push(("lem".into(), "active".into())));
    bench.fake.server.script(
        Rule::new(Fault::Answer(missing))
            .path("get-by-name")
            .times(1),
    );
    bench.open(config(&bench.fake)).await.unwrap();
    assert_eq!(bench.fake.world.lock().unwrap().experiments.len(), 1);
    assert_eq!(bench.fake.run().experiment, "1");
}

#[tokio::test]
async fn a_run_starts_when_it_started_and_ends_when_it_ended() {
    let bench = Bench::new();
    let (exporter, _) = bench.deliver(config(&bench.fake)).await;
    let run = bench.fake.run();
    assert_eq!(run.start, golden::STARTED_AT.unix_ms());
    let end = bench.golden.envelopes.last().unwrap().at.unix_ms();
    assert_eq!((run.status.as_str(), run.end), ("FINISHED", Some(end)));
    assert_eq!(run.name, "golden run");
    drop(exporter);
}

#[tokio::test]
async fn each_end_has_its_status() {
    for (status, theirs) in [
        (RunStatus::Failed, "FAILED"),
        (RunStatus::Interrupted, "KILLED"),
        (RunStatus::Killed, "KILLED"),
    ] {
        let bench = Bench::new();
        let mut exporter = bench.open(config(&bench.fake)).await.unwrap();
        exporter.write(&bench.golden.envelopes).await.unwrap();
        exporter
            .finish(status, Duration::from_secs(9))
            .await
            .unwrap();
        let run = bench.fake.run();
        assert_eq!(
            (run.status.as_str(), run.tags["lem.status"].as_str()),
            (theirs, status.as_str())
        );
        // whoever wrote the end of a killed run did so later
        let ended = run.end.unwrap() < bench.golden.envelopes.last().unwrap().at.unix_ms();
        assert_eq!(ended, status == RunStatus::Killed);
    }
}

#[tokio::test]
async fn a_finish_without_time_is_owed() {
    let bench = Bench::new();
    let mut exporter = bench.open(config(&bench.fake)).await.unwrap();
    bench.fake.server.script(Rule::new(Fault::Hang));
    let late = exporter
        .finish(RunStatus::Finished, Duration::from_millis(30))
        .await;
    assert!(matches!(late, Err(ExportError::Retry { .. })), "{late:?}");
}

#[tokio::test]
async fn artifacts_that_the_server_does_not_serve_go_the_other_way() {
    let bench = Bench::new();
    bench.fake.change(|world| world.artifacts_off = true);
    let (_, written) = bench.deliver(config(&bench.fake)).await;
    let told: Vec<&str> = written.rejected.iter().map(|r| r.reason.as_str()).collect();
    assert_eq!(
        told,
        ["artifacts/empty.log is empty, and this server takes no empty file"]
    );
    let world = bench.fake.world.lock().unwrap();
    assert!(
        world.artifacts.contains_key("uploaded/result.json"),
        "{:?}",
        world.artifacts.keys()
    );
    assert!(world.artifacts.contains_key("uploaded/tables/cycles.json"));
}

#[tokio::test]
async fn a_store_behind_the_server_is_reached_through_it_up_to_its_limit() {
    let bench = Bench::new();
    bench.fake.change(|world| world.root = "s3://bucket".into());
    std::fs::write(
        bench.golden.folder.join("timeseries.parquet"),
        vec![1; 11 << 20],
    )
    .unwrap();
    let (_, written) = bench.deliver(config(&bench.fake)).await;
    let told = written
        .rejected
        .iter()
        .find(|r| r.reason.contains("timeseries.parquet"))
        .unwrap();
    assert!(told.reason.contains("--serve-artifacts"), "{told:?}");
    assert!(
        bench
            .fake
            .world
            .lock()
            .unwrap()
            .artifacts
            .contains_key("uploaded/result.json")
    );
}

#[tokio::test]
async fn a_large_file_goes_in_parts_where_the_server_says_so() {
    let bench = Bench::new();
    bench.fake.change(|world| world.multipart = true);
    let large: Vec<u8> = (0..(101_u32 << 20) / 4)
        .flat_map(u32::to_le_bytes)
        .collect();
    std::fs::write(bench.golden.folder.join("timeseries.parquet"), &large).unwrap();
    let (_, written) = bench.deliver(config(&bench.fake)).await;
    assert_eq!(written.rejected, []);
    let world = bench.fake.world.lock().unwrap();
    assert!(world.artifacts["whole timeseries.parquet"] == large);
    let parts = bench
        .fake
        .server
        .requests()
        .iter()
        .filter(|r| r.path.starts_with("/s3/"))
        .count();
    assert_eq!(parts, 7);
}

#[tokio::test]
async fn parts_that_fail_are_given_back_to_the_store() {
    let bench = Bench::new();
    bench.fake.change(|world| world.multipart = true);
    std::fs::write(
        bench.golden.folder.join("timeseries.parquet"),
        vec![0; 100 << 20],
    )
    .unwrap();
    bench
        .fake
        .server
        .script(Rule::new(Fault::Answer(Response::new(403))).path("/s3/3"));
    let mut exporter = bench.open(config(&bench.fake)).await.unwrap();
    let error = exporter.write(&bench.golden.envelopes).await.unwrap_err();
    assert!(matches!(&error, ExportError::Retry { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("X-Sig"), "{error:?}");
    let requests = bench.fake.server.requests();
    assert!(
        requests.last().unwrap().path.contains("/mpu/abort/"),
        "{:?}",
        requests.last()
    );
}

#[tokio::test]
async fn an_unchanged_file_is_sent_once() {
    let bench = Bench::new();
    let (exporter, _) = bench.deliver(config(&bench.fake)).await;
    let state = exporter.state();
    bench.fake.server.clear_requests();
    let mut second = MlflowExporter::new(config(&bench.fake)).unwrap();
    second.open(&bench.golden.context(), &state).await.unwrap();
    second.write(&bench.golden.envelopes).await.unwrap();
    let puts = |name: &str| {
        bench
            .fake
            .server
            .requests()
            .iter()
            .filter(|r| r.method == "PUT" && r.path.ends_with(name))
            .count()
    };
    assert_eq!(puts("result.json"), 0);
    assert!(bench.fake.server.request_count() > 3);
}

#[tokio::test]
async fn without_artifacts_and_system_metrics() {
    let bench = Bench::new();
    let config = MlflowConfig {
        upload_artifacts: false,
        log_system_metrics: false,
        run_name: Some("mine".into()),
        ..config(&bench.fake)
    };
    bench.deliver(config).await;
    let run = bench.fake.run();
    assert_eq!(run.name, "mine");
    assert!(!run.metrics.iter().any(|metric| metric.contains("system/")));
    let world = bench.fake.world.lock().unwrap();
    assert_eq!(
        world
            .artifacts
            .keys()
            .filter(|path| !path.contains("tables/"))
            .count(),
        0
    );
}

#[tokio::test]
async fn a_workspace_is_named_only_where_there_are_some() {
    let bench = Bench::new();
    let named = MlflowConfig {
        workspace: Some("team".into()),
        ..config(&bench.fake)
    };
    let error = given_up(bench.open(named.clone()).await);
    assert!(error.contains("MLFLOW_WORKSPACE"), "{error}");
    bench.fake.change(|world| world.workspaces = true);
    let mut exporter = bench.open(named).await.unwrap();
    let last = bench.fake.server.requests().pop().unwrap();
    assert_eq!(last.header("x-mlflow-workspace"), Some("team"));
    let receipt = exporter
        .finish(RunStatus::Finished, Duration::from_secs(9))
        .await
        .unwrap();
    assert!(receipt.look_at.unwrap().ends_with("?workspace=team"));
}

#[tokio::test]
async fn permanent_answers_in_the_guise_of_transient_ones() {
    let bench = Bench::new();
    for (status, body, remedy) in [
        (
            500,
            r#"{"error_code":"FEATURE_DISABLED","message":"Workspace APIs are not available"}"#,
            "MLFLOW_WORKSPACE",
        ),
        (
            403,
            "Invalid Host header - possible DNS rebinding attack detected",
            "--allowed-hosts",
        ),
        (401, "You are not authenticated", "MLFLOW_TRACKING_TOKEN"),
        (
            404,
            r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"Run with id=x not found"}"#,
            "delivery/mlflow.json",
        ),
        (
            400,
            r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"The run x must be in the 'active' state. Current state is deleted."}"#,
            "mlflow runs restore",
        ),
        (404, "<html><title>nginx</title>", "MLFLOW_TRACKING_URI"),
    ] {
        let mut exporter = bench.open(config(&bench.fake)).await.unwrap();
        let answer = Response::text(status, body);
        bench
            .fake
            .server
            .script(Rule::new(Fault::Answer(answer)).path("log-batch"));
        let error = given_up(exporter.write(&bench.golden.envelopes).await);
        assert!(error.contains(remedy), "{error}");
        bench.fake.server.clear_script();
    }
    // and the other way round
    let busy = r#"{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"slow down"}"#;
    let answer = Response::text(400, busy).header("retry-after", "3");
    bench
        .fake
        .server
        .script(Rule::new(Fault::Answer(answer)).path("log-batch"));
    let mut exporter = bench.open(config(&bench.fake)).await.unwrap();
    let error = exporter.write(&bench.golden.envelopes).await.unwrap_err();
    assert!(matches!(error, ExportError::Retry { after: Some(after), .. } if after.as_secs() == 3));
}

#[tokio::test]
async fn points_that_the_server_refuses_do_not_stop_the_rest() {
    let bench = Bench::new();
    let no = r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"I do not like it"}"#;
    let rule = Rule::new(Fault::Answer(Response::text(400, no))).matching(|request| {
        request.path.ends_with("log-batch") && request.text().contains("\"metrics\"")
    });
    bench.fake.server.script(rule.times(1));
    let (_, written) = bench.deliver(config(&bench.fake)).await;
    assert_eq!(written.rejected.len(), 1, "{:?}", written.rejected);
    assert!(written.rejected[0].reason.contains("I do not like it"));
    let run = bench.fake.run();
    assert!(run.tags.contains_key("lem.how") && !run.params.is_empty());
}

#[tokio::test]
async fn a_check_tells_what_is_wrong_and_leaves_nothing() {
    let bench = Bench::new();
    let check = MlflowExporter::new(config(&bench.fake))
        .unwrap()
        .check()
        .await;
    assert!(!check.failed(), "{check:?}");
    assert!(bench.fake.world.lock().unwrap().experiments.is_empty());

    bench
        .fake
        .change(|world| world.experiments.push(("lem".into(), "deleted".into())));
    let check = MlflowExporter::new(config(&bench.fake))
        .unwrap()
        .check()
        .await;
    let failed: Vec<_> = check
        .items
        .iter()
        .filter_map(|item| match &item.outcome {
            CheckOutcome::Failed { remedy, .. } => Some((item.what.as_str(), remedy.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(failed.len(), 1, "{check:?}");
    assert!(
        failed[0].1.contains("mlflow experiments restore"),
        "{check:?}"
    );

    let unauthorised = Response::text(401, "who are you");
    bench
        .fake
        .server
        .script(Rule::new(Fault::Answer(unauthorised)));
    let check = MlflowExporter::new(config(&bench.fake))
        .unwrap()
        .check()
        .await;
    assert!(
        check.failed() && format!("{check:?}").contains("MLFLOW_TRACKING_TOKEN"),
        "{check:?}"
    );
}
