//! `lem run --mlflow` from end to end: a real server read back by the official client,
//! a server that dies in the middle, and the faults that a real one cannot be made to show.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lem_testkit::{FakeServer, Fault, Response, Rule};
use serde_json::{Value, json};

use crate::support::{Bench, run_dir, stderr};

/// A Python that has MLflow, or the reason why there is none.
pub fn python() -> Option<String> {
    let python = std::env::var("LEM_TEST_MLFLOW_PYTHON").ok();
    if python.is_none() {
        eprintln!("skipped: LEM_TEST_MLFLOW_PYTHON names no Python with mlflow; ./test sets it");
    }
    python
}

/// A real server with its own scratch database; the same one again after [`Server::stop`].
pub struct Server<'a> {
    python: &'a str,
    folder: &'a Path,
    port: u16,
    child: Option<Child>,
}

impl<'a> Server<'a> {
    pub fn start(python: &'a str, folder: &'a Path) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut server = Self {
            python,
            folder,
            port,
            child: None,
        };
        server.go_on();
        server
    }

    pub fn uri(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn go_on(&mut self) {
        use std::os::unix::process::CommandExt as _;
        let bin = Path::new(self.python)
            .parent()
            .unwrap()
            .display()
            .to_string();
        let log = std::fs::File::create(self.folder.join("server.log")).unwrap();
        let child = Command::new(self.python)
            .args([
                "-m",
                "mlflow",
                "server",
                "--host",
                "127.0.0.1",
                "--workers",
                "1",
            ])
            .args(["--port", &self.port.to_string()])
            .args([
                "--backend-store-uri",
                &format!("sqlite:///{}/m.db", self.folder.display()),
            ])
            .args([
                "--artifacts-destination",
                &format!("{}/artifacts", self.folder.display()),
            ])
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let end = Instant::now() + Duration::from_secs(120);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < end, "the MLflow server did not start");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn stop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // The server is a family of processes: all of them.
        let group = format!("-{}", child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = child.wait();
    }

    /// The run as the official client sees it; it fails where there is not exactly one.
    fn read_back(&self, result: &Value) -> Value {
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("exporters/mlflow/tests/read_back.py");
        let out = Command::new(self.python)
            .arg(script)
            .args([&self.uri(), "lem", result["run_id"].as_str().unwrap()])
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", stderr(&out));
        serde_json::from_slice(&out.stdout).unwrap()
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What was measured against what the other end holds.
fn agree(result: &Value, found: &Value) {
    assert_eq!(found["info"]["status"], "FINISHED");
    assert_eq!(found["params"]["batching.batch_size"], "2");
    assert_eq!(found["tags"]["lem.run_id"], result["run_id"]);
    let total = result["total_energy_j"]["value"].as_f64().unwrap();
    assert_eq!(
        found["latest"]["energy/total_joules"].as_f64().unwrap(),
        total
    );
    let ttft = result["latency"]["ttft_ms"]["p99"].as_f64().unwrap() / 1e3;
    let theirs = found["latest"]["latency/ttft_p99_seconds"]
        .as_f64()
        .unwrap();
    assert!((ttft - theirs).abs() < 1e-12, "{ttft} and {theirs}");
    // A point a cycle at its own step, and the run's own after them.
    let cycles = result["cycles"].as_array().unwrap();
    let history = found["history"]["energy/total_joules"].as_array().unwrap();
    assert_eq!(
        history.len(),
        cycles.len() + 1,
        "nothing is missing and nothing is there twice"
    );
    for (cycle, point) in cycles.iter().zip(history) {
        assert_eq!(point[0], cycle["cycle"]);
        assert_eq!(point[2], cycle["total_energy_j"]["value"]);
    }
    assert!(
        found["history"]["sample/cpu0_power_watts"]
            .as_array()
            .is_some_and(|p| p.len() > 2)
    );
    assert_eq!(found["datasets"].as_array().unwrap().len(), 1);
    for file in [
        "artifacts/result.json",
        "artifacts/config.yaml",
        "timeseries.parquet",
    ] {
        let sent = std::fs::read(run_dir(result).join(file)).unwrap();
        let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&sent));
        assert_eq!(found["artifacts"][file], json!(digest), "{file}");
    }
}

#[test]
fn the_official_client_reads_back_a_run_and_one_whose_server_died() {
    let Some(python) = python() else { return };
    let bench = Bench::new();
    let folder = tempfile::TempDir::new().unwrap();
    let mut server = Server::start(&python, folder.path());
    let uri = format!("integrations.mlflow.tracking_uri={}", server.uri());
    let on = [
        "--mlflow",
        "--set",
        &uri,
        "--set",
        "integrations.deadline_s=60",
    ];

    let result = bench.result(&[&on[..], &["--strict-export"]].concat(), 0);
    agree(&result, &server.read_back(&result));

    // The server dies when the first cycle is on disk, and is back after the run.
    let before = bench.runs();
    let mut child = bench
        .lem()
        .args([
            "run",
            "tiny.yaml",
            "--format",
            "json",
            "--cycles",
            "30",
            "--mlflow",
            "--set",
            &uri,
        ])
        .args([
            "--set",
            "integrations.deadline_s=1",
            "--set",
            "num_input_prompts=32",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let started = |bench: &Bench| {
        bench.runs().iter().any(|run| {
            !before.contains(run)
                && std::fs::read_to_string(run.join("records.jsonl"))
                    .is_ok_and(|log| log.contains("\"cycle_finished\""))
        })
    };
    while !started(&bench) {
        assert!(
            Instant::now() < end && child.try_wait().unwrap().is_none(),
            "no cycle was seen in time"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    server.stop();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let result: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(result["cycles"].as_array().unwrap().len(), 30);
    assert_ne!(
        result["exports"][0]["state"],
        "delivered",
        "{}",
        stderr(&out)
    );
    server.go_on();
    for _ in 0..2 {
        let out = bench
            .lem()
            .args(["export", "--to", "mlflow"])
            .arg(run_dir(&result))
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        agree(&result, &server.read_back(&result));
    }
}

#[test]
fn a_server_that_misbehaves_costs_a_warning_and_nothing_else() {
    let bench = Bench::new();
    let later = Response::new(429).header("Retry-After", "30");
    let faults = [
        Fault::Answer(later),
        Fault::Answer(Response::new(503)),
        Fault::Answer(Response::new(401)),
        Fault::Hang,
        Fault::Close,
        Fault::Garbage(b"\x00\xffnothing of HTTP".to_vec()),
    ];
    for fault in faults {
        let server = FakeServer::start(|_| Response::new(500));
        server.script(Rule::new(fault.clone()).times(usize::MAX));
        let uri = format!("integrations.mlflow.tracking_uri={}", server.url());
        let began = Instant::now();
        let out = bench.run(&[
            "--mlflow",
            "--set",
            &uri,
            "--set",
            "integrations.deadline_s=1",
        ]);
        assert_eq!(out.status.code(), Some(0), "{fault:?}: {}", stderr(&out));
        assert!(
            began.elapsed() < Duration::from_secs(45),
            "{fault:?} held the run up"
        );
        assert!(
            server.request_count() > 0,
            "{fault:?}: the server was not asked"
        );
        let result: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(result["status"], "finished");
        assert_ne!(result["exports"][0]["state"], "delivered", "{fault:?}");
        assert!(
            stderr(&out).contains("lem export"),
            "{fault:?}: {}",
            stderr(&out)
        );
    }
}
