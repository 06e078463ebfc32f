//! Runs that are scraped while they go on.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Bench, run_dir, stderr};

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

fn scrape(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// A Prometheus that scrapes every 5 ms, and keeps all that it got.
struct Scraper {
    stop: Arc<AtomicBool>,
    pages: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Scraper {
    fn start(port: u16) -> Self {
        let (stop, pages) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<String>>>::default(),
        );
        let (stopped, kept) = (Arc::clone(&stop), Arc::clone(&pages));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                kept.lock().unwrap().extend(scrape(port));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            stop,
            pages,
            thread: Some(thread),
        }
    }

    fn pages(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::mem::take(&mut self.pages.lock().unwrap())
    }
}

fn export(result: &Value) -> &Value {
    let exports = result["exports"].as_array().unwrap();
    exports
        .iter()
        .find(|export| export["sink"] == "prometheus")
        .unwrap()
}

#[test]
fn it_is_seen_live_and_whole_at_its_end() {
    let bench = Bench::new();
    let port = free_port();
    let scraper = Scraper::start(port);
    let address = format!("--prometheus=127.0.0.1:{port}");
    let result = bench.result(&[&address, "--linger=30", "--strict-export"], 0);
    let pages = scraper.pages();
    assert_eq!(export(&result)["state"], "delivered", "{result:#}");
    let details = &export(&result)["receipt"]["details"];
    assert_eq!(details["summary_scraped"], true);
    // some may still have been answered when that was written
    assert!(details["scrapes"].as_u64().unwrap() > 1);
    assert!(details["cpu_seconds"].as_f64().unwrap() > 0.0);
    assert!(
        pages.iter().any(|page| page.contains("lem_run_phase{")),
        "what it does"
    );
    assert!(
        pages
            .iter()
            .any(|page| page.contains("lem_run_output_tokens_total{"))
    );
    let id = result["run_id"].as_str().unwrap();
    let own = format!("instance=\"{id}\",job=\"lem\"");
    let last = pages.last().unwrap();
    assert!(
        last.contains(&format!("lem_run_duration_seconds{{{own}}}")),
        "{last}"
    );
    assert!(last.contains("gen_ai_server_time_to_first_token_seconds_bucket{"));
    assert!(last.contains("lem_run_info{") && last.contains("target_info{"));

    // later, from the log alone
    let port = free_port();
    let later = bench
        .lem()
        .args(["export", "--to", "prometheus", "--linger=30"])
        .args([
            "--set",
            &format!("integrations.prometheus.address=127.0.0.1:{port}"),
        ])
        .arg(run_dir(&result))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let scraper = Scraper::start(port);
    let out = later.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert_eq!(stderr(&out), "");
    let pages = scraper.pages();
    assert!(
        pages
            .last()
            .unwrap()
            .contains(&format!("lem_run_duration_seconds{{{own}}}"))
    );
}

#[test]
fn a_run_that_nobody_scraped_says_so_and_is_not_held_up() {
    let bench = Bench::new();
    let address = format!("--prometheus={}", free_port());
    let out = bench.run(&[&address]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let said = stderr(&out);
    assert!(
        said.contains("nobody scraped http://127.0.0.1:") && said.contains("--linger="),
        "{said}"
    );
}

#[test]
fn a_port_that_is_taken_costs_the_run_nothing() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--prometheus={}", taken.local_addr().unwrap());
    let out = bench.run(&[&address]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let said = stderr(&out);
    assert!(
        said.contains("another process listens there already"),
        "{said}"
    );
}

#[test]
fn settings_that_cannot_be_are_refused_before_the_model_is_loaded() {
    let bench = Bench::new();
    for (args, says) in [
        (vec!["--prometheus=nowhere"], "no address to listen on"),
        (vec!["--prometheus", "--linger=-1"], "linger"),
        (
            vec![
                "--prometheus",
                "--set",
                "integrations.prometheus.username=ann",
            ],
            "LEM_PROMETHEUS_PASSWORD",
        ),
        (
            vec![
                "--prometheus",
                "--set",
                "integrations.prometheus={username: ann, password_path: gone}",
            ],
            "gone cannot be read",
        ),
        (
            vec![
                "--prometheus",
                "--set",
                "integrations.prometheus.tls.cert=cert.pem",
            ],
            "tls.key",
        ),
    ] {
        let out = bench.run(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(says), "{args:?}: {}", stderr(&out));
    }
    assert!(bench.runs().is_empty());
}

#[test]
fn what_is_seen_from_elsewhere_is_warned_of_and_no_password_shown() {
    let bench = Bench::new();
    let out = bench
        .lem()
        .args(["run", "tiny.yaml", "--dry-run"])
        .args([
            "--prometheus=0.0.0.0:0",
            "--set",
            "integrations.prometheus.username=ann",
        ])
        .env("LEM_PROMETHEUS_PASSWORD", "hunter2")
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(stderr(&out).contains("in clear text"), "{}", stderr(&out));
    let shown = format!("{}{}", String::from_utf8_lossy(&out.stdout), stderr(&out));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("Sink       prometheus to http://0.0.0.0:0/metrics"),
        "{shown}"
    );

    let idle = bench
        .lem()
        .args(["run", "tiny.yaml", "--dry-run", "--linger"])
        .output()
        .unwrap();
    assert!(stderr(&idle).contains("has no effect"), "{}", stderr(&idle));
}
