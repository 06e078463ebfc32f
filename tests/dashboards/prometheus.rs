//! A real Prometheus that holds the golden runs.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tempfile::TempDir;

use crate::{golden, outside, root, succeeds};

/// The folder with `prometheus` and `promtool`.
pub fn programs() -> Option<PathBuf> {
    outside("LEM_TEST_PROMETHEUS", "folder with prometheus and promtool")
}

/// A server, stopped when dropped.
pub struct Server {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    /// With the golden runs, and the shipped rules.
    pub fn golden(programs: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        for run in golden::runs(folder.path()) {
            let set = format!("integrations.openmetrics.path={}", folder.path().display());
            succeeds(
                Command::new(env!("CARGO_BIN_EXE_lem"))
                    .args(["export", "--to", "openmetrics", "--set", &set])
                    .arg(&run),
            );
            succeeds(
                Command::new(programs.join("promtool"))
                    .args(["tsdb", "create-blocks-from", "openmetrics"])
                    .args([&run.with_extension("om"), &data]),
            );
        }
        let config = format!(
            "rule_files: [{:?}]\n",
            root().join("dashboards/prometheus/rules/*.yaml")
        );
        Self::start(programs, folder, &config)
    }

    pub fn start(programs: &Path, folder: TempDir, config: &str) -> Self {
        let port = free_port();
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = Command::new(programs.join("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            // the golden runs are of 2025
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        let mut server = Self {
            process,
            port,
            _folder: folder,
        };
        let end = Instant::now() + Duration::from_secs(60);
        while server
            .get("/-/ready")
            .is_none_or(|(status, _)| status != 200)
        {
            assert!(
                server.process.try_wait().unwrap().is_none(),
                "Prometheus ended"
            );
            assert!(Instant::now() < end, "Prometheus is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // 1.0: the answer comes whole, and the connection ends with it
        write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split_whitespace().nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// `data` of an answer of its API, or what it says is wrong.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let path = format!("/api/v1/{path}?{}", query.join("&"));
        let (_, body) = self.get(&path).expect("Prometheus answers");
        let answer: Value = serde_json::from_str(&body).unwrap();
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].clone()),
            _ => Err(answer["error"].to_string()),
        }
    }

    /// The series of an expression at one moment, or over ten seconds before it.
    pub fn query(&self, expression: &str, instant: bool, at: i64) -> Result<Vec<Value>, String> {
        self.query_over(expression, instant, at, 10)
    }

    pub fn query_over(
        &self,
        expression: &str,
        instant: bool,
        at: i64,
        seconds: i64,
    ) -> Result<Vec<Value>, String> {
        let (at, since) = (at.to_string(), (at - seconds).to_string());
        let data = if instant {
            self.ask("query", &[("query", expression), ("time", &at)])
        } else {
            let range = [
                ("query", expression),
                ("start", &since),
                ("end", &at),
                ("step", "1"),
            ];
            self.ask("query_range", &range)
        };
        Ok(data?["result"].as_array().unwrap().clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
