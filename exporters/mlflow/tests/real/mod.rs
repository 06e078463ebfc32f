//! A real MLflow, where `LEM_TEST_MLFLOW_PYTHON` names a python that has it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    dead_code
)]

pub mod expected;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lem_mlflow::{MlflowConfig, MlflowExporter};
use lem_record::{Exporter, Receipt, Rejected, RunStatus};
use lem_testkit::golden::Golden;
use serde_json::Value;
use tempfile::TempDir;

pub fn python() -> Option<PathBuf> {
    let python = std::env::var_os("LEM_TEST_MLFLOW_PYTHON").map(PathBuf::from);
    if python.is_none() {
        eprintln!("skipped: LEM_TEST_MLFLOW_PYTHON names no python that has mlflow");
    }
    python
}

pub struct RealServer {
    process: Child,
    pub port: u16,
    pub folder: TempDir,
    python: PathBuf,
}

impl RealServer {
    /// With an empty database in a scratch folder, which `{folder}` stands for.
    pub fn start(python: &Path, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let place = folder.path().display().to_string();
        let log = std::fs::File::create(folder.path().join("server.log")).unwrap();
        let process = Command::new(python)
            .args([
                "-m",
                "mlflow",
                "server",
                "--host",
                "127.0.0.1",
                "--workers",
                "1",
                "--port",
            ])
            .arg(port.to_string())
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{place}/mlflow.db"))
            .args(
                arguments
                    .iter()
                    .map(|argument| argument.replace("{folder}", &place)),
            )
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("PATH", path_with(python))
            .current_dir(folder.path())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            // its workers are a group of their own, to be stopped with it
            .process_group_of_its_own()
            .spawn()
            .expect("mlflow starts");
        let server = Self {
            process,
            port,
            folder,
            python: python.to_owned(),
        };
        let started = Instant::now();
        while !server.answers() {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "mlflow does not answer"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        server
    }

    fn answers(&self) -> bool {
        use std::io::{Read as _, Write as _};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut answer = String::new();
        stream
            .write_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            .is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }

    pub fn uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Self {
        use std::os::unix::process::CommandExt as _;
        self.process_group(0)
    }
}

impl Drop for RealServer {
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

/// What the official client finds, and whether it is all that was expected.
pub fn read_back(python: &Path, uri: &str, experiment: &str, run: &str, expect: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let expected = folder.path().join("expected.json");
    std::fs::write(&expected, expect.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_back.py");
    let output = Command::new(python)
        .arg(script)
        .args([uri, experiment, run, "--expect"])
        .arg(&expected)
        .env("MLFLOW_ALLOW_FILE_STORE", "true")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub struct Delivered {
    pub state: Value,
    pub receipt: Receipt,
    pub rejected: Vec<Rejected>,
    pub accepted: u64,
}

/// All of a run, by a new exporter.
pub async fn deliver(config: &MlflowConfig, golden: &Golden, state: &Value) -> Delivered {
    let mut exporter = MlflowExporter::new(config.clone()).unwrap();
    exporter.open(&golden.context(), state).await.unwrap();
    let (mut rejected, mut accepted) = (Vec::new(), 0);
    for batch in golden.envelopes.chunks(40) {
        let written = exporter.write(batch).await.unwrap();
        rejected.extend(written.rejected);
        accepted += written.accepted;
    }
    let status = golden.status.unwrap_or(RunStatus::Killed);
    let receipt = exporter
        .finish(status, Duration::from_secs(30))
        .await
        .unwrap();
    Delivered {
        state: exporter.state(),
        receipt,
        rejected,
        accepted,
    }
}
