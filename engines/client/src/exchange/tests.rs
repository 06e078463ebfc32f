use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Counted, Gaps, Part, Tokens};

/// What a sink was told, in short.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    lines: Vec<String>,
    summary: crate::Summary,
}

fn note(told: &mut Told, event: Event<'_>) {
    let line = match event {
        Event::FirstByte { at_ns, .. } => format!("first byte {at_ns}"),
        Event::Empty { at_ns, .. } => format!("empty {at_ns}"),
        Event::Tokens {
            at_ns,
            tokens,
            part,
            text,
            same_read,
            ..
        } => {
            let n = match tokens {
                Tokens::Ids(ids) => format!("{ids:?}"),
                Tokens::Count(n) => n.to_string(),
                Tokens::Unknown => "?".to_owned(),
            };
            let part = if part == Part::Answer { "" } else { " thought" };
            format!(
                "{n}{part} {text:?} {at_ns}{}",
                if same_read { " same" } else { "" }
            )
        }
        Event::Usage { usage, .. } => format!("usage {:?}", usage.output_tokens),
        Event::Timings { json, .. } => format!("timings {json}"),
        Event::Finished { at_ns, summary, .. } => {
            told.summary = summary.clone();
            format!("finished {at_ns}")
        }
        Event::Failed {
            failure, summary, ..
        } => {
            told.summary = summary.clone();
            format!("failed: {}", failure.kind())
        }
        Event::Sent { .. } => "sent".to_owned(),
    };
    told.lines.push(line);
}

fn limits() -> Limits {
    Limits {
        event_bytes: 10_000,
        head_bytes: 2000,
        body_bytes: 10_000,
        stream_bytes: 100_000,
        ..Limits::default()
    }
}

/// Feeds the pieces, one a read, 10 ns apart, and the end of the connection if `eof`.
fn exchange(api: Api, pieces: &[&[u8]], eof: bool) -> (Told, Result<Step, Failure>) {
    let mut exchange = Exchange::new(3, api, 10, limits(), false);
    exchange.heard.account.summary.streamed = true;
    let mut told = Told::default();
    let mut sink = |event: Event<'_>| note(&mut told, event);
    let mut result = Ok(Step::More);
    let mut at_ns = 0;
    for (i, bytes) in pieces.iter().enumerate() {
        at_ns = 10 * (i as u64 + 1);
        result = exchange.read(
            Read {
                bytes,
                at_ns,
                number: i as u64,
            },
            &mut sink,
        );
        if matches!(result, Err(_) | Ok(Step::Done { .. })) {
            break;
        }
    }
    if eof && matches!(result, Ok(Step::More | Step::Ending)) {
        result = exchange
            .end_of_input(at_ns, &mut sink)
            .map(|()| Step::Done { reusable: false });
    }
    match &result {
        Err(failure) => exchange.fail(failure, at_ns, &mut sink),
        Ok(Step::Done { .. }) => exchange.finish(at_ns, &mut sink),
        Ok(_) => {}
    }
    (told, result)
}

const SSE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n", body.len())
}

fn event(json: &str) -> String {
    chunked(&format!("data: {json}\n\n"))
}

fn delta(text: &str) -> String {
    event(&format!(
        r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#
    ))
}

const ROLE: &str = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
const STOP: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;

#[test]
fn a_stream_from_head_to_end_mark() {
    let tail = event(STOP) + &event(USAGE) + &event("[DONE]") + "0\r\n\r\n";
    let reads = [SSE.to_owned(), event(ROLE), delta("a"), delta("b"), tail];
    let pieces: Vec<&[u8]> = reads.iter().map(String::as_bytes).collect();
    let (told, result) = exchange(Api::Chat, &pieces, false);
    assert_eq!(
        told.lines,
        [
            "first byte 10",
            "empty 20",
            "? \"a\" 30",
            "? \"b\" 40",
            "empty 50",
            "usage Some(2)",
            "finished 50"
        ]
    );
    assert_eq!(result, Ok(Step::Done { reusable: true }));
    let s = told.summary;
    assert_eq!(
        (s.first_token_ns, s.last_token_ns, s.output_tokens),
        (Some(30), Some(40), Some(2))
    );
    assert_eq!(
        (s.gaps, s.done_mark, s.finish_reason.as_deref()),
        (Gaps::Likely, true, Some("stop"))
    );
}

#[test]
fn chunks_of_one_read_show_no_time_between_them() {
    let all = SSE.to_owned() + &delta("a") + &delta("b");
    let (told, _) = exchange(Api::Chat, &[all.as_bytes(), delta("c").as_bytes()], false);
    assert_eq!(
        told.lines,
        [
            "first byte 10",
            "? \"a\" 10",
            "? \"b\" 10 same",
            "? \"c\" 20"
        ]
    );
}

#[test]
fn a_missing_end_mark_is_forgiven_if_the_answer_had_ended() {
    let body = event(ROLE) + &delta("a");
    let end = SSE.to_owned() + &body + &event(STOP) + "0\r\n\r\n";
    let (told, result) = exchange(Api::Chat, &[end.as_bytes()], false);
    assert!(result.is_ok() && !told.summary.done_mark);
    let cut = SSE.to_owned() + &body + "0\r\n\r\n";
    let (told, result) = exchange(Api::Chat, &[cut.as_bytes()], false);
    assert!(matches!(result, Err(Failure::Broken { .. })), "{result:?}");
    assert_eq!(
        (told.summary.chunks, told.summary.uncounted_chunks),
        (1, 1),
        "what came is kept"
    );
    assert_eq!(
        (told.summary.output_tokens, told.summary.counted),
        (None, Counted::Unknown)
    );
    // without its blank line the mark still counts, and without the body's end too
    let mark = SSE.to_owned() + &body + &chunked("data: [DONE]\n") + "0\r\n\r\n";
    assert!(exchange(Api::Chat, &[mark.as_bytes()], false).1.is_ok());
    let open = SSE.to_owned() + &body + &event("[DONE]");
    assert_eq!(
        exchange(Api::Chat, &[open.as_bytes()], false).1,
        Ok(Step::Ending)
    );
    assert_eq!(
        exchange(Api::Chat, &[open.as_bytes()], true).1,
        Ok(Step::Done { reusable: false })
    );
}

#[test]
fn a_broken_connection_keeps_what_had_come() {
    let reads = [
        SSE.to_owned() + &delta("a"),
        "1f\r\ndata: {\"cho".to_owned(),
    ];
    let pieces: Vec<&[u8]> = reads.iter().map(String::as_bytes).collect();
    let (told, result) = exchange(Api::Chat, &pieces, true);
    assert!(matches!(result, Err(Failure::Broken { .. })));
    assert_eq!(
        told.lines,
        ["first byte 10", "? \"a\" 10", "failed: broken"]
    );
    for head in ["", "HTTP/1.1 200 OK\r\nConte"] {
        assert!(matches!(
            exchange(Api::Chat, &[head.as_bytes()], true).1,
            Err(Failure::Broken { .. })
        ));
    }
}

#[test]
fn bad_statuses_tell_what_the_body_says() {
    let answer = |status: &str, extra: &str, body: &str| {
        let text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(Api::Chat, &[text.as_bytes()], false)
    };
    let (told, result) = answer("401 Unauthorized", "", r#"{"error":{"message":"bad key"}}"#);
    assert_eq!(told.summary.chunks, 0);
    assert!(
        result
            .unwrap_err()
            .to_string()
            .contains("HTTP 401: bad key. Check the API key")
    );
    let limited = answer("429 Too Many", "Retry-After: 7\r\n", "slow down")
        .1
        .unwrap_err();
    assert_eq!(
        limited,
        Failure::Http {
            status: 429,
            message: "slow down".into(),
            retry_after_ms: Some(7000),
            location: None
        }
    );
    assert!(limited.to_string().contains("retry after 7 s"));
    let moved = answer("307 Moved", "Location: /v1/\r\n", "").1.unwrap_err();
    assert!(matches!(moved, Failure::Http { status: 307, location: Some(l), .. } if l == "/v1/"));
    // a body that breaks off does not hide the status
    let (_, result) = exchange(
        Api::Chat,
        &[b"HTTP/1.1 500 Oops\r\nContent-Length: 50\r\n\r\nboom"],
        true,
    );
    assert!(matches!(result, Err(Failure::Http { status: 500, message, .. }) if message == "boom"));
}

#[test]
fn errors_within_a_stream() {
    let start = SSE.to_owned() + &delta("a");
    for bad in [
        event(r#"{"error":{"message":"out of memory","code":500}}"#),
        chunked("event: error\ndata: {\"message\":\"out of memory\"}\n\n"),
        chunked("event: error\ndata: out of memory\n\n"),
    ] {
        let text = start.clone() + &bad + &delta("never");
        let (told, result) = exchange(Api::Chat, &[text.as_bytes()], false);
        assert!(
            matches!(&result, Err(Failure::InStream { message, .. }) if message == "out of memory"),
            "{result:?}"
        );
        assert_eq!(told.summary.chunks, 1);
    }
}

#[test]
fn rubbish_is_refused_within_bounds() {
    let garbage = |text: &str| {
        let (_, result) = exchange(Api::Chat, &[text.as_bytes()], true);
        matches!(result, Err(Failure::Garbage { .. }))
    };
    assert!(garbage("SSH-2.0-OpenSSH\r\n"));
    assert!(garbage(&(SSE.to_owned() + &event("{not json}"))));
    assert!(garbage(
        &(SSE.to_owned() + &chunked(": nothing but comments\n\n") + "0\r\n\r\n")
    ));
    assert!(garbage(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>"
    ));
    assert!(garbage(&(SSE.to_owned() + "zz\r\n")));

    let oversized = |pieces: &[&[u8]]| {
        matches!(
            exchange(Api::Chat, pieces, true).1,
            Err(Failure::Oversized { .. })
        )
    };
    let long = "x".repeat(20_000);
    let head = format!("HTTP/1.1 200 OK\r\nX: {long}\r\n");
    assert!(oversized(&[head.as_bytes()]));
    let dribble: Vec<&[u8]> = std::iter::once(&b"HTTP/1.1 200 OK\r\nX: "[..])
        .chain(std::iter::repeat_n(&b"xxxxxxxxxx"[..], 300))
        .collect();
    assert!(oversized(&dribble));
    assert!(oversized(&[SSE.as_bytes(), chunked(&long).as_bytes()]));
    let whole = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n{long}"
    );
    assert!(oversized(&[whole.as_bytes()]));
}

#[test]
fn answers_without_end_are_cut() {
    let many = SSE.to_owned() + &delta("a").repeat(200);
    let (told, result) = exchange(Api::Chat, &[many.as_bytes()], false);
    assert!(matches!(result, Err(Failure::Endless { .. })));
    assert_eq!(
        told.summary.chunks, 75,
        "10 asked for, 64 forgiven, and the one too many"
    );
    let comments = chunked(&": keep-alive\n".repeat(100)).repeat(100);
    let (_, result) = exchange(Api::Chat, &[SSE.as_bytes(), comments.as_bytes()], false);
    assert!(matches!(result, Err(Failure::Endless { .. })), "{result:?}");
}

#[test]
fn answers_in_one_piece() {
    let body = r#"{"choices":[{"message":{"content":"hello","reasoning_content":null},"finish_reason":"length"}],"usage":{"completion_tokens":10}}"#;
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (head, rest) = text.split_at(100);
    let (told, result) = exchange(Api::Chat, &[head.as_bytes(), rest.as_bytes()], false);
    assert_eq!(
        told.lines,
        [
            "first byte 10",
            "10 \"hello\" 20",
            "usage Some(10)",
            "finished 20"
        ]
    );
    assert_eq!(result, Ok(Step::Done { reusable: true }));
    assert!(!told.summary.streamed);
    assert_eq!(told.summary.gaps, Gaps::Chunked);
}

#[test]
fn the_other_streams() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n";
    let ollama = format!(
        "{head}{}\n{}\n",
        r#"{"response":"a","done":false}"#,
        r#"{"response":"","done":true,"done_reason":"length","eval_count":4,"eval_duration":9}"#
    );
    let (told, result) = exchange(Api::OllamaGenerate, &[ollama.as_bytes()], true);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(
        told.lines[1..4],
        ["? \"a\" 10", "empty 10", "usage Some(4)"]
    );
    assert!(told.lines[4].starts_with("timings {\"response\""));
    assert_eq!(
        (told.summary.output_tokens, told.summary.gaps),
        (Some(4), Gaps::Chunked)
    );

    let sse = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    let tgi = format!(
        "{sse}data:{}\n\ndata:{}\n\n",
        r#"{"token":{"id":5,"text":"a"},"generated_text":null}"#,
        r#"{"token":{"id":6,"text":"b"},"generated_text":"ab","details":{"finish_reason":"length","generated_tokens":2}}"#
    );
    let (told, result) = exchange(Api::Tgi, &[tgi.as_bytes()], true);
    assert!(result.is_ok());
    assert_eq!(told.lines[1..3], ["[5] \"a\" 10", "[6] \"b\" 10 same"]);
    assert_eq!(told.summary.gaps, Gaps::True);

    let llama = format!(
        "{sse}data: {}\n\ndata: {}\n\n",
        r#"{"content":"a","tokens":[5],"stop":false,"tokens_predicted":1}"#,
        r#"{"content":"","tokens":[],"stop":true,"stop_type":"limit","tokens_predicted":1,"timings":{"predicted_n":1}}"#
    );
    let (told, result) = exchange(Api::LlamaCpp, &[llama.as_bytes()], true);
    assert!(result.is_ok());
    assert_eq!(
        told.lines[1..4],
        ["[5] \"a\" 10", "empty 10", "usage Some(1)"]
    );
}

/// A stream in which something of everything occurs.
fn rich() -> Vec<u8> {
    let usage = |n| {
        format!(
            r#"{{"choices":[{{"delta":{{"content":"é\n"}},"token_ids":[{n}]}}],"usage":{{"completion_tokens":{n}}}}}"#
        )
    };
    (SSE.to_owned()
        + &chunked(": hello\r\n\r\n")
        + &event(ROLE)
        + &event(r#"{"choices":[{"delta":{"reasoning":"hm"},"token_ids":[9]}],"usage":{"completion_tokens":1}}"#)
        + &event(&usage(2))
        + &chunked("id: 4\ndata: {\"choices\":[{\"delta\":\r\ndata: {\"content\":\"x\"}}]}\r\n\r\n")
        + &event(STOP)
        + &event(r#"{"choices":[],"usage":{"completion_tokens":3},"metrics":{"queue_time_ms":1}}"#)
        + &event("[DONE]")
        + "0\r\n\r\n")
    .into_bytes()
}

/// Without times, and without what a split changes rightly.
fn timeless(told: Told) -> Vec<String> {
    told.lines
        .into_iter()
        .map(|line| {
            line.trim_end_matches(" same")
                .trim_end_matches(|c: char| c.is_ascii_digit())
                .to_owned()
        })
        .collect()
}

proptest! {
    #[test]
    fn any_split_tells_the_same(cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let stream = rich();
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &stream[w[0]..w[1]]).filter(|p| !p.is_empty()).collect();
        let (whole, result) = exchange(Api::Chat, &[&stream], false);
        prop_assert_eq!(result, Ok(Step::Done { reusable: true }));
        let (split, result) = exchange(Api::Chat, &pieces, false);
        prop_assert_eq!(result, Ok(Step::Done { reusable: true }));
        prop_assert_eq!(timeless(split), timeless(whole));
    }
}

/// Damaged streams end in a typed failure or an answer, never a panic or a count beyond what was
/// sent: for LEM_FUZZ_SECONDS (2) seconds, with a seed from LEM_FUZZ_SEED or the clock.
#[test]
fn fuzz_streams() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    let from_env = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seed = from_env("LEM_FUZZ_SEED").unwrap_or_else(crate::clock::now_ns);
    let mut rng = StdRng::seed_from_u64(seed);
    let until =
        std::time::Instant::now() + Duration::from_secs(from_env("LEM_FUZZ_SECONDS").unwrap_or(2));
    let apis = [
        Api::Chat,
        Api::Completions,
        Api::LlamaCpp,
        Api::Tgi,
        Api::OllamaChat,
    ];
    while std::time::Instant::now() < until {
        let mut stream = rich();
        for _ in 0..rng.random_range(0..6) {
            let at = rng.random_range(0..stream.len());
            match rng.random_range(0..6) {
                0 => stream[at] ^= 1 << rng.random_range(0..8),
                1 => stream.truncate(at.max(1)),
                2 => drop(stream.drain(at..(at + rng.random_range(0..40)).min(stream.len()))),
                3 => {
                    let piece =
                        stream[at..(at + rng.random_range(0..200)).min(stream.len())].to_vec();
                    stream.splice(at..at, piece);
                }
                4 => {
                    let words: [&[u8]; 6] = [
                        b"\r\n\r\n",
                        b"fffffffffffffff\r\n",
                        b"18446744073709551615",
                        b"-1",
                        b"\xff\xef\xbb\xbf",
                        b"[[[[[[[[",
                    ];
                    stream.splice(
                        at..at,
                        words[rng.random_range(0..words.len())].iter().copied(),
                    );
                }
                _ => stream.insert(at, rng.random()),
            }
            if stream.is_empty() {
                break;
            }
        }
        let pieces: Vec<&[u8]> = stream.chunks(rng.random_range(1..200)).collect();
        let api = apis[rng.random_range(0..apis.len())];
        let (told, result) = exchange(api, &pieces, true);
        let ends = told
            .lines
            .iter()
            .filter(|l| l.starts_with("fin") || l.starts_with("failed"))
            .count();
        assert_eq!(ends, 1, "seed {seed}: {result:?} {told:?}");
        assert!(told.summary.chunks <= stream.len() as u64, "seed {seed}");
    }
}
