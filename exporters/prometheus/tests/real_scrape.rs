//! A real Prometheus scrapes a run from its first second to its summary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asking;
mod real;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lem_prometheus::encode::{self, Format, Series, Times};
use lem_prometheus::scrape::{PrometheusConfig, PrometheusExporter, ServerTls};
use lem_record::{Attributes, Board, Exporter, How, RunContext, RunStatus, Secret};
use lem_testkit::golden;
use real::{RealServer, programs, run};
use serde_json::Value;

/// Name and labels of each sample, and its value.
type Samples = BTreeMap<BTreeMap<String, String>, f64>;

fn expected(series: &[Series]) -> Samples {
    let mut samples = Samples::new();
    for series in series {
        for sample in series.points.last().unwrap().value.samples() {
            let mut labels: BTreeMap<_, _> = series.labels.iter().cloned().collect();
            labels.insert(
                "__name__".into(),
                format!("{}{}", series.family.name, sample.suffix),
            );
            labels.extend(sample.le.map(|le| ("le".to_owned(), le)));
            samples.insert(labels, sample.value);
        }
    }
    samples
}

async fn found(server: &RealServer, query: &str) -> Samples {
    let answer = server.ask("query", &[("query", query)]).await;
    let sample = |found: &Value| {
        let labels = found["metric"].as_object().unwrap().iter();
        let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned()));
        let value = found["value"][1].as_str().unwrap().replace("Inf", "inf");
        (labels.collect(), value.parse().unwrap())
    };
    answer.iter().map(sample).collect()
}

#[tokio::test]
async fn plain() {
    whole_run(false).await;
}

#[tokio::test]
async fn with_tls_and_a_password() {
    whole_run(true).await;
}

async fn whole_run(guarded: bool) {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(folder.path());
    let log = String::from_utf8(golden.log()).unwrap();
    let first = log.lines().next().unwrap();
    std::fs::write(folder.path().join("records.jsonl"), format!("{first}\n")).unwrap();
    let board = Arc::new(Board::default());
    let context = RunContext {
        live: Some(Arc::clone(&board)),
        ..golden.context()
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut config = PrometheusConfig {
        address: address.clone(),
        linger_s: Some(60.0),
        ..PrometheusConfig::default()
    };
    let mut job = format!(
        "scrape_configs:\n- job_name: lem\n  honor_labels: true\n  scrape_interval: 300ms\n  scrape_timeout: 300ms\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    if guarded {
        let files = asking::certificate(folder.path());
        job.push_str(&format!(
            "  scheme: https\n  tls_config: {{ca_file: '{}'}}\n  basic_auth: {{username: ann, password: hunter2}}\n",
            files.cert.display()
        ));
        config.username = Some("ann".into());
        config.password = Some(Secret::new("hunter2"));
        config.tls = ServerTls {
            cert: Some(files.cert),
            key: Some(files.key),
        };
    }
    let mut exporter = PrometheusExporter::new(config).unwrap();
    exporter.open(&context, &Value::Null).await.unwrap();
    let gpu = Attributes::from([
        ("hw.id".into(), "gpu0".into()),
        ("hw.type".into(), "gpu".into()),
    ]);
    let power = board.series("sample.power", &gpu, How::Measured);
    power.set(321.5, context.started_at.mono_ns);

    let server = RealServer::prometheus(&programs, &job, None).await;
    let live = "hw_power_watts{job=\"lem\", instance=\"golden-0001\", hw_id=\"gpu0\", lem_how=\"measured\"}";
    let started = Instant::now();
    while found(&server, live).await.values().next() != Some(&321.5) {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "no live power arrives"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    power.clear();
    exporter.write(&golden.envelopes).await.unwrap();
    let finished = exporter
        .finish(RunStatus::Finished, Duration::from_secs(60))
        .await;
    assert_eq!(finished.unwrap().details["summary_scraped"], true);
    drop(exporter);

    // the scrape may still be on its way into the store
    let (series, _) = encode::encode(&context, &golden.envelopes);
    let mut series = encode::merge(series);
    series.retain(|series| series.cycle.is_none() && !of_samples(series));
    let expected = expected(&series);
    let all = "last_over_time({instance=\"golden-0001\"}[10m])";
    let started = Instant::now();
    loop {
        let mut found = found(&server, all).await;
        // the live ones of the endpoint's own
        found.retain(|labels, _| expected.contains_key(labels) || !is_live(labels));
        if found == expected {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "missing: {:?}\ntoo many: {:?}",
            expected
                .iter()
                .filter(|(k, v)| found.get(*k) != Some(v))
                .collect::<Vec<_>>(),
            found
                .iter()
                .filter(|(k, _)| !expected.contains_key(*k))
                .collect::<Vec<_>>()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Of the sampled series, which a scrape shows while they are true only.
fn of_samples(series: &Series) -> bool {
    series.points.len() > 1 && series.family.name != "target_info"
}

fn is_live(labels: &BTreeMap<String, String>) -> bool {
    let name = labels["__name__"].as_str();
    let own = name.starts_with("lem_export_live_") && labels["lem_sink"] == "prometheus";
    // what Prometheus says of the scrape itself
    own || ["hw_power_watts", "up"].contains(&name)
        || name.starts_with("scrape_")
        // what the run was, before the analysis told it
        || (name == "lem_run_info" && labels["lem_backend"] != "golden")
}

/// All that promtool objects to is a name that the translation makes.
#[test]
fn promtool_takes_every_page() {
    let Some(programs) = programs() else { return };
    let folder = tempfile::tempdir().unwrap();
    for golden in [golden::run(folder.path()), golden::hostile(folder.path())] {
        let (series, _) = encode::encode(&golden.context(), &golden.envelopes);
        let text = encode::text(&encode::merge(series), Format::Text, Times::Left);
        let (code, said) = run(&programs, "promtool", &["check", "metrics"], &text);
        assert!(code == 0 || code == 3, "{code}: {said}");
        let unknown: Vec<&str> = said
            .lines()
            .filter(|line| !line.starts_with("lem_run_energy_delay_"))
            .collect();
        assert_eq!(unknown, Vec::<&str>::new());
    }
}
