//! Requests go when they should, and each stream is told as it came.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::*;
use lem_client::{After, Api, Arrivals, Features, Gaps, Load, Message, Plan, Prompt, Target, run};
use serde_json::json;

const MS: u64 = 1_000_000;

#[test]
fn a_closed_loop_keeps_its_concurrency_and_its_connections() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let peak = Arc::clone(&most);
    let port = serve(move |peer| {
        while peer.request().is_some() {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            peer.answer(&["a", "b"]);
        }
    });
    let (heard, report) = go(&target(port), &closed(50, 4));
    assert!(heard.iter().all(|h| h.is_finished() && h.text == "ab"));
    assert_eq!(peak.load(Ordering::SeqCst), 4);
    assert_eq!(
        (report.finished, report.peak_in_flight, report.lag.count),
        (50, 4, 50)
    );
    assert!(report.connections <= 8, "{report:?}");
    assert_eq!(report.connections + report.reused, 50);
    for h in &heard {
        assert!(h.due <= h.sent[0] && h.sent[0] < h.tokens[0] && h.tokens[0] <= h.tokens[1]);
        assert!(h.tokens[1] <= h.ended.unwrap());
        assert_eq!(
            (h.summary.output_tokens, h.summary.gaps),
            (Some(2), Gaps::Likely)
        );
    }
}

#[test]
fn an_open_loop_goes_by_the_clock_whatever_the_server_does() {
    // Answers take longer than the time between arrivals.
    let port = serve(|peer| {
        while peer.request().is_some() {
            thread::sleep(Duration::from_millis(100));
            peer.answer(&["a"]);
        }
    });
    let due = Arrivals::Constant { rate: 50.0 }.due(20, 0).unwrap();
    let mut plan = closed(20, 1);
    plan.load = Load::Open;
    for (job, due) in plan.jobs.iter_mut().zip(&due) {
        job.due = *due;
    }
    let (heard, report) = go(&target(port), &plan);
    for (h, due) in heard.iter().zip(&due) {
        assert!(h.is_finished());
        assert_eq!(h.due, report.start_ns + due.as_nanos() as u64);
        assert!(h.sent[0] >= h.due, "never early");
    }
    assert!(report.peak_in_flight >= 4, "{report:?}");
    assert!(report.end_ns - report.start_ns >= 480 * MS);
}

#[test]
fn connections_can_be_there_before_the_clock_starts() {
    let port = serve(|peer| {
        while peer.request().is_some() {
            peer.answer(&["a"])
        }
    });
    let mut plan = closed(6, 3);
    plan.preconnect = 100;
    let (heard, report) = go(&target(port), &plan);
    assert!(heard.iter().all(|h| h.reused && h.is_finished()));
    assert_eq!((report.connections, report.reused), (3, 6));
}

#[test]
fn a_conversation_goes_on_from_its_answers() {
    let seen = shared();
    let log = Arc::clone(&seen);
    let port = serve(move |peer| {
        while let Some((_, body)) = peer.request() {
            let n = body["messages"].as_array().unwrap().len();
            log.lock().unwrap().push(body["messages"].clone());
            peer.answer(&["answer ", &n.to_string()]);
        }
    });
    let mut plan = closed(3, 1);
    plan.jobs[0].prompt = Prompt::Messages(
        [
            Message::new("system", "be brief"),
            Message::new("user", "one"),
        ]
        .into(),
    );
    for (i, text) in [(1, "two"), (2, "three")] {
        plan.jobs[i].prompt = Prompt::Text(text.into());
        plan.jobs[i].after = Some(After {
            job: i - 1,
            think: Duration::from_millis(30),
        });
    }
    let (heard, _) = go(&target(port), &plan);
    assert!(heard.iter().all(Heard::is_finished), "{heard:?}");
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    assert_eq!(
        seen.lock().unwrap()[2],
        json!([
            say("system", "be brief"),
            say("user", "one"),
            say("assistant", "answer 2"),
            say("user", "two"),
            say("assistant", "answer 4"),
            say("user", "three")
        ])
    );
    for pair in heard.windows(2) {
        let pause = pair[1].sent[0] - pair[0].ended.unwrap();
        assert!((30 * MS..200 * MS).contains(&pause), "{pause}");
        assert!(
            pair[1].sent[0] - pair[1].due < 100 * MS,
            "thinking is no lag"
        );
    }
}

#[test]
fn what_follows_a_failure_is_told_and_not_sent() {
    let port = serve(|peer| {
        peer.request();
        peer.send("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
    });
    let mut plan = closed(2, 1);
    plan.jobs[1].after = Some(After {
        job: 0,
        think: Duration::ZERO,
    });
    let (heard, report) = go(&target(port), &plan);
    assert_eq!(heard[1].failure().kind(), "not_sent");
    assert!(heard[1].sent.is_empty());
    assert_eq!(report.failed, 2);
}

#[test]
fn a_server_that_does_not_stream() {
    let port = serve(|peer| {
        let (_, body) = peer.request().unwrap();
        assert_eq!(body["stream"], json!(false));
        let text = r#"{"choices":[{"message":{"role":"assistant","content":"all at once"},"finish_reason":"stop"}],"usage":{"prompt_tokens":2,"completion_tokens":3}}"#;
        peer.send(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ));
    });
    let mut target = target(port);
    target.stream = false;
    let (heard, _) = go(&target, &closed(1, 1));
    let s = &heard[0].summary;
    assert_eq!(
        (heard[0].text.as_str(), s.output_tokens, s.streamed, s.gaps),
        ("all at once", Some(3), false, Gaps::Chunked)
    );
}

#[test]
fn many_streams_at_once_on_one_thread() {
    // 400 threads of the test's own server hold their streams open until all have begun.
    const N: usize = 400;
    let begun = Arc::new(std::sync::Barrier::new(N));
    let port = serve(move |peer| {
        peer.request();
        peer.start();
        peer.token("a");
        begun.wait();
        for _ in 0..9 {
            peer.token("b");
        }
        peer.end(10);
    });
    let mut plan = closed(N, N);
    plan.limits.idle = Duration::from_secs(20);
    plan.limits.total = Duration::from_secs(20);
    let (heard, report) = go(&target(port), &plan);
    assert_eq!(report.peak_in_flight, N as u64);
    for h in &heard {
        assert_eq!(
            (h.text.as_str(), h.summary.output_tokens),
            ("abbbbbbbbb", Some(10)),
            "{:?}",
            h.result
        );
    }
}

#[test]
fn plans_that_cannot_work_are_refused_before_anything_is_sent() {
    let refused = |target: &Target, plan: &Plan| {
        run(target, plan, &mut |_: lem_client::Event<'_>| {}, &|| false)
            .unwrap_err()
            .to_string()
    };
    let good = target(1);
    let mut plan = closed(2, 0);
    assert!(refused(&good, &plan).contains("concurrency of 0"));
    plan = closed(2, 1);
    plan.jobs[0].after = Some(After {
        job: 1,
        think: Duration::ZERO,
    });
    assert!(refused(&good, &plan).contains("request 0: it follows request 1"));
    plan = closed(2, 1);
    plan.jobs[1].prompt = Prompt::Tokens([1].into());
    assert!(refused(&good, &plan).contains("request 1: its prompt is in token ids"));
    let mut ids = good.clone();
    ids.api = Api::Completions;
    for job in &mut plan.jobs {
        job.prompt = Prompt::Tokens([1].into());
    }
    plan.jobs[1].after = Some(After {
        job: 0,
        think: Duration::ZERO,
    });
    assert!(refused(&ids, &plan).contains("does not tell them"));
    ids.features = Features::vllm();
    ids.model = None;
    assert!(refused(&ids, &plan).contains("no model is named"));
}
