//! Real servers, where `LEM_TEST_PROMETHEUS` names a folder with prometheus, promtool,
//! prometheus-pushgateway and prometheus-node-exporter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    dead_code
)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lem_http::{Client, Config};
use serde_json::Value;
use tempfile::TempDir;

/// The folder with the programs.
pub fn programs() -> Option<PathBuf> {
    let folder = std::env::var_os("LEM_TEST_PROMETHEUS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: LEM_TEST_PROMETHEUS names no folder with prometheus");
    }
    folder
}

/// A server in a scratch folder, stopped when dropped.
pub struct RealServer {
    process: Child,
    pub port: u16,
    pub folder: TempDir,
    http: Client,
}

impl RealServer {
    /// With more lines for the configuration, and the data that lies in `data`.
    pub async fn prometheus(programs: &Path, config: &str, data: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let data = data.map_or_else(|| folder.path().join("data"), Path::to_owned);
        let mut command = Command::new(programs.join("prometheus"));
        command
            .arg(format!(
                "--config.file={}",
                folder.path().join("prometheus.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--storage.tsdb.retention.time=100y")
            .arg("--web.enable-remote-write-receiver");
        Self::start(command, "--web.listen-address", "/-/ready", folder).await
    }

    pub async fn pushgateway(programs: &Path, web_config: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(programs.join("prometheus-pushgateway"));
        if let Some(config) = web_config {
            let path = folder.path().join("web.yml");
            fs::write(&path, config).unwrap();
            command.arg(format!("--web.config.file={}", path.display()));
        }
        Self::start(command, "--web.listen-address", "/-/ready", folder).await
    }

    /// With nothing but its textfile collector.
    pub async fn node_exporter(programs: &Path, textfiles: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(programs.join("prometheus-node-exporter"));
        command
            .args(["--collector.disable-defaults", "--collector.textfile"])
            .arg(format!(
                "--collector.textfile.directory={}",
                textfiles.display()
            ));
        Self::start(command, "--web.listen-address", "/metrics", folder).await
    }

    async fn start(mut command: Command, listen: &str, ready: &str, folder: TempDir) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = command
            .arg(format!("{listen}=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("the server starts");
        let http = Client::new(Config::new(format!("http://127.0.0.1:{port}"))).unwrap();
        let server = Self {
            process,
            port,
            folder,
            http,
        };
        let started = Instant::now();
        loop {
            let reply = server.http.get(ready).send().await;
            // one that asks for a password is ready as well
            if reply.is_ok_and(|reply| matches!(reply.status, 200 | 401)) {
                return server;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the server does not answer: {}",
                fs::read_to_string(server.folder.path().join("log")).unwrap()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub async fn get(&self, path: &str) -> String {
        let reply = self.http.get(path).send().await.unwrap();
        String::from_utf8(reply.body).unwrap()
    }

    /// `data.result` of a query of Prometheus.
    pub async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
        let path = format!("/api/v1/{path}");
        let all = query
            .iter()
            .fold(self.http.get(&path), |request, (name, value)| {
                request.query(name, value)
            });
        let answer: Value = all.send().await.unwrap().json().unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs one of the programs with a text on its standard input: its status and what it said.
pub fn run(programs: &Path, program: &str, arguments: &[&str], input: &str) -> (i32, String) {
    use std::io::Write as _;
    let mut child = Command::new(programs.join(program))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
