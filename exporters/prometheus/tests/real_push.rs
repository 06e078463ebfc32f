//! The sinks that push and that write files, against what really reads them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod real;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use lem_prometheus::encode;
use lem_prometheus::file::{
    OpenMetricsConfig, OpenMetricsExporter, TextfileConfig, TextfileExporter,
};
use lem_prometheus::push::{PushgatewayConfig, PushgatewayExporter};
use lem_prometheus::remote_write::{Protocol, RemoteWriteConfig, RemoteWriteExporter};
use lem_record::{
    CheckOutcome, Exporter, Receipt, Record, Rejected, RunContext, RunStatus, Secret, Stamp,
};
use lem_testkit::golden::{self, Golden};
use real::{RealServer, programs, run};
use serde_json::Value as Json;

const DAY: i64 = 86_400;

fn scratch() -> (tempfile::TempDir, Golden) {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    (folder, golden)
}

/// The golden run as if it had started so many seconds ago.
fn ago(golden: &Golden, id: &str, seconds: i64) -> RunContext {
    let mut context = golden.context();
    context.run_id = id.to_owned();
    context.started_at.unix_ns = Stamp::now().unix_ns - seconds * 1_000_000_000;
    context
}

async fn deliver(
    mut exporter: impl Exporter,
    golden: &Golden,
    run: &RunContext,
) -> (Vec<Rejected>, Receipt) {
    exporter.open(run, &Json::Null).await.unwrap();
    let mut rejected = Vec::new();
    for batch in golden.envelopes.chunks(9) {
        rejected.extend(exporter.write(batch).await.unwrap().rejected);
    }
    let receipt = exporter.finish(RunStatus::Finished, Duration::from_secs(20));
    (rejected, receipt.await.unwrap())
}

/// Text of a series: its name and labels, as Prometheus' answers give them.
fn identity(labels: impl IntoIterator<Item = (String, String)>) -> String {
    let labels: BTreeMap<String, String> = labels.into_iter().collect();
    serde_json::to_string(&labels).unwrap()
}

type All = BTreeMap<String, Vec<(i64, f64)>>;

/// Every sample of the run by the encoding alone.
fn expected(golden: &Golden, run: &RunContext) -> All {
    let (series, rejected) = encode::encode(run, &golden.envelopes);
    assert_eq!(rejected, []);
    let mut all = All::new();
    for series in encode::merge(series) {
        for point in &series.points {
            for sample in point.value.samples() {
                let name = format!("{}{}", series.family.name, sample.suffix);
                let le = sample.le.map(|le| ("le".to_owned(), le));
                let labels = series.labels.iter().cloned().chain(le);
                let labels = labels.chain([("__name__".to_owned(), name)]);
                let points = all.entry(identity(labels)).or_default();
                points.push((point.unix_ms, sample.value));
            }
        }
    }
    all
}

/// Every sample of the run that a Prometheus holds.
async fn held(server: &RealServer, run: &RunContext) -> All {
    let query = format!("{{instance={:?}}}[1h]", run.run_id);
    let end = (run.started_at.unix_ms() / 1000 + 3000).to_string();
    let answer = server
        .ask("query", &[("query", &query), ("time", &end)])
        .await;
    let series = answer.iter().map(|series| {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(series["metric"].clone()).unwrap();
        let points = series["values"].as_array().unwrap().iter().map(|point| {
            let ms = (point[0].as_f64().unwrap() * 1000.0).round() as i64;
            (ms, point[1].as_str().unwrap().parse().unwrap())
        });
        (identity(labels), points.collect())
    });
    series.collect()
}

fn remote_write(server: &RealServer) -> RemoteWriteExporter {
    let config = RemoteWriteConfig {
        url: Some(format!("{}/api/v1/write", server.url())),
        ..RemoteWriteConfig::default()
    };
    RemoteWriteExporter::new(config).unwrap()
}

fn told(exporter_check: &lem_record::Check, what: &str) -> String {
    let item = exporter_check.items.iter().find(|item| item.what == what);
    match &item.unwrap().outcome {
        CheckOutcome::Ok { detail } => detail.clone(),
        other => panic!("{other:?}"),
    }
}

const NO_WINDOW: &str = "global: {scrape_interval: 1h}\n";
const WINDOW: &str = "storage: {tsdb: {out_of_order_time_window: 30d}}\n";

#[tokio::test]
async fn remote_write_into_a_prometheus_as_it_comes() {
    let Some(programs) = programs() else { return };
    let (_folder, golden) = scratch();
    let server = RealServer::prometheus(&programs, NO_WINDOW, None).await;
    let check = remote_write(&server).check().await;
    assert!(!check.failed(), "{check:?}");
    assert!(
        told(&check, "version").starts_with("Prometheus 2."),
        "{check:?}"
    );
    assert!(
        told(&check, "age of samples").contains("last hour"),
        "{check:?}"
    );
    let names = server.get("/api/v1/label/__name__/values").await;
    assert!(
        names.contains(r#""data":[]"#),
        "a check leaves nothing: {names}"
    );

    // all of it, at its own times, once, whether it comes once or again
    let recent = ago(&golden, "recent", 40 * 60);
    for _ in 0..3 {
        let (rejected, receipt) = deliver(remote_write(&server), &golden, &recent).await;
        assert_eq!(rejected, []);
        assert_eq!(held(&server, &recent).await, expected(&golden, &recent));
        let look_at = receipt.look_at.unwrap();
        let query = look_at.split("g0.expr=").nth(1).unwrap();
        let query = percent_encoding::percent_decode_str(query)
            .decode_utf8()
            .unwrap();
        let shown = server.ask("query", &[("query", &query)]).await;
        assert_eq!(shown.len(), expected(&golden, &recent).len(), "{query}");
    }

    // a series ends with its last sample
    let end = (recent.started_at.unix_ms() / 1000 + 10).to_string();
    let still = server
        .ask(
            "query",
            &[("query", "{instance=\"recent\"}"), ("time", &end)],
        )
        .await;
    assert_eq!(still, Vec::<Json>::new());

    // what is older than it takes is told with the remedy, and does no harm
    let old = ago(&golden, "old", 3 * 3600);
    let (rejected, _) = deliver(remote_write(&server), &golden, &old).await;
    assert!(!rejected.is_empty());
    for rejected in &rejected {
        assert!(rejected.reason.contains("out of bounds"), "{rejected:?}");
        assert!(
            rejected.reason.contains("out_of_order_time_window"),
            "{rejected:?}"
        );
    }
    assert_eq!(held(&server, &old).await, All::new());
    assert_eq!(held(&server, &recent).await, expected(&golden, &recent));
}

#[tokio::test]
async fn remote_write_into_a_prometheus_with_a_window() {
    let Some(programs) = programs() else { return };
    let (_folder, golden) = scratch();
    let server = RealServer::prometheus(&programs, WINDOW, None).await;
    let check = remote_write(&server).check().await;
    assert!(told(&check, "age of samples").contains("30d"), "{check:?}");
    let now = ago(&golden, "now", 60);
    deliver(remote_write(&server), &golden, &now).await;

    let recent = ago(&golden, "recent", 10 * DAY);
    for _ in 0..2 {
        let (rejected, _) = deliver(remote_write(&server), &golden, &recent).await;
        assert_eq!(rejected, []);
        assert_eq!(held(&server, &recent).await, expected(&golden, &recent));
    }
    let old = ago(&golden, "old", 60 * DAY);
    let (rejected, _) = deliver(remote_write(&server), &golden, &old).await;
    assert!(!rejected.is_empty());
    for rejected in &rejected {
        assert!(rejected.reason.contains("too old sample"), "{rejected:?}");
    }
    assert_eq!(held(&server, &old).await, All::new());
}

/// Prometheus 2.42 answers 204 to version 2.0 and stores nothing.
#[tokio::test]
async fn version_2_is_not_believed() {
    let Some(programs) = programs() else { return };
    let (_folder, golden) = scratch();
    let server = RealServer::prometheus(&programs, NO_WINDOW, None).await;
    let config = RemoteWriteConfig {
        url: Some(format!("{}/api/v1/write", server.url())),
        protocol: Protocol::Auto,
        ..RemoteWriteConfig::default()
    };
    let run = golden.context();
    let exporter = RemoteWriteExporter::new(config).unwrap();
    let (rejected, receipt) = deliver(exporter, &golden, &run).await;
    assert_eq!(rejected, []);
    assert_eq!(receipt.details["protocol"], "1.0");
    assert_eq!(held(&server, &run).await, expected(&golden, &run));
}

#[tokio::test]
async fn a_prometheus_that_takes_no_remote_write_is_told_apart() {
    let Some(programs) = programs() else { return };
    let server = RealServer::pushgateway(&programs, None).await; // anything without that path
    let check = remote_write(&server).check().await;
    let text = format!("{check:?}");
    assert!(
        check.failed() && text.contains("--web.enable-remote-write-receiver"),
        "{text}"
    );
}

fn pushgateway(server: &RealServer, password: Option<&str>) -> PushgatewayExporter {
    let config = PushgatewayConfig {
        url: Some(server.url()),
        username: password.map(|_| "ann".to_owned()),
        password: password.map(Secret::new),
        ..PushgatewayConfig::default()
    };
    PushgatewayExporter::pushgateway(config).unwrap()
}

/// Lines of a run's own numbers by the encoding alone, as the gateway shows them.
fn finals(golden: &Golden, run: &RunContext) -> Vec<String> {
    let metrics = golden.envelopes.iter();
    let metrics = metrics.filter(|envelope| matches!(envelope.record, Record::Metric(_)));
    let (series, _) = encode::encode(run, &metrics.cloned().collect::<Vec<_>>());
    let finals = series.into_iter().filter(|series| series.cycle.is_none());
    let mut lines = Vec::new();
    for series in encode::merge(finals) {
        for sample in series.points.last().unwrap().value.samples() {
            let name = format!("{}{}", series.family.name, sample.suffix);
            let le = sample.le.map(|le| ("le".to_owned(), le));
            let labels = series.labels.iter().cloned().chain(le);
            lines.push(format!("{name} {} {}", identity(labels), sample.value));
        }
    }
    lines.sort();
    lines
}

/// The same lines from a text that some other program wrote.
fn lines(text: &str, instance: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let (labels, value) = rest.rsplit_once("} ").unwrap();
        let labels: BTreeMap<String, String> = labels
            .split("\",")
            .filter_map(|pair| pair.split_once("=\""))
            .map(|(name, value)| (name.to_owned(), value.trim_end_matches('"').to_owned()))
            .collect();
        let ours = labels.get("instance").is_some_and(|i| i == instance);
        let meta = name == "target_info" || name.starts_with("push_");
        if ours && !meta {
            let value: f64 = value.parse().unwrap();
            lines.push(format!("{name} {} {value}", identity(labels)));
        }
    }
    lines.sort();
    lines
}

/// Says what is different, not all of it.
fn same(found: &[String], expected: &[String]) {
    let without = |all: &[String], these: &[String]| -> Vec<String> {
        all.iter()
            .filter(|line| !these.contains(line))
            .cloned()
            .collect()
    };
    let (extra, lacking) = (without(found, expected), without(expected, found));
    assert!(
        extra.is_empty() && lacking.is_empty(),
        "extra {extra:#?}, lacking {lacking:#?}"
    );
    assert_eq!(found.len(), expected.len());
}

#[tokio::test]
async fn a_pushgateway_holds_the_final_numbers_once() {
    let Some(programs) = programs() else { return };
    let (_folder, golden) = scratch();
    let server = RealServer::pushgateway(&programs, None).await;
    let check = pushgateway(&server, None).check().await;
    assert!(
        told(&check, "version").starts_with("Pushgateway 1."),
        "{check:?}"
    );
    assert!(
        !server.get("/metrics").await.contains("job=\"lem\""),
        "a check leaves nothing"
    );

    let run_context = golden.context();
    for _ in 0..2 {
        let (rejected, receipt) = deliver(pushgateway(&server, None), &golden, &run_context).await;
        assert_eq!(rejected, []);
        assert_eq!(
            receipt.details["group"],
            "/metrics/job/lem/instance/golden-0001"
        );
        let text = server.get("/metrics").await;
        same(
            &lines(&text, golden::RUN_ID),
            &finals(&golden, &run_context),
        );
        assert!(text.contains("push_failure_time_seconds{instance=\"golden-0001\",job=\"lem\"} 0"));
    }
    let (status, said) = run(
        &programs,
        "promtool",
        &["check", "metrics"],
        &server.get("/metrics").await,
    );
    assert_ne!(status, 1, "{said}");
}

#[tokio::test]
async fn a_pushgateway_with_a_password() {
    let Some(programs) = programs() else { return };
    let (_folder, golden) = scratch();
    // bcrypt of `test`, cost 4
    let users = "basic_auth_users: {ann: BCRYPT}\n".replace("BCRYPT", TEST_BCRYPT);
    let server = RealServer::pushgateway(&programs, Some(&users)).await;
    let check = pushgateway(&server, Some("wrong")).check().await;
    let text = format!("{check:?}");
    assert!(
        check.failed() && text.contains("LEM_PUSHGATEWAY_PASSWORD"),
        "{text}"
    );
    assert!(!pushgateway(&server, Some("test")).check().await.failed());
    let (rejected, _) = deliver(
        pushgateway(&server, Some("test")),
        &golden,
        &golden.context(),
    )
    .await;
    assert_eq!(rejected, []);
}

const TEST_BCRYPT: &str = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";

fn openmetrics(folder: &Path) -> OpenMetricsExporter {
    let config = OpenMetricsConfig {
        path: Some(folder.to_owned()),
        ..OpenMetricsConfig::default()
    };
    OpenMetricsExporter::openmetrics(config).unwrap()
}

#[tokio::test]
async fn promtool_makes_blocks_of_the_openmetrics_file() {
    let Some(programs) = programs() else { return };
    let (folder, golden) = scratch();
    let run_context = golden.context();
    let (rejected, receipt) = deliver(openmetrics(folder.path()), &golden, &run_context).await;
    assert_eq!(rejected, []);
    let file = folder.path().join("golden-0001.om");
    assert_eq!(receipt.look_at.unwrap(), file.display().to_string());
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let arguments = ["tsdb", "create-blocks-from", "openmetrics"];
    let paths = [file.display().to_string(), data.display().to_string()];
    let arguments: Vec<&str> = arguments
        .into_iter()
        .chain(paths.iter().map(String::as_str))
        .collect();
    let (status, said) = run(&programs, "promtool", &arguments, "");
    assert_eq!(status, 0, "{said}");
    let server = RealServer::prometheus(&programs, NO_WINDOW, Some(&data)).await;
    assert_eq!(
        held(&server, &run_context).await,
        expected(&golden, &run_context)
    );
}

#[tokio::test]
async fn node_exporter_reads_the_textfile() {
    let Some(programs) = programs() else { return };
    let (folder, golden) = scratch();
    let collected = folder.path().join("collected");
    fs::create_dir(&collected).unwrap();
    let exporter = || {
        let config = TextfileConfig {
            path: Some(collected.clone()),
            ..TextfileConfig::default()
        };
        TextfileExporter::textfile(config).unwrap()
    };
    let run_context = golden.context();
    let (rejected, _) = deliver(exporter(), &golden, &run_context).await;
    assert_eq!(rejected, []);
    let file = collected.join("lem_golden-0001.prom");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let text = fs::read_to_string(&file).unwrap();
    let (status, said) = run(&programs, "promtool", &["check", "metrics"], &text);
    assert_ne!(status, 1, "{said}");
    let server = RealServer::node_exporter(&programs, &collected).await;
    let shown = server.get("/metrics").await;
    assert!(shown.contains("node_textfile_scrape_error 0"), "{shown}");
    same(
        &lines(&shown, golden::RUN_ID),
        &finals(&golden, &run_context),
    );
    same(
        &lines(&text, golden::RUN_ID),
        &finals(&golden, &run_context),
    );
}
