//! Measures the client against `scheduled_server` (a process of its own, started from the same
//! folder). Prints one JSON object.
//!
//!     client_bench paced [STREAMS [TOKENS [REQUESTS]]]   errors of TTFT and ITL, CPU a token
//!     client_bench bare [STREAMS [TOKENS [REQUESTS]]]    the same load, read and thrown away: the floor
//!     client_bench unpaced [STREAMS [TOKENS]]            most tokens a second
//!     client_bench open [STREAMS [GAP_MS [TOKENS]]]      many streams at once: is any token lost?
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use lem_client::{Api, Event, Features, Job, Load, Plan, Prompt, Report, Target, run};
use serde_json::{Map, Value, json};

type Failed = Box<dyn std::error::Error>;

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(args: &[(&str, u64)]) -> Result<Self, Failed> {
        let exe = std::env::current_exe()?.with_file_name("scheduled_server");
        let mut command = Command::new(exe);
        for (name, value) in args {
            command.args([*name, &value.to_string()]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let out = child.stdout.take().ok_or("no output")?;
        BufReader::new(out).read_line(&mut line)?;
        let port = line.trim().rsplit(' ').next().unwrap_or("").parse()?;
        Ok(Self { child, port })
    }

    /// Received and sent times by request, and the server's processor time.
    fn log(&self) -> Result<(HashMap<usize, Vec<u64>>, u64), Failed> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.write_all(b"GET /log HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut reader = BufReader::new(socket);
        let (mut length, mut line) = (0, String::new());
        while reader.read_line(&mut line)? > 2 {
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        let mut log = vec![0; length];
        reader.read_exact(&mut log)?;
        let log = String::from_utf8(log)?;
        let mut requests = HashMap::new();
        let mut cpu = 0;
        for line in log.lines() {
            let (user, times) = line.split_once(' ').ok_or("a short line")?;
            let times = times
                .split(' ')
                .map(str::parse)
                .collect::<Result<Vec<u64>, _>>()?;
            match user.parse() {
                Ok(user) => drop(requests.insert(user, times)),
                Err(_) => cpu = times[0],
            }
        }
        Ok((requests, cpu))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct Seen {
    sent: u64,
    tokens: Vec<u64>,
    total: u64,
    failure: Option<String>,
}

fn drive(
    port: u16,
    jobs: usize,
    streams: usize,
    tokens: u32,
    preconnect: bool,
) -> Result<(Vec<Seen>, Report), Failed> {
    let mut target = Target::new(format!("http://127.0.0.1:{port}"), Api::Chat);
    target.model = Some("m".into());
    target.features = Features::openai();
    let job = |i: usize| {
        let mut job = Job::new(Prompt::Text("How much is it?".into()), tokens);
        job.extra_body = Some(Arc::new(Map::from_iter([(
            "user".to_owned(),
            Value::from(i.to_string()),
        )])));
        job
    };
    let mut plan = Plan::new(
        (0..jobs).map(job).collect(),
        Load::Closed {
            concurrency: streams,
        },
    );
    plan.preconnect = if preconnect { streams } else { 0 };
    let mut seen: Vec<Seen> = (0..jobs)
        .map(|_| Seen {
            tokens: Vec::with_capacity(tokens as usize),
            ..Seen::default()
        })
        .collect();
    let mut sink = |event: Event<'_>| match event {
        Event::Sent { request, at_ns, .. } => seen[request].sent = at_ns,
        Event::Tokens { request, at_ns, .. } => seen[request].tokens.push(at_ns),
        Event::Finished {
            request, summary, ..
        } => seen[request].total = summary.output_tokens.unwrap_or(0),
        Event::Failed {
            request, failure, ..
        } => seen[request].failure = Some(failure.to_string()),
        _ => {}
    };
    let report = run(&target, &plan, &mut sink, &|| false)?;
    Ok((seen, report))
}

/// Quantiles in milliseconds.
fn quantiles(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |q: f64| {
        let rank = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len().max(1));
        values.get(rank - 1).map(|v| (v * 1e4).round() / 1e4)
    };
    json!({"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0), "n": values.len()})
}

fn ms(ns: i128) -> f64 {
    ns as f64 / 1e6
}

fn paced(streams: usize, tokens: u32, jobs: usize) -> Result<Value, Failed> {
    let server = Server::start(&[])?;
    let (seen, report) = drive(server.port, jobs, streams, tokens, true)?;
    let (log, server_cpu) = server.log()?;
    let (mut stamp, mut ttft, mut itl, mut gaps) = (vec![], vec![], vec![], vec![]);
    let (mut ttft_off, mut itl_off) = (vec![], vec![]);
    let (mut lost, mut came) = (0, 0);
    for (i, seen) in seen.iter().enumerate() {
        let times = log.get(&i).ok_or("a request is not in the server's log")?;
        let (received, sent) = (times[0], &times[1..]);
        came += seen.tokens.len();
        lost += sent.len().abs_diff(seen.tokens.len());
        let diff = |a: u64, b: u64| i128::from(a) - i128::from(b);
        stamp.extend(seen.tokens.iter().zip(sent).map(|(c, s)| ms(diff(*c, *s))));
        if let (Some(c), Some(s)) = (seen.tokens.first(), sent.first()) {
            ttft.push(ms(diff(*c, seen.sent) - diff(*s, received)).abs());
        }
        // As clients are measured that tell no more than a request's TTFT and mean gap.
        if let [first, .., last] = seen.tokens[..] {
            ttft_off.push((ms(diff(first, seen.sent)) - 50.0).abs());
            let mean = ms(diff(last, first)) / (seen.tokens.len() - 1) as f64;
            itl_off.push((mean - 10.0).abs());
        }
        let pairs = seen.tokens.windows(2).zip(sent.windows(2));
        itl.extend(pairs.map(|(c, s)| ms(diff(c[1], c[0]) - diff(s[1], s[0])).abs()));
        gaps.extend(sent.windows(2).map(|s| ms(diff(s[1], s[0]))));
    }
    Ok(json!({
        "streams": streams, "requests": jobs, "tokens": came, "lost": lost,
        "failed": seen.iter().filter(|s| s.failure.is_some()).count(),
        "ttft_error_ms": quantiles(ttft), "itl_error_ms": quantiles(itl), "stamp_late_ms": quantiles(stamp),
        "ttft_off_schedule_ms": quantiles(ttft_off), "mean_itl_off_schedule_ms": quantiles(itl_off),
        "server_gap_ms": quantiles(gaps),
        "client_cpu_s_per_million": report.cpu_ns as f64 / 1e3 / came as f64,
        "server_cpu_s_per_million": server_cpu as f64 / 1e3 / came as f64,
        "report": told(&report),
    }))
}

/// What the kernel alone costs: wait, read, throw away.
fn bare(streams: usize, tokens: u32, jobs: usize) -> Result<Value, Failed> {
    use mio::{Events, Interest, Poll, Token};
    let server = Server::start(&[])?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut sockets = Vec::new();
    for i in 0..streams {
        let mut socket = mio::net::TcpStream::from_std({
            let socket = TcpStream::connect(("127.0.0.1", server.port))?;
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            socket
        });
        poll.registry()
            .register(&mut socket, Token(i), Interest::READABLE)?;
        sockets.push(socket);
    }
    let mut next = 0;
    let mut ask = |socket: &mut mio::net::TcpStream| {
        let body =
            format!(r#"{{"model":"m","messages":[],"max_tokens":{tokens},"user":"{next}"}}"#);
        next += 1;
        socket.write_all(
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    };
    let cpu = thread_cpu_ns();
    for socket in &mut sockets {
        ask(socket)?;
    }
    let (mut asked, mut done) = (streams, 0);
    let mut buffer = vec![0; 32 << 10];
    while done < jobs {
        poll.poll(&mut events, None)?;
        for event in &events {
            let socket = &mut sockets[event.token().0];
            let Ok(n) = socket.read(&mut buffer) else {
                continue;
            };
            if buffer[..n].ends_with(b"0\r\n\r\n") {
                done += 1;
                if asked < jobs {
                    ask(socket)?;
                    asked += 1;
                }
            }
        }
    }
    let cpu = thread_cpu_ns() - cpu;
    let (log, server_cpu) = server.log()?;
    let came = tokens as f64 * jobs as f64;
    let gaps = log
        .values()
        .flat_map(|t| t[1..].windows(2).map(|s| ms(i128::from(s[1] - s[0]))));
    Ok(json!({
        "streams": streams, "requests": jobs, "tokens": came, "server_gap_ms": quantiles(gaps.collect()),
        "client_cpu_s_per_million": cpu as f64 / 1e3 / came,
        "server_cpu_s_per_million": server_cpu as f64 / 1e3 / came,
    }))
}

fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn unpaced(streams: usize, tokens: u32, batch: u64) -> Result<Value, Failed> {
    let server = Server::start(&[("--ttft-us", 1000), ("--gap-us", 0), ("--batch", batch)])?;
    let (seen, report) = drive(server.port, streams, streams, tokens, true)?;
    let (_, server_cpu) = server.log()?;
    let came: usize = seen.iter().map(|s| s.tokens.len()).sum();
    let seconds = (report.end_ns - report.start_ns) as f64 / 1e9;
    Ok(json!({
        "streams": streams, "batch": batch, "tokens": came, "lost": streams * tokens as usize - came,
        "tokens_per_s": (came as f64 / seconds).round(),
        "client_cpu_s_per_million": report.cpu_ns as f64 / 1e3 / came as f64,
        "server_cpu_s_per_million": server_cpu as f64 / 1e3 / came as f64,
        "report": told(&report),
    }))
}

fn open(streams: usize, gap_ms: u64, tokens: u32) -> Result<Value, Failed> {
    let server = Server::start(&[("--ttft-us", 2_000_000), ("--gap-us", gap_ms * 1000)])?;
    let (seen, report) = drive(server.port, streams, streams, tokens, false)?;
    let (log, server_cpu) = server.log()?;
    let came: usize = seen.iter().map(|s| s.tokens.len()).sum();
    let mut late = vec![];
    for (i, seen) in seen.iter().enumerate() {
        if let Some(times) = log.get(&i) {
            late.extend(
                seen.tokens
                    .iter()
                    .zip(&times[1..])
                    .map(|(c, s)| ms(i128::from(*c) - i128::from(*s))),
            );
        }
    }
    Ok(json!({
        "streams": streams, "tokens": came, "lost": streams * tokens as usize - came,
        "short": seen.iter().filter(|s| s.total != u64::from(tokens)).count(),
        "failures": seen.iter().filter_map(|s| s.failure.clone()).take(5).collect::<Vec<_>>(),
        "stamp_late_ms": quantiles(late),
        "seconds": (report.end_ns - report.start_ns) as f64 / 1e9,
        "server_cpu_s": server_cpu as f64 / 1e9,
        "report": told(&report),
    }))
}

fn told(report: &Report) -> Value {
    json!({
        "finished": report.finished, "failed": report.failed, "peak_in_flight": report.peak_in_flight,
        "lag_p99_ms": report.lag.p99_ns.map(|ns| ms(ns.into())), "lag_max_ms": report.lag.max_ns.map(|ns| ms(ns.into())),
        "turn_p99_ms": report.turn.p99_ns.map(|ns| ms(ns.into())), "turn_max_ms": report.turn.max_ns.map(|ns| ms(ns.into())),
        "read_delay_p50_ms": report.read_delay.p50_ns.map(|ns| ms(ns.into())), "read_delay_p99_ms": report.read_delay.p99_ns.map(|ns| ms(ns.into())),
        "stamped_reads": report.read_delay.count, "reads": report.reads,
        "turns": report.turn.count, "cpu_s": report.cpu_ns as f64 / 1e9,
        "waited_for_core_s": report.waited_for_core_ns.map(|ns| ns as f64 / 1e9),
        "connections": report.connections, "reused": report.reused, "resent": report.resent,
        "open_files_note": report.open_files_note,
    })
}

fn main() -> Result<(), Failed> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| args.get(i).map_or(Ok(default), |a| a.parse());
    let result = match args.first().map(String::as_str) {
        Some("paced") => {
            let streams = number(1, 64)?;
            paced(streams, number(2, 64)? as u32, number(3, streams * 10)?)?
        }
        Some("bare") => {
            let streams = number(1, 64)?;
            bare(streams, number(2, 64)? as u32, number(3, streams * 10)?)?
        }
        Some("unpaced") => unpaced(
            number(1, 64)?,
            number(2, 20_000)? as u32,
            number(3, 16)? as u64,
        )?,
        Some("open") => open(
            number(1, 10_000)?,
            number(2, 1000)? as u64,
            number(3, 10)? as u32,
        )?,
        _ => return Err("paced, unpaced or open".into()),
    };
    println!("{result}");
    Ok(())
}
