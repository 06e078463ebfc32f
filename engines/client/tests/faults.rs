//! Each fault ends in one clear failure of its request, with what had come kept.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::*;
use lem_client::{Failure, Secret};

#[test]
fn nobody_listens() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (heard, report) = go(&target(port), &closed(3, 2));
    for h in &heard {
        assert!(
            matches!(h.failure(), Failure::Refused { .. }),
            "{:?}",
            h.failure()
        );
        assert_eq!(h.summary.sent_ns, None, "nothing was sent");
    }
    assert_eq!((report.failed, report.connections), (3, 0));
}

#[test]
fn a_name_without_an_address() {
    let mut target = target(80);
    target.base_url = "http://no-such-host.invalid:80".into();
    let (heard, _) = go(&target, &closed(1, 1));
    assert!(
        matches!(heard[0].failure(), Failure::Dns { host, .. } if host == "no-such-host.invalid")
    );
}

#[test]
fn a_listener_that_never_accepts() {
    // A full backlog: the kernel drops further attempts.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let held: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300))
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(50));
    let mut target = target(address.port());
    target.connect_timeout = Duration::from_millis(200);
    let (heard, _) = go(&target, &closed(1, 1));
    assert!(
        matches!(
            heard[0].failure(),
            Failure::ConnectTimeout { after_ms: 200, .. }
        ),
        "{:?}",
        heard[0].failure()
    );
    drop(held);
}

#[test]
fn statuses_are_told_and_keys_are_not() {
    let port = serve(|peer| {
        while let Some((head, body)) = peer.request() {
            let key = head
                .lines()
                .find_map(|l| l.strip_prefix("Authorization: Bearer "))
                .unwrap_or("none")
                .to_owned();
            let status = body["messages"][0]["content"].as_str().unwrap().to_owned();
            let text = format!(r#"{{"error":{{"message":"status {status}, key {key}"}}}}"#);
            peer.send(&format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nRetry-After: 2\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    });
    let mut target = target(port);
    target.api_key = Some(Secret::new("sk-very-secret"));
    let mut plan = closed(4, 1);
    for (job, status) in plan.jobs.iter_mut().zip(["401", "404", "429", "500"]) {
        *job = common::job(status);
    }
    let (heard, report) = go(&target, &plan);
    for (h, expected) in heard.iter().zip([401, 404, 429, 500]) {
        match h.failure() {
            Failure::Http {
                status,
                message,
                retry_after_ms,
                ..
            } => {
                assert_eq!((*status, *retry_after_ms), (expected, Some(2000)));
                assert_eq!(message, &format!("status {expected}, key [secret]"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!format!("{target:?} {heard:?}").contains("very-secret"));
    assert_eq!(report.failed, 4);
}

#[test]
fn a_stream_that_breaks_keeps_its_tokens() {
    let heard = one(|peer| {
        peer.request();
        peer.start();
        peer.token("a");
        peer.token("b");
        thread::sleep(Duration::from_millis(20));
    });
    assert!(matches!(heard.failure(), Failure::Broken { .. }));
    assert_eq!(
        (
            heard.text.as_str(),
            heard.summary.chunks,
            heard.summary.output_tokens
        ),
        ("ab", 2, None)
    );
}

#[test]
fn a_reset_keeps_its_tokens() {
    let heard = one(|peer| {
        peer.request();
        peer.start();
        peer.token("a");
        thread::sleep(Duration::from_millis(50));
        rustix::net::sockopt::set_socket_linger(&peer.socket, Some(Duration::ZERO)).unwrap();
    });
    assert!(
        matches!(heard.failure(), Failure::Broken { why } if why.contains("reset")),
        "{:?}",
        heard.failure()
    );
    assert_eq!(heard.text, "a");
}

#[test]
fn a_stream_that_stalls() {
    let started = Instant::now();
    let heard = one(|peer| {
        peer.request();
        peer.start();
        peer.token("a");
        thread::sleep(Duration::from_secs(3));
    });
    assert!(
        matches!(heard.failure(), Failure::Stalled { idle_ms } if (300..1000).contains(idle_ms)),
        "{:?}",
        heard.failure()
    );
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(heard.text, "a");
}

#[test]
fn a_stream_that_drips_without_end() {
    let port = serve(|peer| {
        peer.request();
        peer.start();
        for _ in 0..200 {
            peer.send("d\r\n: keep-alive\n\r\n");
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut plan = closed(1, 1);
    plan.limits.total = Duration::from_millis(500);
    let (heard, _) = go(&target(port), &plan);
    assert!(
        matches!(heard[0].failure(), Failure::TimedOut { after_ms } if *after_ms >= 500),
        "{:?}",
        heard[0].failure()
    );
    assert_eq!(heard[0].tokens.len(), 0);
}

#[test]
fn a_flood_is_cut() {
    let heard = one(|peer| {
        peer.request();
        peer.start();
        while peer.socket.write_all(b"5\r\ndata:\r\n").is_ok() {
            for _ in 0..1000 {
                peer.token("a");
            }
        }
    });
    assert!(
        matches!(
            heard.failure(),
            Failure::Garbage { .. } | Failure::Endless { .. }
        ),
        "{:?}",
        heard.failure()
    );
    assert!(heard.tokens.len() <= 16 + 64 + 1);
}

#[test]
fn half_closed_before_the_end_of_the_body() {
    // All that was said is there, and the end mark too: the missing last chunk is forgiven.
    let heard = one(|peer| {
        peer.request();
        peer.start();
        peer.token("a");
        peer.event("[DONE]");
        peer.socket.shutdown(std::net::Shutdown::Write).unwrap();
        thread::sleep(Duration::from_millis(200));
    });
    assert!(heard.is_finished(), "{:?}", heard.result);
    assert_eq!(heard.text, "a");
}

#[test]
fn an_end_mark_without_the_end_of_the_body() {
    let started = Instant::now();
    let heard = one(|peer| {
        peer.request();
        peer.start();
        peer.token("a");
        peer.event("[DONE]");
        thread::sleep(Duration::from_secs(3));
    });
    assert!(heard.is_finished());
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn an_answer_before_the_request_was_read() {
    let port = serve(|peer| {
        peer.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
        thread::sleep(Duration::from_millis(100));
    });
    let mut plan = closed(1, 1);
    plan.jobs[0] = job(&"x".repeat(8 << 20));
    let (heard, _) = go(&target(port), &plan);
    assert!(
        matches!(
            heard[0].failure(),
            Failure::Http { status: 413, .. } | Failure::Broken { .. }
        ),
        "{:?}",
        heard[0].failure()
    );
}

#[test]
fn a_kept_connection_that_was_closed_is_no_failure() {
    // Each connection takes two requests, answers the first and drops the second unanswered.
    let port = serve(|peer| {
        peer.request();
        peer.answer(&["a"]);
        peer.request();
    });
    let (heard, report) = go(&target(port), &closed(3, 1));
    assert!(heard.iter().all(Heard::is_finished), "{heard:?}");
    assert_eq!(report.resent, 2);
    assert_eq!(heard[1].sent.len(), 2, "sent again on a fresh connection");
    // On a fresh connection the same is a failure: the server has seen the request.
    let heard = one(|peer| drop(peer.request()));
    assert!(matches!(heard.failure(), Failure::Broken { .. }));
    assert_eq!(heard.sent.len(), 1);
}

#[test]
fn cancelling_is_prompt_and_keeps_what_came() {
    let started = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&started);
    let port = serve(move |peer| {
        peer.request();
        peer.start();
        peer.token("a");
        flag.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_secs(3));
    });
    let mut plan = closed(5, 2);
    plan.limits.idle = Duration::from_secs(60);
    let since = std::sync::OnceLock::new();
    let stop = || {
        let begun = started.load(Ordering::SeqCst);
        begun && since.get_or_init(Instant::now).elapsed() > Duration::from_millis(100)
    };
    let (heard, report) = go_until(&target(port), &plan, &stop);
    assert!(since.get().unwrap().elapsed() < Duration::from_millis(300));
    for h in &heard[..2] {
        assert_eq!(h.failure(), &Failure::Cancelled);
        assert_eq!(h.text, "a");
    }
    assert!(
        heard[2..]
            .iter()
            .all(|h| h.result.is_none() && h.sent.is_empty()),
        "not sent, not told"
    );
    assert_eq!((report.finished, report.failed), (0, 2));
}

#[test]
fn one_bad_stream_does_not_hurt_the_others() {
    let n = AtomicUsize::new(0);
    let port = serve(move |peer| {
        while peer.request().is_some() {
            if n.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
                peer.start();
                peer.send("zzz");
                return;
            }
            peer.answer(&["a", "b"]);
        }
    });
    let (heard, report) = go(&target(port), &closed(60, 8));
    let bad = heard.iter().filter(|h| !h.is_finished()).count();
    assert_eq!((bad as u64, report.finished), (20, 40));
    assert!(
        heard
            .iter()
            .filter(|h| h.is_finished())
            .all(|h| h.text == "ab")
    );
}
