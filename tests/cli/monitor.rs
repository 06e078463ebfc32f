//! `lem monitor`: served for real, stopped for real, and cheap.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Bench;

struct Monitor {
    child: Child,
    port: u16,
}

impl Monitor {
    fn start(bench: &Bench, args: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = bench
            .lem()
            .args(["monitor", &format!("--prometheus=127.0.0.1:{port}")])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, port }
    }

    fn page(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }

    /// The first page that has a line which starts so.
    fn page_with(&self, start: &str) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if let Some(page) = self.page().filter(|p| number(p, start).is_some()) {
                return page;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no {start} within 30 s: {:?}", self.page());
    }

    fn status(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn stop(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

/// The sum over the series of a metric.
fn number(page: &str, metric: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        if !rest.starts_with(['{', ' ']) {
            return None;
        }
        line.rsplit(' ').next()?.parse::<f64>().ok()
    });
    values.reduce(|a, b| a + b)
}

#[test]
fn power_and_energy_are_served_and_agree() {
    let bench = Bench::new();
    let monitor = Monitor::start(&bench, &["--interval-ms", "100"]);
    let first = monitor.page_with("hw_energy_joules_total");
    monitor.page_with("lem_monitor_cpu_seconds_total");
    let since = Instant::now();
    let joules = number(&first, "hw_energy_joules_total").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let page = monitor.page().unwrap();
    let seconds = since.elapsed().as_secs_f64();
    let more = number(&page, "hw_energy_joules_total").unwrap() - joules;
    let watts = number(&page, "hw_power_watts").unwrap();
    assert!(watts > 0.0 && more > 0.0, "{page}");
    // The load changes while other tests run; idle it is within a tenth.
    assert!(
        (0.3..3.0).contains(&(more / seconds / watts)),
        "{more} J, {seconds} s, {watts} W"
    );
    // Every value says how it was obtained.
    for line in page
        .lines()
        .filter(|l| l.starts_with("hw_power_watts{") || l.starts_with("hw_energy"))
    {
        assert!(
            line.contains("lem_how=\"") && line.contains("hw_id=\""),
            "{line}"
        );
    }
    assert!(page.contains("host_name=\""), "{page}");
    let (code, said) = monitor.stop();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("of processor time"), "{said}");
    assert!(bench.runs().is_empty(), "it makes no run");
    let left = std::fs::read_dir(bench.path()).unwrap().count();
    assert_eq!(left, 2, "and writes nothing here");
}

#[test]
fn it_costs_little_and_does_not_grow() {
    let bench = Bench::new();
    let monitor = Monitor::start(&bench, &[]);
    let before = number(
        &monitor.page_with("lem_monitor_cpu_seconds_total"),
        "lem_monitor_cpu_seconds_total",
    )
    .unwrap();
    let memory = monitor.status("VmRSS:");
    let since = Instant::now();
    let mut slowest = Duration::ZERO;
    while since.elapsed() < Duration::from_secs(6) {
        std::thread::sleep(Duration::from_millis(500));
        let asked = Instant::now();
        monitor.page().unwrap();
        slowest = slowest.max(asked.elapsed());
    }
    let page = monitor.page().unwrap();
    let share = (number(&page, "lem_monitor_cpu_seconds_total").unwrap() - before)
        / since.elapsed().as_secs_f64();
    // 0.5 % is the limit of a release build that is scraped every 15 s; this one is neither.
    assert!(share < 0.03, "{share}");
    assert!(monitor.status("VmRSS:") < memory + 4096, "kB");
    assert!(slowest < Duration::from_millis(250), "{slowest:?}");
    assert_eq!(monitor.stop().0, Some(0));
}

#[test]
fn what_cannot_be_served_ends_it_with_a_reason() {
    let bench = Bench::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--prometheus={}", taken.local_addr().unwrap());
    let out = bench.lem().args(["monitor", &address]).output().unwrap();
    let said = crate::support::stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(
        said.contains("another process listens there already"),
        "{said}"
    );

    let out = bench
        .lem()
        .args(["monitor", "--prometheus=nowhere"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let out = bench
        .lem()
        .args(["monitor", "--interval-ms", "0"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn it_sends_over_otlp_and_leaves_other_sinks_out() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    collector.set_nonblocking(true).unwrap();
    let url = format!("http://{}", collector.local_addr().unwrap());
    let bench = Bench::new();
    let mut child = bench
        .lem()
        .args(["monitor", "--otlp", "--interval-ms", "100"])
        .args([
            "--set",
            "integrations.otlp={live_interval_s: 1, compression: none}",
        ])
        .args(["--set", "integrations.files={enabled: true, path: copies}"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Enough of a collector to see what comes; the wire itself is tested in lem-otlp.
    let mut seen = Vec::new();
    let end = Instant::now() + Duration::from_secs(20);
    let has = |seen: &[u8], word: &str| seen.windows(word.len()).any(|w| w == word.as_bytes());
    while Instant::now() < end && !(has(&seen, "hw.power") && has(&seen, "hw.energy")) {
        match collector.accept() {
            Ok((stream, _)) => seen.extend(answer(stream)),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    assert!(has(&seen, "hw.power") && has(&seen, "hw.energy"));
    assert!(
        Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    drop(collector);
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert!(said.contains("the sink files is left out"), "{said}");
}

/// Reads one request, and says that it was taken.
fn answer(stream: TcpStream) -> Vec<u8> {
    stream.set_nonblocking(false).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        let lower = line.to_ascii_lowercase();
        if let Some(n) = lower.strip_prefix("content-length:") {
            length = n.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap_or_default();
    let reply = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader
        .get_mut()
        .write_all(reply.as_bytes())
        .unwrap_or_default();
    body
}
