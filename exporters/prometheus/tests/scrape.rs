//! The scrape endpoint, as whoever asks it sees it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asking;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use asking::{Reply, ask};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lem_prometheus::scrape::{PrometheusConfig, PrometheusExporter, ServerTls};
use lem_record::{
    Attributes, Board, CheckOutcome, ExportError, Exporter, How, Receipt, RunContext, RunStatus,
    Secret,
};
use lem_testkit::golden::{self, Golden};
use serde_json::Value;
use tempfile::TempDir;

const OPEN: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

fn config(linger_s: Option<f64>) -> PrometheusConfig {
    PrometheusConfig {
        address: "127.0.0.1:0".into(),
        linger_s,
        ..PrometheusConfig::default()
    }
}

/// A run that is measured by this process: its log has its first record only.
fn beginning(folder: &TempDir) -> (Golden, RunContext, Arc<Board>) {
    let golden = golden::run(folder.path());
    let log = String::from_utf8(golden.log()).unwrap();
    let first = log.lines().next().unwrap();
    fs::write(folder.path().join("records.jsonl"), format!("{first}\n")).unwrap();
    let board = Arc::new(Board::default());
    let context = RunContext {
        live: Some(Arc::clone(&board)),
        ..golden.context()
    };
    (golden, context, board)
}

async fn opened(config: PrometheusConfig, run: &RunContext) -> (PrometheusExporter, SocketAddr) {
    let mut exporter = PrometheusExporter::new(config).unwrap();
    exporter.open(run, &Value::Null).await.unwrap();
    let address = exporter.listens_at().unwrap();
    (exporter, address)
}

/// Finishes, while others may ask.
async fn finish(exporter: &mut PrometheusExporter) -> Result<Receipt, ExportError> {
    let limit = Duration::from_secs(20);
    exporter.finish(RunStatus::Finished, limit).await
}

fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let line = lines.find(|line| line.strip_prefix(name).is_some_and(|l| l.starts_with('{')))?;
    line.rsplit(' ').next()
}

#[tokio::test]
async fn the_board_is_shown_while_the_run_goes_on_and_then_the_summary() {
    let folder = tempfile::tempdir().unwrap();
    let (golden, run, board) = beginning(&folder);
    let (mut exporter, address) = opened(config(Some(0.0)), &run).await;
    let gpu = Attributes::from([
        ("hw.id".into(), "gpu0".into()),
        ("hw.type".into(), "gpu".into()),
    ]);
    let power = board.series("sample.power", &gpu, How::Measured);

    let before = ask(address, "/metrics", &[]).text();
    assert_eq!(value(&before, "hw_power_watts"), None, "not known is not 0");
    assert_eq!(value(&before, "lem_run_info"), Some("1"));
    assert_eq!(value(&before, "target_info"), Some("1"));
    assert_eq!(value(&before, "lem_run_energy_joules"), None);

    power.set(123.5, run.started_at.mono_ns);
    board
        .series(
            "live.phase",
            &Attributes::from([("lem.phase".into(), "decode".into())]),
            How::Measured,
        )
        .set(1.0, run.started_at.mono_ns);
    let during = ask(address, "/metrics", &[("Accept", OPEN)]);
    assert!(
        during
            .header("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text; version=1.0.0")
    );
    let during = during.text();
    assert!(during.ends_with("# EOF\n"));
    assert_eq!(value(&during, "hw_power_watts"), Some("123.5"));
    assert!(
        during
            .contains("lem_run_phase{instance=\"golden-0001\",job=\"lem\",lem_phase=\"decode\"} 1")
    );
    // what it costs is seen beside it, from the second scrape on
    assert_eq!(value(&during, "lem_export_live_requests_total"), Some("1"));
    let cpu: f64 = value(&during, "lem_export_live_cpu_seconds_total")
        .unwrap()
        .parse()
        .unwrap();
    assert!(cpu > 0.0 && cpu < 1.0, "{cpu}");

    power.clear();
    let written = exporter.write(&golden.envelopes).await.unwrap();
    assert_eq!(written.through, golden.envelopes.last().unwrap().n);
    assert_eq!(written.rejected, []);
    let after = ask(address, "/metrics", &[]);
    assert!(
        after
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let after = after.text();
    assert_eq!(value(&after, "hw_power_watts"), None, "it is over");
    assert!(value(&after, "lem_run_energy_joules").is_some());
    assert!(
        !after.contains("lem_cycle="),
        "a cycle's number has no moment here"
    );
    assert_eq!(after.matches("\nlem_run_info{").count(), 1);
    // a family stands in one place only
    let types: Vec<_> = after
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .collect();
    let mut once = types.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(types.len(), once.len());

    let receipt = finish(&mut exporter).await.unwrap();
    assert_eq!(receipt.details["scrapes"], 3);
    assert_eq!(receipt.details["summary_scraped"], true);
    assert!(receipt.details["cpu_seconds"].as_f64().unwrap() > 0.0);
    drop(exporter);
    assert!(
        TcpStream::connect(address).is_err(),
        "nothing listens any more"
    );
}

#[tokio::test]
async fn the_end_waits_for_one_scrape_of_the_whole_summary() {
    let folder = tempfile::tempdir().unwrap();
    let (golden, run, _) = beginning(&folder);
    let (mut exporter, address) = opened(config(Some(15.0)), &run).await;
    ask(address, "/metrics", &[]); // before the summary: does not count
    exporter.write(&golden.envelopes).await.unwrap();
    ask_head(address); // gets no summary
    let started = Instant::now();
    let asking = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(300));
        ask(address, "/metrics", &[("Accept-Encoding", "gzip")])
    });
    let receipt = finish(&mut exporter).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(250), "it waited");
    assert!(
        started.elapsed() < Duration::from_secs(14),
        "and no longer than it had to"
    );
    assert_eq!(receipt.details["summary_scraped"], true);
    drop(exporter); // the answer arrives all the same
    let reply = asking.await.unwrap();
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&reply.body[..])
        .read_to_string(&mut text)
        .unwrap();
    assert!(value(&text, "lem_run_energy_joules").is_some());
}

#[tokio::test]
async fn a_summary_that_nobody_scraped_is_not_called_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let (golden, run, _) = beginning(&folder);
    for (linger, scraped_before, says) in [
        (None, false, "nobody scraped http://127.0.0.1"),
        (Some(0.2), true, "of 1 scrapes of"),
    ] {
        let (mut exporter, address) = opened(config(linger), &run).await;
        if scraped_before {
            ask(address, "/metrics", &[]);
        }
        exporter.write(&golden.envelopes).await.unwrap();
        let error = finish(&mut exporter).await.unwrap_err();
        assert!(matches!(error, ExportError::GiveUp { .. }));
        let text = error.to_string();
        assert!(text.contains(says) && text.contains("--linger="), "{text}");
    }
    // who does not want to wait has said so
    let (mut exporter, _) = opened(config(Some(0.0)), &run).await;
    let receipt = finish(&mut exporter).await.unwrap();
    assert_eq!(receipt.details["summary_scraped"], false);
}

#[tokio::test]
async fn a_run_that_ended_before_is_served_whole_from_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(folder.path());
    let (mut exporter, address) = opened(config(None), &golden.context()).await;
    // all of it was delivered by an earlier process: nothing comes by `write`
    let asking = tokio::task::spawn_blocking(move || ask(address, "/metrics", &[]).text());
    let receipt = finish(&mut exporter).await.unwrap();
    assert_eq!(receipt.details["summary_scraped"], true);
    let text = asking.await.unwrap();
    assert!(value(&text, "lem_run_energy_joules").is_some());
    assert!(text.contains("lem_how=\"modelled\""));
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(folder.path());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = PrometheusConfig {
        address: taken.local_addr().unwrap().to_string(),
        ..config(None)
    };
    let mut exporter = PrometheusExporter::new(config).unwrap();
    let error = exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap_err();
    assert!(matches!(error, ExportError::GiveUp { .. }));
    let text = error.to_string();
    assert!(text.contains("another process listens there"), "{text}");
    assert!(text.contains("--prometheus=127.0.0.1:"), "{text}");
    let check = exporter.check().await;
    assert!(check.failed());
    drop(taken);
    assert!(!exporter.check().await.failed());
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    // its own, once open, is not taken by itself
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
}

#[tokio::test]
async fn only_who_knows_the_password_may_read() {
    let folder = tempfile::tempdir().unwrap();
    let (_, run, _) = beginning(&folder);
    let config = PrometheusConfig {
        username: Some("ann".into()),
        password: Some(Secret::new("hunter2")),
        ..config(Some(0.0))
    };
    let (exporter, address) = opened(config, &run).await;
    let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
    for path in ["/metrics", "/", "/-/healthy", "/x"] {
        let refused = ask(address, path, &[("Authorization", &basic("ann:hunter3"))]);
        assert_eq!(refused.status, 401);
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic ")
        );
        assert!(!refused.text().contains("lem_"));
    }
    let admitted = ask(
        address,
        "/metrics",
        &[("Authorization", &basic("ann:hunter2"))],
    );
    assert_eq!(admitted.status, 200);
    let shown = format!(
        "{exporter:?} {} {:?}",
        exporter.destination(),
        exporter.check().await
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn other_paths_and_other_methods() {
    let folder = tempfile::tempdir().unwrap();
    let (_, run, _) = beginning(&folder);
    let (_exporter, address) = opened(config(Some(0.0)), &run).await;
    assert_eq!(ask(address, "/-/healthy", &[]).text(), "lem is healthy.\n");
    let front = ask(address, "/", &[]).text();
    assert!(
        front.contains("href=\"/metrics\"") && front.contains("golden run"),
        "{front}"
    );
    assert_eq!(ask(address, "/admin", &[]).status, 404);
    assert_eq!(ask(address, "/metrics?x=1", &[]).status, 200);
    let post = raw(
        address,
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
    );
    assert_eq!(post.status, 405);
    assert_eq!(post.header("allow"), Some("GET, HEAD"));
    let head = ask_head(address);
    assert!(head.body.is_empty() && head.status == 200);
}

/// Whatever is said to it, it goes on, and memory has a bound.
#[tokio::test]
async fn nonsense_and_silence_stop_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (_, run, _) = beginning(&folder);
    let (_exporter, address) = opened(config(Some(0.0)), &run).await;
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(nonsense).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let mut endless = TcpStream::connect(address).unwrap();
    let head = [
        b"GET /metrics HTTP/1.1\r\nX: ".to_vec(),
        vec![b'x'; 1 << 20],
    ]
    .concat();
    let _ = endless.write_all(&head);
    assert_eq!(ask(address, "/metrics", &[]).status, 200);
    drop(silent);
}

#[tokio::test]
async fn tls_with_a_certificate_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let (_, run, _) = beginning(&folder);
    let files = asking::certificate(folder.path());
    let config = PrometheusConfig {
        tls: ServerTls {
            cert: Some(files.cert.clone()),
            key: Some(files.key.clone()),
        },
        ..config(Some(0.0))
    };
    let (exporter, address) = opened(config.clone(), &run).await;
    assert!(exporter.destination().starts_with("https://"));
    let client = lem_http::Client::new(lem_http::Config {
        tls: lem_http::Tls {
            ca_path: Some(files.cert.clone()),
            ..lem_http::Tls::default()
        },
        ..lem_http::Config::new(format!("https://127.0.0.1:{}", address.port()))
    })
    .unwrap();
    let reply = client.get("/metrics").send().await.unwrap();
    assert!(reply.is_success());
    // plain HTTP gets nothing
    let mut plain = TcpStream::connect(address).unwrap();
    plain
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("lem_"));
    drop(exporter);

    let broken = [
        (
            "certificate",
            folder.path().join("no.pem"),
            files.key.clone(),
        ),
        ("private key", files.cert.clone(), files.cert.clone()),
    ];
    for (what, cert, key) in broken {
        let tls = ServerTls {
            cert: Some(cert),
            key: Some(key),
        };
        let mut exporter = PrometheusExporter::new(PrometheusConfig {
            tls,
            ..config.clone()
        })
        .unwrap();
        let error = exporter
            .open(&run, &Value::Null)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(what) && error.contains(".pem"), "{error}");
        let check = exporter.check().await;
        let failed =
            |item: &&lem_record::CheckItem| matches!(item.outcome, CheckOutcome::Failed { .. });
        assert_eq!(check.items.iter().find(failed).unwrap().what, "certificate");
    }
}

#[tokio::test]
async fn a_hostile_run_has_its_page_too() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::hostile(folder.path());
    let (mut exporter, address) = opened(config(Some(0.0)), &golden.context()).await;
    let written = exporter.write(&golden.envelopes).await.unwrap();
    assert!(!written.rejected.is_empty());
    let text = ask(address, "/metrics", &[]).text();
    assert!(text.contains("\\\\slash") && text.len() > 10_000);
    assert_eq!(ask(address, "/", &[]).text().matches("<h1>").count(), 1);
}

fn ask_head(address: SocketAddr) -> Reply {
    raw(
        address,
        b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
}

fn raw(address: SocketAddr, request: &[u8]) -> Reply {
    asking::raw(address, request)
}
