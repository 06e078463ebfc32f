//! A server that does as it is told, and a sink that keeps what it hears.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lem_client::{
    Api, Event, Failure, Job, Limits, Load, Plan, Prompt, Report, Summary, Target, run,
};

/// Serves each connection on a thread of its own with the given function.
pub fn serve(each: impl Fn(&mut Peer) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let each = Arc::new(each);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let each = Arc::clone(&each);
            thread::spawn(move || {
                let socket = socket.unwrap();
                socket.set_nodelay(true).unwrap();
                each(&mut Peer { socket });
            });
        }
    });
    port
}

pub struct Peer {
    pub socket: TcpStream,
}

impl Peer {
    /// Head and body of the next request; `None` where the client has closed.
    pub fn request(&mut self) -> Option<(String, serde_json::Value)> {
        let mut bytes = Vec::new();
        let mut one = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            if self.socket.read(&mut one).ok()? == 0 {
                return None;
            }
            bytes.push(one[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let length = head
            .lines()
            .find_map(|l| {
                l.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0);
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).ok()?;
        Some((head, serde_json::from_slice(&body).unwrap()))
    }

    pub fn send(&mut self, text: &str) {
        // The client may be gone, as some tests want it.
        let _ = self.socket.write_all(text.as_bytes());
    }

    pub fn start(&mut self) {
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    }

    pub fn event(&mut self, json: &str) {
        let event = format!("data: {json}\n\n");
        self.send(&format!("{:x}\r\n{event}\r\n", event.len()));
    }

    pub fn token(&mut self, text: &str) {
        self.event(&format!(
            r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#
        ));
    }

    pub fn end(&mut self, tokens: usize) {
        self.event(r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#);
        self.event(&format!(
            r#"{{"choices":[],"usage":{{"prompt_tokens":1,"completion_tokens":{tokens}}}}}"#
        ));
        self.event("[DONE]");
        self.send("0\r\n\r\n");
    }

    /// A whole answer of these tokens.
    pub fn answer(&mut self, tokens: &[&str]) {
        self.start();
        self.event(r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#);
        tokens.iter().for_each(|t| self.token(t));
        self.end(tokens.len());
    }
}

/// What became of one request.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub sent: Vec<u64>,
    pub due: u64,
    pub reused: bool,
    pub text: String,
    pub tokens: Vec<u64>,
    pub ended: Option<u64>,
    pub result: Option<Result<(), Failure>>,
    pub summary: Summary,
}

impl Heard {
    pub fn failure(&self) -> &Failure {
        match &self.result {
            Some(Err(failure)) => failure,
            other => panic!("no failure: {other:?}"),
        }
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.result, Some(Ok(())))
    }
}

pub fn target(port: u16) -> Target {
    let mut target = Target::new(format!("http://127.0.0.1:{port}"), Api::Chat);
    target.model = Some("m".into());
    target
}

pub fn job(text: &str) -> Job {
    Job::new(Prompt::Text(text.into()), 16)
}

pub fn limits() -> Limits {
    Limits {
        idle: Duration::from_millis(300),
        total: Duration::from_secs(5),
        ..Limits::default()
    }
}

pub fn closed(jobs: usize, concurrency: usize) -> Plan {
    let mut plan = Plan::new(
        (0..jobs).map(|i| job(&i.to_string())).collect(),
        Load::Closed { concurrency },
    );
    plan.limits = limits();
    plan
}

pub fn go(target: &Target, plan: &Plan) -> (Vec<Heard>, Report) {
    go_until(target, plan, &|| false)
}

pub fn go_until(target: &Target, plan: &Plan, stop: &dyn Fn() -> bool) -> (Vec<Heard>, Report) {
    let mut heard = vec![Heard::default(); plan.jobs.len()];
    let mut sink = |event: Event<'_>| match event {
        Event::Sent {
            request,
            at_ns,
            due_ns,
            connect_ns,
            ..
        } => {
            let h = &mut heard[request];
            h.sent.push(at_ns);
            h.due = due_ns;
            h.reused = connect_ns.is_none();
        }
        Event::Tokens {
            request,
            at_ns,
            text,
            ..
        } => {
            let h = &mut heard[request];
            assert!(h.result.is_none(), "a token behind the end");
            h.tokens.push(at_ns);
            h.text.push_str(text);
        }
        Event::Finished {
            request,
            at_ns,
            summary,
        } => {
            let h = &mut heard[request];
            assert!(h.result.replace(Ok(())).is_none(), "two ends");
            h.ended = Some(at_ns);
            h.summary = summary.clone();
        }
        Event::Failed {
            request,
            at_ns,
            failure,
            summary,
        } => {
            let h = &mut heard[request];
            assert!(h.result.replace(Err(failure.clone())).is_none(), "two ends");
            h.ended = Some(at_ns);
            h.summary = summary.clone();
        }
        _ => {}
    };
    let report = run(target, plan, &mut sink, stop).unwrap();
    (heard, report)
}

/// One request to a server that handles each connection thus.
pub fn one(each: impl Fn(&mut Peer) + Send + Sync + 'static) -> Heard {
    let port = serve(each);
    go(&target(port), &closed(1, 1)).0.remove(0)
}

/// A log that the server's threads share.
pub fn shared<T>() -> Arc<Mutex<Vec<T>>> {
    Arc::new(Mutex::new(Vec::new()))
}
