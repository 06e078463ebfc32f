//! Streams over TLS go the same way.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{closed, go, serve, target};
use lem_client::{Failure, Target};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Answers each request with three tokens, 30 ms apart; returns its port and certificate.
fn tls_server(name: &str) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let session = ServerConnection::new(config).unwrap();
                let mut stream = StreamOwned::new(session, socket.unwrap());
                while answer(&mut stream).is_ok() {}
            });
        }
    });
    (port, made.cert.pem())
}

fn answer(stream: &mut (impl Read + Write)) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    // The client sends its small request at once.
    while !request.ends_with(b"}") {
        match stream.read(&mut buffer)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
    stream.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    let mut event = |json: &str| {
        write!(stream, "{:x}\r\ndata: {json}\n\n\r\n", json.len() + 8)?;
        stream.flush()
    };
    for token in ["a", "b", "c"] {
        thread::sleep(Duration::from_millis(30));
        event(&format!(
            r#"{{"choices":[{{"delta":{{"content":"{token}"}}}}]}}"#
        ))?;
    }
    event(r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"completion_tokens":3}}"#)?;
    event("[DONE]")?;
    stream.write_all(b"0\r\n\r\n")?;
    stream.flush()
}

fn tls_target(port: u16, pem: Option<String>) -> Target {
    let mut target = target(port);
    target.base_url = format!("https://localhost:{port}/v1");
    target.tls.extra_roots_pem = pem;
    target
}

#[test]
fn tokens_with_their_times_over_kept_connections() {
    let (port, pem) = tls_server("localhost");
    let (heard, report) = go(&tls_target(port, Some(pem)), &closed(6, 2));
    for h in &heard {
        assert!(h.is_finished(), "{:?}", h.result);
        assert_eq!((h.text.as_str(), h.summary.output_tokens), ("abc", Some(3)));
        for pair in h.tokens.windows(2) {
            let gap = (pair[1] - pair[0]) as f64 / 1e6;
            assert!((10.0..200.0).contains(&gap), "{gap}");
        }
    }
    assert!(report.reused >= 2, "{report:?}");
}

#[test]
fn certificates_that_are_not_trusted_or_of_another_name() {
    let (port, _) = tls_server("localhost");
    let (heard, report) = go(&tls_target(port, None), &closed(1, 1));
    assert!(
        matches!(heard[0].failure(), Failure::Tls { .. }),
        "{:?}",
        heard[0].failure()
    );
    assert!(
        heard[0].sent.is_empty() && report.bytes_out == 0,
        "nothing was said to a stranger"
    );
    let (port, pem) = tls_server("elsewhere.example");
    let (heard, _) = go(&tls_target(port, Some(pem)), &closed(1, 1));
    assert!(
        matches!(heard[0].failure(), Failure::Tls { why, .. } if why.contains("name")),
        "{:?}",
        heard[0].failure()
    );
}

#[test]
fn a_server_that_speaks_no_tls() {
    let port = serve(|peer| {
        let mut some = [0; 100];
        let _ = peer.socket.read(&mut some);
        peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let (heard, _) = go(&tls_target(port, None), &closed(1, 1));
    assert!(
        matches!(heard[0].failure(), Failure::Tls { .. }),
        "{:?}",
        heard[0].failure()
    );
}
