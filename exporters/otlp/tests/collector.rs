//! Through a real collector: rotel takes the golden run over each protocol, and hands it
//! on, decoded and encoded anew, to the receiver that the conformance suite has. There
//! it must be what arrives directly.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;
mod real;

use std::time::{Duration, Instant};

use fake::Fake;
use lem_otlp::{Compression, OtlpConfig, OtlpExporter, Protocol};
use lem_record::{ExportError, Exporter};
use lem_testkit::golden::{self, Golden};
use real::{Collector, deliver, free_port, named};
use serde_json::Value;

fn golden_run(folder: &tempfile::TempDir) -> Golden {
    golden::run(&folder.path().join("run"))
}

fn config(endpoint: String, protocol: Protocol, compression: Compression) -> OtlpConfig {
    let mut config = OtlpConfig::default();
    config.transport.endpoint = Some(endpoint);
    config.transport.protocol = Some(protocol);
    config.transport.compression = Some(compression);
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_run_arrives_through_a_collector() {
    let Some(rotel) = named("LEM_TEST_ROTEL", "rotel-agent") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_run(&folder);
    let direct = Fake::start();
    let mut exporter = OtlpExporter::new(config(
        direct.server.url(),
        Protocol::Http,
        Compression::None,
    ))
    .unwrap();
    deliver(&mut exporter, &golden).await;
    let expected = direct.facts();
    assert!(expected.len() > 700, "{}", expected.len());

    for protocol in [Protocol::Http, Protocol::Grpc] {
        for compression in [Compression::None, Compression::Gzip] {
            let fake = Fake::start();
            let collector = Collector::start(&rotel, &fake.server.url());
            let port = match protocol {
                Protocol::Http => collector.http,
                Protocol::Grpc => collector.grpc,
            };
            let endpoint = format!("http://127.0.0.1:{port}");
            let mut exporter = OtlpExporter::new(config(endpoint, protocol, compression)).unwrap();
            let check = exporter.check().await;
            assert!(!check.failed(), "{check:?}");
            let (written, receipt) = deliver(&mut exporter, &golden).await;
            assert!(written.iter().all(|w| w.rejected.is_empty()));
            let accepted: u64 = written.iter().map(|w| w.accepted).sum();
            assert_eq!(accepted, expected.len() as u64);
            assert_eq!(receipt.details["resent_batches"], 0);
            // it hands on in batches
            let started = Instant::now();
            while fake.facts().len() < expected.len() && started.elapsed() < Duration::from_secs(20)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let found = fake.facts();
            let lost: Vec<_> = expected
                .iter()
                .filter(|fact| !found.contains(fact))
                .take(3)
                .collect();
            let extra: Vec<_> = found
                .iter()
                .filter(|fact| !expected.contains(fact))
                .take(3)
                .collect();
            assert!(
                lost.is_empty() && extra.is_empty(),
                "over {protocol:?} {compression:?}\nlost {lost:#?}\nextra {extra:#?}"
            );
            // and it has seen them itself
            let log = collector.log();
            for part in [
                "lem.run.energy",
                "gen_ai.client.operation.duration",
                "text_completion golden/model",
                "idle power varied",
            ] {
                assert!(log.contains(part), "{part} is not in the collector's log");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_dies_and_comes_back_gets_the_rest() {
    let Some(rotel) = named("LEM_TEST_ROTEL", "rotel-agent") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_run(&folder);
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let fake = Fake::start();
        let collector = Collector::start(&rotel, &fake.server.url());
        let port = match protocol {
            Protocol::Http => collector.http,
            Protocol::Grpc => collector.grpc,
        };
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut exporter =
            OtlpExporter::new(config(endpoint, protocol, Compression::Gzip)).unwrap();
        exporter
            .open(&golden.context(), &Value::Null)
            .await
            .unwrap();
        let (first, rest) = golden.envelopes.split_at(30);
        exporter.write(first).await.unwrap();
        drop(collector);
        let error = exporter.write(rest).await.unwrap_err();
        let ExportError::Retry { reason, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(
            reason.contains("connection refused") || reason.contains("closed"),
            "{reason}"
        );
        assert!(exporter.check().await.failed());
    }
}

#[tokio::test]
async fn a_dead_port_is_tried_again_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_run(&folder);
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let endpoint = format!("http://127.0.0.1:{}", free_port());
        let mut exporter =
            OtlpExporter::new(config(endpoint.clone(), protocol, Compression::None)).unwrap();
        exporter
            .open(&golden.context(), &Value::Null)
            .await
            .unwrap();
        let error = exporter.write(&golden.envelopes).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, ExportError::Retry { .. }));
        assert!(
            said.contains(&endpoint) && said.contains("refused"),
            "{said}"
        );
    }
}

/// An HTTP/1 server at the port where gRPC is expected, and a silent one.
#[tokio::test]
async fn grpc_to_something_else_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_run(&folder);
    let fake = Fake::start();
    let mut wrong = config(fake.server.url(), Protocol::Grpc, Compression::None);
    wrong.transport.timeout_s = Some(2.0);
    let mut exporter = OtlpExporter::new(wrong).unwrap();
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    let error = exporter.write(&golden.envelopes).await.unwrap_err();
    assert!(error.to_string().contains(&fake.server.url()), "{error}");

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut silent_config = config(endpoint, Protocol::Grpc, Compression::None);
    silent_config.transport.timeout_s = Some(0.2);
    let mut exporter = OtlpExporter::new(silent_config).unwrap();
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    let error = exporter.write(&golden.envelopes).await.unwrap_err();
    assert!(
        matches!(&error, ExportError::Retry { reason, .. } if reason.contains("0.2 s")),
        "{error:?}"
    );
}
