//! Present values while a run is measured.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake::Fake;
use lem_otlp::{OtlpConfig, OtlpExporter};
use lem_record::{Board, Exporter, How, RunStatus, Stamp};
use lem_testkit::golden;
use serde_json::Value;

fn until(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it does not come"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn present_values_are_sent_counted_and_end_with_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let fake = Fake::start();
    let mut config = OtlpConfig {
        live: true,
        live_interval_s: 0.03,
        ..OtlpConfig::default()
    };
    config.transport.endpoint = Some(fake.server.url());
    let board = Arc::new(Board::default());
    let mut run = golden.context();
    run.live = Some(Arc::clone(&board));
    let mut exporter = OtlpExporter::new(config).unwrap();
    exporter.open(&run, &Value::Null).await.unwrap();

    let id = BTreeMap::from([("hw.id".to_owned(), "gpu0".to_owned())]);
    let power = board.series("sample.power", &id, How::Measured);
    let progress = board.series("live.progress", &BTreeMap::new(), How::Measured);
    power.set(250.0, Stamp::mono_ns());
    progress.set(0.5, Stamp::mono_ns());
    let count = |part: &str| {
        fake.facts()
            .iter()
            .filter(|fact| fact.contains(part))
            .count()
    };
    // a sampled value once, with its own time; what is true now again and again
    until(|| count("lem.run.progress") >= 3);
    assert_eq!(count("hw.power"), 1);
    power.set(251.0, Stamp::mono_ns());
    until(|| count("hw.power") == 2);
    // its own cost is among them
    until(|| count("lem.export.live.requests") > 0 && count("lem.export.live.cpu") > 0);

    let receipt = exporter
        .finish(RunStatus::Finished, Duration::from_secs(5))
        .await
        .unwrap();
    let live = &receipt.details["live"];
    assert!(live["requests"].as_u64().unwrap() >= 3, "{live}");
    assert!(
        live["cpu_s"].as_f64().unwrap() > 0.0 && live["failed"] == 0,
        "{live}"
    );
    std::thread::sleep(Duration::from_millis(100));
    let after = fake.server.request_count();
    progress.set(0.6, Stamp::mono_ns());
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(
        fake.server.request_count(),
        after,
        "it goes on after the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_receiver_is_counted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let fake = Fake::start();
    fake.server.go_down();
    let mut config = OtlpConfig {
        live: true,
        live_interval_s: 0.02,
        ..OtlpConfig::default()
    };
    config.transport.endpoint = Some(fake.server.url());
    let board = Arc::new(Board::default());
    let mut run = golden.context();
    run.live = Some(Arc::clone(&board));
    let live = board.series("live.progress", &BTreeMap::new(), How::Measured);
    live.set(0.1, Stamp::mono_ns());
    let mut exporter = OtlpExporter::new(config).unwrap();
    exporter.open(&run, &Value::Null).await.unwrap();
    let sent = || {
        let shown = board.now();
        let sent = shown.iter().find(|p| p.metric == "export.live_requests");
        sent.map_or(0.0, |p| p.value)
    };
    until(|| sent() >= 2.0);
    let receipt = exporter
        .finish(RunStatus::Finished, Duration::from_secs(5))
        .await
        .unwrap();
    let live = &receipt.details["live"];
    assert!(live["failed"].as_u64().unwrap() >= 2, "{live}");
    assert!(
        live["last_error"].as_str().unwrap().contains("refused"),
        "{live}"
    );
}

#[tokio::test]
async fn without_the_wish_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    let fake = Fake::start();
    let mut config = OtlpConfig {
        live_interval_s: 0.01,
        ..OtlpConfig::default()
    };
    config.transport.endpoint = Some(fake.server.url());
    let board = Arc::new(Board::default());
    board
        .series("live.progress", &BTreeMap::new(), How::Measured)
        .set(0.1, 1);
    let mut run = golden.context();
    run.live = Some(board);
    let mut exporter = OtlpExporter::new(config).unwrap();
    exporter.open(&run, &Value::Null).await.unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(fake.server.request_count(), 0);
}
