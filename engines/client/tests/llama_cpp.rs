//! The client and a real server: llama.cpp's, with a small real model. Runs where
//! LEM_TEST_LLAMA_SERVER and LEM_TEST_MODEL name the two (`./test` installs them).
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Heard, closed, go, job};
use lem_client::{Api, Counted, Event, Features, Gaps, Plan, Prompt, Target, run};
use serde_json::{Value, json};

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start() -> Option<Self> {
        let path = |name| std::env::var_os(name).filter(|p| std::path::Path::new(p).exists());
        let (Some(server), Some(model)) = (path("LEM_TEST_LLAMA_SERVER"), path("LEM_TEST_MODEL"))
        else {
            println!(
                "skipped: LEM_TEST_LLAMA_SERVER and LEM_TEST_MODEL name no files; ./test sets both"
            );
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(server)
            .args([
                "--host",
                "127.0.0.1",
                "--port",
                &port.to_string(),
                "-t",
                "2",
                "-c",
                "4096",
                "--parallel",
                "4",
                "-m",
            ])
            .arg(model)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        let since = Instant::now();
        while !server.is_ready() {
            assert!(
                since.elapsed() < Duration::from_secs(120),
                "the server does not come up"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(server)
    }

    fn is_ready(&self) -> bool {
        use std::io::{Read, Write};
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        let mut answer = [0; 15];
        socket
            .write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .is_ok()
            && socket.read_exact(&mut answer).is_ok()
            && &answer == b"HTTP/1.1 200 OK"
    }

    fn target(&self, api: Api) -> Target {
        let mut target = Target::new(format!("http://127.0.0.1:{}", self.port), api);
        target.model = Some("smollm2".into());
        target.features = Features::llama_cpp();
        target.extra_body.insert("temperature".into(), json!(0));
        target
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plan(jobs: usize, concurrency: usize) -> Plan {
    let mut plan = closed(jobs, concurrency);
    plan.limits.idle = Duration::from_secs(60);
    plan.limits.total = Duration::from_secs(120);
    for job in &mut plan.jobs {
        *job = common::job("Write a story about a lighthouse and the people who live in it.");
        job.max_tokens = 24;
        job.min_tokens = 24;
    }
    plan
}

fn check(heard: &[Heard]) {
    for h in heard {
        assert!(h.is_finished(), "{:?}", h.result);
        let s = &h.summary;
        assert_eq!(
            (s.output_tokens, s.counted, s.finish_reason.as_deref()),
            (Some(24), Counted::Usage, Some("length")),
            "{s:?}"
        );
        assert!(!h.text.is_empty() && s.done_mark && s.usage.prompt_tokens.is_some_and(|n| n > 10));
        assert!(
            h.tokens.is_sorted()
                && h.sent[0] < h.tokens[0]
                && s.first_answer_ns == s.first_token_ns
        );
    }
}

#[test]
fn every_api_of_a_real_server() {
    let Some(server) = Server::start() else {
        return;
    };
    // Chat, four at once: the running count of its timings tells the tokens of each chunk.
    let (heard, _) = go(&server.target(Api::Chat), &plan(8, 4));
    check(&heard);
    for h in &heard {
        assert_eq!(h.summary.counted_tokens, 24, "{:?}", h.summary);
    }
    // The same as a plain server, which tells only a total.
    let mut plain = server.target(Api::Chat);
    plain.features = Features {
        exact_length: plain.features.exact_length,
        ..Features::openai()
    };
    let (heard, _) = go(&plain, &plan(1, 1));
    check(&heard);
    assert_eq!(heard[0].summary.counted_tokens, 0);
    assert!(matches!(
        heard[0].summary.gaps,
        Gaps::Likely | Gaps::Chunked
    ));
    let mut completions = plan(2, 1);
    completions.jobs[1].prompt = Prompt::Tokens((100..130).collect::<Vec<u32>>().into());
    check(&go(&server.target(Api::Completions), &completions).0);

    // Its own API: ids with each chunk, and its own times at the end.
    let mut ids = Vec::new();
    let mut timings = String::new();
    let mut sink = |event: Event<'_>| match event {
        Event::Tokens {
            tokens: lem_client::Tokens::Ids(more),
            ..
        } => ids.extend_from_slice(more),
        Event::Timings { json, .. } => timings = json.to_owned(),
        _ => {}
    };
    run(
        &server.target(Api::LlamaCpp),
        &plan(1, 1),
        &mut sink,
        &|| false,
    )
    .unwrap();
    assert_eq!(ids.len(), 24);
    let told: Value = serde_json::from_str(&timings).unwrap();
    assert_eq!(told["timings"]["predicted_n"], json!(24));

    // In one piece.
    let mut whole = server.target(Api::Chat);
    whole.stream = false;
    let (heard, _) = go(&whole, &plan(1, 1));
    check(&heard);
    assert!(!heard[0].summary.streamed);

    // And what it says to a path that it does not have, and to a prompt that is too long.
    let mut lost = server.target(Api::Chat);
    lost.path = Some("/v2/nothing".into());
    let (heard, _) = go(&lost, &plan(1, 1));
    assert!(
        heard[0].failure().to_string().starts_with("HTTP 404"),
        "{}",
        heard[0].failure()
    );
    let mut long = plan(1, 1);
    long.jobs[0] = job(&"word ".repeat(6000));
    let (heard, _) = go(&server.target(Api::Chat), &long);
    assert!(
        heard[0].failure().to_string().contains("HTTP 400"),
        "{}",
        heard[0].failure()
    );
}
