//! A server of known schedule, for measuring clients: it streams chat or completion chunks at set
//! times and logs when each token really went to the kernel.
//!
//!     scheduled_server [--port N] [--ttft-us N] [--gap-us N] [--tokens-per-chunk N] [--batch N]
//!
//! Prints `listening on PORT`. POST to any path streams `max_tokens` tokens (64), at once the
//! role, the first token `ttft` after the request's last byte, each further chunk `gap` after the
//! one before, by an absolute schedule; with a gap of 0 as fast as the client takes them, `batch`
//! chunks a write. `GET /log` gives one line a request, `user received_ns sent_ns…` (CLOCK_MONOTONIC,
//! received by the kernel, sent right before the write), `cpu_ns` last, and starts the log anew.
#![allow(clippy::print_stdout)]

#[allow(dead_code)]
#[path = "../src/clock.rs"]
mod clock;
#[allow(dead_code)]
#[path = "../src/receive.rs"]
mod receive;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX - 1);
const TIMER: Token = Token(usize::MAX - 2);
const FULL: usize = 1 << 20;

#[derive(Clone, Copy)]
struct Settings {
    ttft_ns: u64,
    gap_ns: u64,
    tokens_per_chunk: usize,
    batch: usize,
}

struct Stream {
    socket: TcpStream,
    serial: u64,
    input: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    reply: Option<Reply>,
}

struct Reply {
    user: String,
    chat: bool,
    received_ns: u64,
    tokens: usize,
    sent: Vec<u64>,
}

struct Server {
    settings: Settings,
    streams: Slab<Stream>,
    due: BinaryHeap<Reverse<(u64, usize, u64)>>,
    log: String,
    buffer: Vec<u8>,
}

fn main() -> io::Result<()> {
    let mut settings = Settings {
        ttft_ns: 50_000_000,
        gap_ns: 10_000_000,
        tokens_per_chunk: 1,
        batch: 1,
    };
    let mut port = 0u16;
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value: u64 = args
            .next()
            .and_then(|v| v.parse().ok())
            .ok_or_else(|| io::Error::other(format!("{name} needs a number")))?;
        match name.as_str() {
            "--port" => port = value as u16,
            "--ttft-us" => settings.ttft_ns = value * 1000,
            "--gap-us" => settings.gap_ns = value * 1000,
            "--tokens-per-chunk" => settings.tokens_per_chunk = value.max(1) as usize,
            "--batch" => settings.batch = value.max(1) as usize,
            _ => return Err(io::Error::other(format!("unknown argument {name}"))),
        }
    }
    raise_open_files();
    let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
    println!("listening on {}", listener.local_addr()?.port());
    // The standard library's backlog is 128: too short for thousands of clients at once.
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    serve(TcpListener::from_std(listener), settings)
}

fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn serve(mut listener: TcpListener, settings: Settings) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    poll.registry()
        .register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
    let mut server = Server {
        settings,
        streams: Slab::new(),
        due: BinaryHeap::new(),
        log: String::new(),
        buffer: vec![0; 16 << 10],
    };
    let mut serial = 0;
    loop {
        let next = server.due.peek().map(|Reverse((at, _, _))| *at);
        let now = now_ns();
        let mut wait = None;
        match next {
            Some(at) if at <= now => wait = Some(Duration::ZERO),
            Some(at) => {
                let value = Timespec {
                    tv_sec: (at / 1_000_000_000) as i64,
                    tv_nsec: (at % 1_000_000_000) as i64,
                };
                let new = Itimerspec {
                    it_interval: Timespec {
                        tv_sec: 0,
                        tv_nsec: 0,
                    },
                    it_value: value,
                };
                timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &new)?;
            }
            None => {}
        }
        match poll.poll(&mut events, wait) {
            Err(why) if why.kind() != io::ErrorKind::Interrupted => return Err(why),
            _ => {}
        }
        let mut asked = Vec::new();
        for event in &events {
            match event.token() {
                TIMER => {}
                LISTENER => {
                    while let Ok((mut socket, _)) = listener.accept() {
                        socket.set_nodelay(true)?;
                        receive::ask_for_stamps(&socket);
                        serial += 1;
                        let place = server.streams.vacant_entry();
                        poll.registry().register(
                            &mut socket,
                            Token(place.key()),
                            Interest::READABLE | Interest::WRITABLE,
                        )?;
                        place.insert(Stream {
                            socket,
                            serial,
                            input: Vec::new(),
                            out: Vec::new(),
                            written: 0,
                            reply: None,
                        });
                    }
                }
                Token(key) => {
                    if event.is_writable() {
                        server.write(key);
                    }
                    if event.is_readable()
                        && let Some(at_ns) = server.read(key)
                    {
                        asked.push((key, at_ns));
                    }
                }
            }
        }
        for (key, received_ns) in asked {
            server.request(key, received_ns);
        }
        server.tick();
    }
}

impl Server {
    /// Takes what has come; gives when the kernel received it.
    fn read(&mut self, key: usize) -> Option<u64> {
        let stream = self.streams.get_mut(key)?;
        let mut at_ns = now_ns();
        loop {
            match receive::receive(&stream.socket, &mut self.buffer) {
                Ok((0, _)) => break self.close(key),
                Ok((n, real_ns)) => {
                    let now = now_ns();
                    let stamp =
                        real_ns.and_then(|real| receive::Clocks::read().stamp(real, 0, now));
                    at_ns = stamp.unwrap_or(now);
                    stream.input.extend_from_slice(&self.buffer[..n]);
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Some(at_ns),
                Err(_) => break self.close(key),
            }
        }
        None
    }

    fn close(&mut self, key: usize) {
        if let Some(reply) = self.streams.try_remove(key).and_then(|s| s.reply) {
            self.note(&reply);
        }
    }

    fn request(&mut self, key: usize, received_ns: u64) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        let Some(head) = memchr::memmem::find(&stream.input, b"\r\n\r\n") else {
            return;
        };
        let text = String::from_utf8_lossy(&stream.input[..head]).to_ascii_lowercase();
        let length: usize = text
            .split_once("content-length:")
            .and_then(|(_, rest)| rest.lines().next()?.trim().parse().ok())
            .unwrap_or(0);
        if stream.input.len() < head + 4 + length || stream.reply.is_some() {
            return;
        }
        let body: serde_json::Value =
            serde_json::from_slice(&stream.input[head + 4..head + 4 + length]).unwrap_or_default();
        stream.input.drain(..head + 4 + length);
        if text.starts_with("get /log") {
            let mut log = std::mem::take(&mut self.log);
            let _ = writeln!(log, "cpu_ns {}", cpu_ns());
            stream.out = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{log}",
                log.len()
            )
            .into_bytes();
            return self.write(key);
        }
        if text.starts_with("get ") {
            // What clients ask before they start: the models.
            let models = r#"{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"x","root":"m","max_model_len":100000}]}"#;
            stream.out = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{models}", models.len()).into_bytes();
            return self.write(key);
        }
        let number = |name: &str| body[name].as_u64();
        let tokens = number("max_tokens")
            .or(number("max_completion_tokens"))
            .unwrap_or(64) as usize;
        let chat = text.contains("/chat/");
        stream.reply = Some(Reply {
            user: body["user"].as_str().unwrap_or("-").to_owned(),
            chat,
            received_ns,
            tokens,
            sent: Vec::with_capacity(tokens),
        });
        stream.out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
        if chat {
            event(
                &mut stream.out,
                r#"{"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}"#,
            );
        }
        let serial = stream.serial;
        self.due
            .push(Reverse((received_ns + self.settings.ttft_ns, key, serial)));
        self.write(key);
    }

    /// Sends what is due.
    fn tick(&mut self) {
        let Settings {
            ttft_ns,
            gap_ns,
            tokens_per_chunk,
            batch,
        } = self.settings;
        // Few at a time: requests that come meanwhile are to be stamped when they come.
        for _ in 0..8 {
            let Some(Reverse((at, key, serial))) = self.due.peek().copied() else {
                return;
            };
            let now = now_ns();
            if at > now {
                return;
            }
            self.due.pop();
            let Some(stream) = self.streams.get_mut(key).filter(|s| s.serial == serial) else {
                continue;
            };
            let Some(reply) = &mut stream.reply else {
                continue;
            };
            if stream.out.len() > FULL {
                // The client is slower than we are.
                self.due.push(Reverse((now + 1_000_000, key, serial)));
                continue;
            }
            let chunks = if gap_ns == 0 { batch } else { 1 };
            for _ in 0..chunks {
                let n = tokens_per_chunk.min(reply.tokens - reply.sent.len());
                if n == 0 {
                    break;
                }
                reply.sent.extend(std::iter::repeat_n(now, n));
                event(&mut stream.out, chunk(reply.chat, n));
            }
            if reply.sent.len() < reply.tokens {
                let chunk = (reply.sent.len() / tokens_per_chunk) as u64;
                let next = if gap_ns == 0 {
                    now
                } else {
                    reply.received_ns + ttft_ns + chunk * gap_ns
                };
                self.due.push(Reverse((next, key, serial)));
            } else {
                finish(&mut stream.out, reply);
                if let Some(reply) = stream.reply.take() {
                    self.note(&reply);
                }
            }
            self.write(key);
        }
    }

    fn note(&mut self, reply: &Reply) {
        let _ = write!(self.log, "{} {}", reply.user, reply.received_ns);
        for at in &reply.sent {
            let _ = write!(self.log, " {at}");
        }
        self.log.push('\n');
    }

    fn write(&mut self, key: usize) {
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        while stream.written < stream.out.len() {
            match stream.socket.write(&stream.out[stream.written..]) {
                Ok(n) => stream.written += n,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(key),
            }
        }
        stream.out.clear();
        stream.written = 0;
    }
}

fn chunk(chat: bool, tokens: usize) -> &'static str {
    match (chat, tokens) {
        (true, 1) => {
            r#"{"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#
        }
        (true, _) => {
            r#"{"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000,"model":"m","choices":[{"index":0,"delta":{"content":" word word word word"},"logprobs":null,"finish_reason":null,"token_ids":null}]}"#
        }
        (false, 1) => {
            r#"{"id":"cmpl-0123456789abcdef","object":"text_completion","created":1700000000,"model":"m","choices":[{"index":0,"text":" word","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":null}"#
        }
        (false, _) => {
            r#"{"id":"cmpl-0123456789abcdef","object":"text_completion","created":1700000000,"model":"m","choices":[{"index":0,"text":" word word word word","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":null}"#
        }
    }
}

fn finish(out: &mut Vec<u8>, reply: &Reply) {
    let text = if reply.chat {
        r#""delta":{"content":""}"#
    } else {
        r#""text":"""#
    };
    let object = if reply.chat {
        "chat.completion.chunk"
    } else {
        "text_completion"
    };
    event(
        out,
        &format!(
            r#"{{"id":"x","object":"{object}","created":1700000000,"model":"m","choices":[{{"index":0,{text},"logprobs":null,"finish_reason":"length"}}]}}"#
        ),
    );
    let n = reply.sent.len();
    event(
        out,
        &format!(
            r#"{{"id":"x","object":"{object}","created":1700000000,"model":"m","choices":[],"usage":{{"prompt_tokens":8,"completion_tokens":{n},"total_tokens":{}}}}}"#,
            n + 8
        ),
    );
    event(out, "[DONE]");
    out.extend_from_slice(b"0\r\n\r\n");
}

fn event(out: &mut Vec<u8>, json: &str) {
    let _ = write!(out, "{:x}\r\ndata: {json}\n\n\r\n", json.len() + 8);
}

fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

fn cpu_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
