//! Real receivers: rotel, an OpenTelemetry collector, and MLflow.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    dead_code
)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lem_otlp::OtlpExporter;
use lem_record::{Exporter, Receipt, Written};
use lem_testkit::golden::Golden;
use serde_json::Value;
use tempfile::TempDir;

pub fn named(variable: &str, what: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        eprintln!("skipped: {variable} names no {what}");
    }
    path
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn wait_for(port: u16, process: &mut Child, seconds: u64, what: &str) {
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Some(status) = process.try_wait().unwrap() {
            panic!("{what} ended with {status}");
        }
        assert!(
            started.elapsed() < Duration::from_secs(seconds),
            "{what} does not listen"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A collector that hands everything on to another receiver, and writes it down.
pub struct Collector {
    process: Child,
    pub grpc: u16,
    pub http: u16,
    folder: TempDir,
}

impl Collector {
    pub fn start(rotel: &Path, on_to: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (grpc, http) = (free_port(), free_port());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut process = Command::new(rotel)
            .args([
                "start",
                "--exporter",
                "otlp",
                "--otlp-exporter-protocol",
                "http",
            ])
            .args([
                "--otlp-exporter-compression",
                "none",
                "--batch-timeout",
                "50ms",
            ])
            .args(["--otlp-exporter-endpoint", on_to])
            .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
            .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
            .args([
                "--debug-log",
                "metrics",
                "--debug-log",
                "traces",
                "--debug-log",
                "logs",
            ])
            .args(["--debug-log-verbosity", "detailed"])
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("rotel starts");
        wait_for(http, &mut process, 20, "rotel");
        wait_for(grpc, &mut process, 20, "rotel");
        Self {
            process,
            grpc,
            http,
            folder,
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub struct Mlflow {
    process: Child,
    pub port: u16,
    folder: TempDir,
}

impl Mlflow {
    pub fn start(python: &Path) -> Self {
        use std::os::unix::process::CommandExt as _;
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let place = folder.path().display();
        let mut process = Command::new(python)
            .args([
                "-m",
                "mlflow",
                "server",
                "--host",
                "127.0.0.1",
                "--workers",
                "1",
            ])
            .args(["--port", &port.to_string()])
            .args([
                "--backend-store-uri",
                &format!("sqlite:///{place}/mlflow.db"),
            ])
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("PATH", path_with(python))
            .current_dir(folder.path())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            // its workers are a group of their own, to be stopped with it
            .process_group(0)
            .spawn()
            .expect("mlflow starts");
        wait_for(port, &mut process, 120, "mlflow");
        Self {
            process,
            port,
            folder,
        }
    }

    pub fn uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Mlflow {
    fn drop(&mut self) {
        let group = format!("-{}", self.process.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.process.wait();
    }
}

fn path_with(python: &Path) -> std::ffi::OsString {
    let mut path = python
        .parent()
        .unwrap_or(Path::new("."))
        .as_os_str()
        .to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// Runs a script with the server's own client; what it prints is JSON.
pub fn ask(python: &Path, script: &str, arguments: &[&str]) -> Value {
    let output = Command::new(python)
        .args(["-c", script])
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stdout)))
}

/// All of a run.
pub async fn deliver(exporter: &mut OtlpExporter, golden: &Golden) -> (Vec<Written>, Receipt) {
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    let mut written = Vec::new();
    for batch in golden.envelopes.chunks(40) {
        written.push(exporter.write(batch).await.unwrap());
    }
    let status = golden.status.unwrap();
    let receipt = exporter
        .finish(status, Duration::from_secs(30))
        .await
        .unwrap();
    (written, receipt)
}
