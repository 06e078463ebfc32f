//! The fake server does what its script says, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lem_testkit::{FakeServer, Fault, Response, Rule, Tls};

fn talk(server: &FakeServer, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server.addr())?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn post(server: &FakeServer, path: &str) -> std::io::Result<String> {
    let head = "content-length: 5\r\nconnection: close\r\n\r\nhello";
    talk(
        server,
        &format!("POST {path} HTTP/1.1\r\nhost: x\r\n{head}"),
    )
}

fn counting() -> (FakeServer, Arc<AtomicUsize>) {
    let handled = Arc::new(AtomicUsize::new(0));
    let server = FakeServer::start({
        let handled = Arc::clone(&handled);
        move |_| {
            handled.fetch_add(1, Ordering::SeqCst);
            Response::text(200, "0123456789")
        }
    });
    (server, handled)
}

#[test]
fn it_records_what_came_and_answers() {
    let server = FakeServer::start(|request| Response::text(200, request.text()));
    let answer = post(&server, "/a%20b?x=1%262&y=a+b").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].decoded_path(), "/a b");
    assert_eq!(requests[0].param("x").as_deref(), Some("1&2"));
    assert_eq!(requests[0].param("y").as_deref(), Some("a b"));
    assert_eq!(requests[0].header("Host"), Some("x"));
}

#[test]
fn a_chunked_body_is_put_together() {
    let server = FakeServer::start(|_| Response::new(204));
    let body = "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
    let head = "PUT /f HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    talk(&server, &format!("{head}{body}")).unwrap();
    assert_eq!(server.requests()[0].body, b"abcde");
}

#[test]
fn a_rule_strikes_where_and_as_often_as_it_says() {
    let (server, handled) = counting();
    let busy = Response::new(429).header("retry-after", "7");
    server.script(Rule::new(Fault::Answer(busy)).path("/b").skip(1).times(1));
    assert!(post(&server, "/a").unwrap().contains(" 200 "));
    assert!(post(&server, "/b").unwrap().contains(" 200 "));
    assert!(post(&server, "/b").unwrap().contains("retry-after: 7"));
    assert!(post(&server, "/b").unwrap().contains(" 200 "));
    assert_eq!(handled.load(Ordering::SeqCst), 3);
    assert_eq!(server.request_count(), 4);
}

#[test]
fn an_applied_fault_loses_the_answer_not_the_work() {
    let (server, handled) = counting();
    server.script(Rule::new(Fault::Close).times(1).applied());
    server.script(Rule::new(Fault::Close).times(1));
    for _ in 0..2 {
        assert_eq!(post(&server, "/").unwrap_or_default(), "");
    }
    assert_eq!(handled.load(Ordering::SeqCst), 1);
}

#[test]
fn it_hangs_cuts_dawdles_and_babbles() {
    let (server, _) = counting();
    for fault in [
        Fault::Hang,
        Fault::CloseAfter(12),
        Fault::TruncateBody(4),
        Fault::SlowBody {
            piece: 4,
            pause: Duration::from_millis(1),
        },
        Fault::Garbage(b"\0\xff".to_vec()),
    ] {
        server.script(Rule::new(fault).times(1));
    }
    let hung = post(&server, "/").unwrap_err();
    assert!(
        matches!(hung.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{hung}"
    );
    assert_eq!(post(&server, "/").unwrap(), "HTTP/1.1 200");
    let cut = post(&server, "/").unwrap();
    assert!(
        cut.contains("content-length: 10\r\n") && cut.ends_with("\r\n\r\n0123"),
        "{cut}"
    );
    assert!(post(&server, "/").unwrap().ends_with("0123456789"));
    assert_eq!(post(&server, "/").unwrap(), "\0\u{fffd}");
}

#[test]
fn its_port_can_be_closed_and_opened_again() {
    let (server, _) = counting();
    server.go_down();
    assert_eq!(
        post(&server, "/").unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    server.come_up();
    assert!(post(&server, "/").unwrap().contains(" 200 "));
}

#[test]
fn a_cut_body_is_announced_as_the_whole() {
    let (server, _) = counting();
    server.script(Rule::new(Fault::CutBody(4)));
    let answer = post(&server, "/").unwrap();
    assert!(answer.contains("content-length: 4\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n0123"), "{answer}");
}

#[test]
fn with_tls_it_speaks_no_plain_http() {
    let (server, handled) = counting();
    assert!(server.url().starts_with("http://"));
    server.tls(Tls::Missing);
    assert!(server.url().starts_with("https://"));
    assert!(post(&server, "/").unwrap().ends_with("0123456789"));
    let tls = Tls::self_signed();
    assert!(
        tls.pem()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    server.tls(tls);
    let answer = post(&server, "/").unwrap_or_default();
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    assert_eq!(handled.load(Ordering::SeqCst), 1);
}
