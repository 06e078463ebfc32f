//! Runs that go to Prometheus by push, by remote write and by file.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Bench, run_dir, stderr};

/// The folder of real programs, where there is one.
fn programs() -> Option<PathBuf> {
    let folder = std::env::var_os("LEM_TEST_PROMETHEUS").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: LEM_TEST_PROMETHEUS names no folder with prometheus");
    }
    folder
}

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(program: &Path, folder: &Path, arguments: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let process = Command::new(program)
            .args(arguments)
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port };
        let started = Instant::now();
        while !server
            .try_get("/-/ready")
            .is_some_and(|text| text.starts_with("HTTP/1.1 200"))
        {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "it does not answer"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn try_get(&self, path: &str) -> Option<String> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer.replacen("HTTP/1.0", "HTTP/1.1", 1))
    }

    fn body(&self, path: &str) -> String {
        let answer = self.try_get(path).unwrap();
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// How many series Prometheus' query gives.
    fn count(&self, query: &str) -> usize {
        let query =
            percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC);
        let answer: Value =
            serde_json::from_str(&self.body(&format!("/api/v1/query?query={query}"))).unwrap();
        answer["data"]["result"].as_array().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn state<'a>(result: &'a Value, sink: &str) -> &'a str {
    let exports = result["exports"].as_array().unwrap();
    let export = exports.iter().find(|export| export["sink"] == sink);
    export.unwrap_or_else(|| panic!("{exports:#?}"))["state"]
        .as_str()
        .unwrap()
}

#[test]
fn a_run_becomes_files_that_prometheus_tools_read() {
    let bench = Bench::new();
    let collected = bench.path().join("collected");
    fs::create_dir(&collected).unwrap();
    let on = [
        "--set",
        "integrations.openmetrics.enabled=true",
        "--set",
        "integrations.textfile={enabled: true, path: collected}",
    ];
    let result = bench.result(&on, 0);
    assert_eq!(state(&result, "openmetrics"), "delivered", "{result:#}");
    assert_eq!(state(&result, "textfile"), "delivered", "{result:#}");
    let id = result["run_id"].as_str().unwrap();
    let file = run_dir(&result).join(format!("artifacts/{id}.om"));
    let om = fs::read_to_string(&file).unwrap();
    assert!(om.ends_with("# EOF\n"));
    assert!(
        om.contains("hw_power_watts{") && om.contains("lem_cycle=\"2\""),
        "{om}"
    );
    let prom = fs::read_to_string(collected.join(format!("lem_{id}.prom"))).unwrap();
    assert!(prom.contains("lem_run_info{") && prom.contains("lem_run_energy_joules{"));
    assert!(!prom.contains("lem_cycle="));

    // again from the log alone: the very same files
    fs::remove_file(&file).unwrap();
    let mut again = bench.lem();
    again.args(["export", "--to", "openmetrics", "--to", "textfile"]);
    again.arg(run_dir(&result));
    let out = again.output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert_eq!(fs::read_to_string(&file).unwrap(), om);
    assert_eq!(
        fs::read_to_string(collected.join(format!("lem_{id}.prom"))).unwrap(),
        prom
    );

    let Some(programs) = programs() else { return };
    let checked = Command::new(programs.join("promtool"))
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .arg(&file)
        .arg(bench.path().join("blocks"))
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", stderr(&checked));
}

#[test]
fn a_run_goes_to_a_real_prometheus_and_a_real_pushgateway() {
    let Some(programs) = programs() else { return };
    let bench = Bench::new();
    fs::write(bench.path().join("prometheus.yml"), "{}").unwrap();
    let arguments = [
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-remote-write-receiver",
    ];
    let prometheus = Server::start(&programs.join("prometheus"), bench.path(), &arguments);
    let gateway = Server::start(&programs.join("prometheus-pushgateway"), bench.path(), &[]);
    let on = [
        "--set",
        &format!(
            "integrations.remote-write={{enabled: true, url: '{}/api/v1/write'}}",
            prometheus.url()
        ),
        "--set",
        &format!(
            "integrations.pushgateway={{enabled: true, url: '{}'}}",
            gateway.url()
        ),
        "--strict-export",
    ];
    let result = bench.result(&on, 0);
    assert_eq!(state(&result, "remote-write"), "delivered", "{result:#}");
    assert_eq!(state(&result, "pushgateway"), "delivered", "{result:#}");
    let id = result["run_id"].as_str().unwrap();
    let all = format!("last_over_time({{job=\"lem\",instance=\"{id}\"}}[1h])");
    let series = prometheus.count(&all);
    assert!(series > 50, "{series}");
    let power = format!("count_over_time(hw_power_watts{{instance=\"{id}\"}}[1h]) > 3");
    assert!(prometheus.count(&power) > 0);
    let shown = gateway.body("/metrics");
    let total = format!("lem_run_duration_seconds{{instance=\"{id}\",job=\"lem\"}}");
    assert!(shown.contains(&total), "{shown}");

    // again, from the first record, as the cursors are lost: nothing more, nothing refused
    fs::remove_dir_all(run_dir(&result).join("delivery")).unwrap();
    let mut again = bench.lem();
    again.args(["export", "--to", "remote-write", "--to", "pushgateway"]);
    again.arg(run_dir(&result));
    let out = again.output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert_eq!(prometheus.count(&all), series);
    assert_eq!(
        state(&bench.show(&run_dir(&result)), "remote-write"),
        "delivered"
    );
}

#[test]
fn secrets_of_the_pushing_sinks_are_not_shown() {
    let bench = Bench::new();
    let (password, token) = ("hunter2-password", "hunter2-token");
    let out = bench
        .lem()
        .args(["run", "tiny.yaml", "--set", "integrations.deadline_s=1"])
        .args(["--set", "integrations.pushgateway.enabled=true"])
        .args(["--set", "integrations.remote-write.enabled=true"])
        .env(
            "LEM_INTEGRATIONS__PUSHGATEWAY__URL",
            format!("http://ann:{password}@127.0.0.1:9"),
        )
        .env(
            "LEM_INTEGRATIONS__REMOTE_WRITE__URL",
            format!("http://ann:{password}@127.0.0.1:9/api/v1/write"),
        )
        .env("LEM_PUSHGATEWAY_TOKEN", token)
        .env("LEM_REMOTE_WRITE_TOKEN", token)
        .env("LEM_REMOTE_WRITE_HEADERS", format!("x-scope={token}"))
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(stderr(&out).contains("lem export"), "{}", stderr(&out));
    let mut texts = vec![out.stdout, out.stderr];
    let mut open = bench.runs();
    assert_eq!(open.len(), 1);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            texts.push(fs::read(path).unwrap());
        }
    }
    assert!(texts.len() > 5);
    for text in texts {
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_sink_without_a_place_is_refused_before_the_model_is_loaded() {
    let bench = Bench::new();
    let out = bench.run(&[
        "--set",
        "integrations.pushgateway.enabled=true",
        "--set",
        "integrations.remote-write.enabled=true",
        "--set",
        "integrations.textfile.enabled=true",
    ]);
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    for key in ["pushgateway.url", "remote-write.url", "textfile.path"] {
        assert!(stderr(&out).contains(key), "{key}: {}", stderr(&out));
    }
    assert!(bench.runs().is_empty());
}
