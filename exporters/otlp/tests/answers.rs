//! What a receiver may answer, and what becomes of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use std::time::Duration;

use fake::Fake;
use lem_otlp::{OtlpConfig, OtlpExporter};
use lem_record::{ExportError, Exporter, Receipt, RunStatus, Written};
use lem_testkit::golden::{self, Golden};
use lem_testkit::{FakeServer, Fault, Response, Rule};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;
use serde_json::Value;

struct Bench {
    fake: Fake,
    golden: Golden,
    _folder: tempfile::TempDir,
}

fn config(server: &FakeServer) -> OtlpConfig {
    let mut config = OtlpConfig::default();
    config.transport.endpoint = Some(server.url());
    config
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

    async fn open(&self, state: &Value) -> OtlpExporter {
        let mut exporter = OtlpExporter::new(config(&self.fake.server)).unwrap();
        exporter.open(&self.golden.context(), state).await.unwrap();
        exporter
    }

    async fn write(&self, exporter: &mut OtlpExporter) -> Result<Written, ExportError> {
        exporter.write(&self.golden.envelopes).await
    }

    fn script(&self, path: &str, status: u16, kind: &str, body: impl Into<Vec<u8>>) {
        let answer = Response::bytes(status, body).header("content-type", kind);
        let rule = Rule::new(Fault::Answer(answer)).path(path).times(1);
        self.fake.server.script(rule);
    }
}

async fn finish(exporter: &mut OtlpExporter) -> Receipt {
    exporter
        .finish(RunStatus::Finished, Duration::from_secs(9))
        .await
        .unwrap()
}

const PROTOBUF: &str = "application/x-protobuf";

fn partial(rejected: i64, message: &str) -> Vec<u8> {
    let partial_success = Some(ExportMetricsPartialSuccess {
        rejected_data_points: rejected,
        error_message: message.to_owned(),
    });
    ExportMetricsServiceResponse { partial_success }.encode_to_vec()
}

#[tokio::test]
async fn what_a_receiver_rejects_is_told_with_its_words() {
    let bench = Bench::new();
    bench.script("/v1/metrics", 200, PROTOBUF, partial(3, "out of order"));
    let mut exporter = bench.open(&Value::Null).await;
    let whole = bench.write(&mut exporter).await.unwrap();
    assert_eq!(whole.rejected.len(), 1);
    let reason = &whole.rejected[0].reason;
    assert!(
        reason.starts_with("3 of ") && reason.ends_with(": out of order"),
        "{reason}"
    );
    let details = finish(&mut exporter).await.details;
    assert_eq!(details["signals"]["metrics"]["rejected"], 3);
    let accepted: u64 = ["metrics", "traces", "logs"]
        .iter()
        .map(|signal| details["signals"][signal]["accepted"].as_u64().unwrap())
        .sum();
    assert_eq!(whole.accepted, accepted);
    assert!(accepted > 300, "{accepted}");
}

#[tokio::test]
async fn a_hint_without_a_rejection_is_kept() {
    let bench = Bench::new();
    bench.script("/v1/metrics", 200, PROTOBUF, partial(0, "use gzip"));
    let mut exporter = bench.open(&Value::Null).await;
    assert_eq!(bench.write(&mut exporter).await.unwrap().rejected, []);
    assert_eq!(finish(&mut exporter).await.details["hints"][0], "use gzip");
}

#[tokio::test]
async fn an_answer_of_somebody_else_acknowledges_nothing() {
    for (kind, body) in [
        ("text/html", "<html><title>Sign in</title></html>"),
        ("text/html", ""),
        ("application/json", "{}"),
        (PROTOBUF, "<html>"),
        (PROTOBUF, "OK"),
    ] {
        let bench = Bench::new();
        bench.script("/v1/", 200, kind, body);
        let mut exporter = bench.open(&Value::Null).await;
        let error = bench.write(&mut exporter).await.unwrap_err();
        let ExportError::Retry { reason, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(reason.contains("nothing counts as delivered"), "{reason}");
        // whoever was there is gone: all arrives
        bench.write(&mut exporter).await.unwrap();
        assert_eq!(finish(&mut exporter).await.details["resent_batches"], 1);
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_not_sent_again() {
    let bench = Bench::new();
    let busy = Response::new(503).header("retry-after", "7");
    bench
        .fake
        .server
        .script(Rule::new(Fault::Answer(busy)).path("/v1/traces").times(1));
    let mut exporter = bench.open(&Value::Null).await;
    let error = bench.write(&mut exporter).await.unwrap_err();
    assert!(matches!(error, ExportError::Retry { after: Some(a), .. } if a.as_secs() == 7));
    // also not by the process that comes next with the kept state
    let state = exporter.state();
    let mut exporter = bench.open(&state).await;
    bench.write(&mut exporter).await.unwrap();
    let paths: Vec<String> = bench
        .fake
        .server
        .requests()
        .iter()
        .map(|r| r.path.clone())
        .collect();
    assert_eq!(
        paths,
        ["/v1/metrics", "/v1/traces", "/v1/traces", "/v1/logs"]
    );
}

/// A receiver that refuses a message for one point in it.
fn picky(status: u16) -> FakeServer {
    FakeServer::start(move |request| {
        let ok = || Response::bytes(200, Vec::new()).header("content-type", PROTOBUF);
        if !request.path.ends_with("metrics") {
            return ok();
        }
        let message = ExportMetricsServiceRequest::decode(fake::body(request).as_slice()).unwrap();
        let mut names = message
            .resource_metrics
            .iter()
            .flat_map(|r| &r.scope_metrics)
            .flat_map(|s| &s.metrics)
            .map(|m| m.name.as_str());
        match names.any(|name| name == "lem.flops.mfu") {
            true => Response::text(status, "I do not like it"),
            false => ok(),
        }
    })
}

#[tokio::test]
async fn a_refused_message_is_parted_until_only_the_culprit_is_left() {
    for status in [400, 413, 422] {
        let bench = Bench::new();
        let server = picky(status);
        let mut exporter = OtlpExporter::new(config(&server)).unwrap();
        exporter
            .open(&bench.golden.context(), &Value::Null)
            .await
            .unwrap();
        let written = bench.write(&mut exporter).await.unwrap();
        let [rejected] = written.rejected.as_slice() else {
            panic!("{:?}", written.rejected);
        };
        let at = bench
            .golden
            .envelopes
            .iter()
            .find(|e| e.n == rejected.n)
            .unwrap();
        assert!(format!("{:?}", at.record).contains("flops.mfu"));
        assert!(rejected.reason.contains("I do not like it"), "{rejected:?}");
        assert_eq!(written.through, bench.golden.envelopes.last().unwrap().n);
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_is_the_wrong_one() {
    let bench = Bench::new();
    for (status, answer) in [(400, "no"), (415, "JSON only"), (404, "nothing here")] {
        bench.fake.server.clear_script();
        let rule = Rule::new(Fault::Answer(Response::text(status, answer)));
        bench.fake.server.script(rule);
        let mut exporter = bench.open(&Value::Null).await;
        let error = bench.write(&mut exporter).await.unwrap_err();
        let ExportError::GiveUp { reason, remedy } = &error else {
            panic!("{status}: {error:?}");
        };
        assert!(reason.contains(answer) && !remedy.is_empty(), "{error:?}");
        // nothing was rejected for good: another address gets it all
        bench.fake.server.clear_script();
        let state = exporter.state();
        let mut exporter = bench.open(&state).await;
        assert_eq!(bench.write(&mut exporter).await.unwrap().rejected, []);
    }
}

#[tokio::test]
async fn the_message_of_an_error_is_read_out_of_its_protobuf() {
    let bench = Bench::new();
    let status = tonic_types::pb::Status {
        code: 14,
        message: "the disk is full".to_owned(),
        details: Vec::new(),
    };
    bench.script("/v1/metrics", 503, PROTOBUF, status.encode_to_vec());
    let mut exporter = bench.open(&Value::Null).await;
    let error = bench.write(&mut exporter).await.unwrap_err();
    assert!(error.to_string().ends_with("the disk is full"), "{error}");
}

/// OTLP has no key against doubles, so each chance of one is counted.
#[tokio::test]
async fn resends_are_byte_identical_and_counted() {
    let bench = Bench::new();
    let mut exporter = bench.open(&Value::Null).await;
    let (first, second) = bench.golden.envelopes.split_at(40);
    exporter.write(first).await.unwrap();
    let kept = exporter.state();
    // dies after the second batch, before its cursor is kept
    exporter.write(second).await.unwrap();
    let mut exporter = bench.open(&kept).await;
    exporter.write(second).await.unwrap();
    let details = finish(&mut exporter).await.details;
    assert_eq!(
        (
            &details["resent_batches"],
            &details["possibly_resent_batches"]
        ),
        (&0.into(), &1.into())
    );
    assert!(details["resent"].as_str().unwrap().contains("twice"));
    // and the same records once more, as `lem export --from-start` does
    let state = exporter.state();
    let mut exporter = bench.open(&state).await;
    exporter.write(first).await.unwrap();
    exporter.write(second).await.unwrap();
    assert_eq!(finish(&mut exporter).await.details["resent_batches"], 2);

    let world = bench.fake.world.lock().unwrap();
    let half = world.bodies.len() / 5; // first, second, second, first, second
    assert!(half >= 2);
    let mut distinct = world.bodies.clone();
    distinct.sort();
    distinct.dedup();
    assert!(
        distinct.len() < world.bodies.len() / 2 + 1,
        "{} of {}",
        distinct.len(),
        world.bodies.len()
    );
}

#[tokio::test]
async fn a_run_that_was_delivered_once_says_so() {
    let bench = Bench::new();
    let mut exporter = bench.open(&Value::Null).await;
    bench.write(&mut exporter).await.unwrap();
    let details = finish(&mut exporter).await.details;
    assert_eq!(
        (
            &details["resent_batches"],
            &details["possibly_resent_batches"]
        ),
        (&0.into(), &0.into())
    );
    assert_eq!(details["trace_id"].as_str().unwrap().len(), 32);
    assert!(details.get("resent").is_none());
    assert!(exporter.state().to_string().len() < 1_000);
}

#[tokio::test]
async fn with_every_signal_off_nothing_is_sent() {
    let bench = Bench::new();
    let mut config = config(&bench.fake.server);
    config.apply_environment(|name| (name == "OTEL_SDK_DISABLED").then(|| "true".to_owned()));
    let mut exporter = OtlpExporter::new(config).unwrap();
    assert!(!exporter.check().await.failed());
    exporter
        .open(&bench.golden.context(), &Value::Null)
        .await
        .unwrap();
    bench.write(&mut exporter).await.unwrap();
    finish(&mut exporter).await;
    assert_eq!(bench.fake.server.request_count(), 0);
}
