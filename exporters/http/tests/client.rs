#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use lem_http::{Auth, Client, Config};
use lem_record::{ExportError, Secret};
use lem_testkit::{FakeServer, Fault, Response, Rule, Tls};

fn echo() -> FakeServer {
    FakeServer::start(|request| Response::bytes(200, request.body.clone()))
}

fn client(base: &str) -> Client {
    let mut config = Config::new(base);
    config.timeout = Duration::from_millis(500);
    Client::new(config).unwrap()
}

fn reason(error: &ExportError) -> String {
    assert!(matches!(error, ExportError::Retry { .. }), "{error:?}");
    error.to_string()
}

fn given_up(error: &ExportError) -> String {
    assert!(matches!(error, ExportError::GiveUp { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_request_carries_its_parts() {
    let server = echo();
    let mut config = Config::new(format!("{}/prefix/", server.url()));
    config.auth = Auth::Bearer(Secret::new("t0ken"));
    config.headers = vec![("x-workspace".into(), Secret::new("w1"))];
    let client = Client::new(config).unwrap();
    let reply = client
        .post("/a%20b")
        .query("q", "1 & 2")
        .json(&serde_json::json!({"x": 1}))
        .send()
        .await
        .unwrap();
    assert_eq!(reply.body, br#"{"x":1}"#);
    let seen = server.requests().remove(0);
    assert_eq!(seen.path, "/prefix/a%20b");
    assert_eq!(seen.param("q").as_deref(), Some("1 & 2"));
    assert_eq!(seen.header("authorization"), Some("Bearer t0ken"));
    assert_eq!(seen.header("x-workspace"), Some("w1"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert!(seen.header("user-agent").unwrap().starts_with("lem/"));
}

#[tokio::test]
async fn credentials_in_the_address_become_basic_authentication() {
    let server = echo();
    let base = server.url().replace("http://", "http://ann:p%40ss@");
    let client = client(&base);
    client.get("/").send().await.unwrap();
    let sent = server.requests().remove(0);
    assert_eq!(sent.header("authorization"), Some("Basic YW5uOnBAc3M="));
    assert!(!client.base().contains("ann"));
}

#[tokio::test]
async fn no_secret_is_shown() {
    // a server that echoes what it got, as some do
    let server = FakeServer::start(|request| {
        let sent = request.header("authorization").unwrap_or_default();
        Response::text(
            403,
            format!("bad {sent} {}", request.header("x-key").unwrap()),
        )
    });
    let mut config = Config::new(server.url().replace("http://", "http://ann:hunter2@"));
    config.headers = vec![("x-key".into(), Secret::new("s3cr3t"))];
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
    let client = Client::new(config).unwrap();
    let reply = client.get("/x").send().await.unwrap();
    let error = client.error(&reply);
    for shown in [
        format!("{client:?}"),
        format!("{error:?}"),
        given_up(&error),
    ] {
        for secret in ["hunter2", "s3cr3t", "YW5uOmh1bnRlcjI"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    // elsewhere our credentials are not sent
    let url = format!("{}/part?X-Amz-Signature=abc", server.url());
    let elsewhere = client.elsewhere(reqwest::Method::PUT, &url);
    elsewhere.header("x-key", "-").send().await.unwrap();
    assert_eq!(server.requests()[1].header("authorization"), None);
}

#[tokio::test]
async fn a_file_is_streamed_with_its_length() {
    let server = echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("series.bin");
    let content = vec![7_u8; 300_000];
    std::fs::write(&path, &content).unwrap();
    let client = client(&server.url());
    let reply = client
        .put("/f")
        .file(&path, 300_000, "application/x")
        .send()
        .await
        .unwrap();
    assert_eq!(reply.body, content);
    assert_eq!(
        server.requests()[0].header("content-length"),
        Some("300000")
    );

    let gone = client
        .put("/f")
        .file(&folder.path().join("none"), 1, "x")
        .send()
        .await;
    assert!(reason(&gone.unwrap_err()).contains("cannot be read"));
}

#[tokio::test]
async fn a_dead_connection_is_tried_again_once_unless_told_not_to() {
    let server = echo();
    let client = client(&server.url());
    server.script(Rule::new(Fault::Close).times(1));
    client.get("/a").send().await.unwrap();
    assert_eq!(server.request_count(), 2);

    server.script(Rule::new(Fault::Close).times(1));
    let error = client.post("/b").once().send().await.unwrap_err();
    assert!(reason(&error).contains(&server.url()), "{error}");
    assert_eq!(server.request_count(), 3);

    server.script(Rule::new(Fault::Close));
    reason(&client.get("/c").send().await.unwrap_err());
    assert_eq!(server.request_count(), 5);
}

#[tokio::test]
async fn what_goes_wrong_below_http_is_told_in_words() {
    let server = echo();
    let at = client(&server.url());

    server.script(Rule::new(Fault::Hang).times(1));
    let error = at
        .get("/")
        .timeout(Duration::from_millis(50))
        .send()
        .await
        .unwrap_err();
    assert!(
        reason(&error).starts_with("no answer from http://127.0.0.1"),
        "{error}"
    );

    server.script(Rule::new(Fault::Garbage(b"\x00\x01SSH-2.0\r\n\r\n".to_vec())).times(2));
    reason(&at.get("/").send().await.unwrap_err());

    server.script(Rule::new(Fault::TruncateBody(2)).times(1));
    let error = at
        .post("/")
        .body(b"12345".to_vec(), "text/plain")
        .send()
        .await
        .unwrap_err();
    reason(&error);

    // closes where a TLS handshake is due
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = client(&format!("https://{}", listener.local_addr().unwrap()));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
        }
    });
    let error = reason(&mute.get("/").send().await.unwrap_err());
    assert!(error.contains("TLS handshake"), "{error}");
    // answers in plain HTTP, as web servers do
    let plain = client(&server.url().replace("http:", "https:"));
    let error = plain.get("/").send().await.unwrap_err();
    assert!(given_up(&error).contains("does not speak TLS"), "{error}");
    assert!(given_up(&error).contains("is it http://"), "{error}");

    server.go_down();
    let error = reason(&at.get("/").send().await.unwrap_err());
    assert!(
        error.contains("nothing listens at") && !error.contains("os error"),
        "{error}"
    );

    let nowhere = client("http://no-such-host.invalid:1");
    let error = reason(&nowhere.get("/").send().await.unwrap_err());
    assert!(error.contains("cannot be resolved"), "{error}");
}

#[tokio::test]
async fn a_huge_answer_is_not_taken_into_memory() {
    let server = FakeServer::start(|_| Response::bytes(200, vec![b' '; 5 << 20]));
    let mut config = Config::new(server.url());
    config.max_reply_bytes = 1000;
    let reply = Client::new(config).unwrap().get("/").send().await.unwrap();
    assert!(reply.cut);
    assert_eq!(reply.body.len(), 1000);
    assert!(reason(&reply.json::<serde_json::Value>().unwrap_err()).contains("longer than"));
}

#[tokio::test]
async fn each_status_says_what_to_do() {
    for (status, retry) in [
        (302, false),
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (408, true),
        (413, false),
        (429, true),
        (500, true),
        (501, false),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let server = FakeServer::start(move |_| {
            Response::text(status, "because")
                .header("retry-after", "7")
                .header("location", "/y")
        });
        let client = client(&server.url());
        let reply = client.get("/x").send().await.unwrap();
        match client.error(&reply) {
            ExportError::Retry { after, reason } => {
                assert!(retry, "{status}");
                assert_eq!(after, Some(Duration::from_secs(7)));
                assert!(
                    reason.contains("because") && reason.contains("GET /x"),
                    "{reason}"
                );
            }
            ExportError::GiveUp { remedy, .. } => {
                assert!(!retry, "{status}");
                assert!(remedy.len() > 20, "{remedy}");
            }
        }
        // a redirect is not followed
        assert_eq!(server.request_count(), 1);
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_a_remedy() {
    let wrong = |change: fn(&mut Config)| {
        let mut config = Config::new("http://localhost:1");
        change(&mut config);
        given_up(&Client::new(config).unwrap_err())
    };
    for base in ["", "localhost:5000", "ftp://x", "http://", "http://h/?q=1"] {
        let error = given_up(&Client::new(Config::new(base)).unwrap_err());
        assert!(error.contains("address"), "{error}");
    }
    let error = wrong(|c| c.auth = Auth::Bearer(Secret::new("hunter2\n")));
    assert!(
        error.contains("line break") && !error.contains("hunter2"),
        "{error}"
    );
    let error = wrong(|c| c.tls.ca_path = Some("/nonexistent.pem".into()));
    assert!(error.contains("/nonexistent.pem"), "{error}");
    let error =
        wrong(|c| c.tls.client_cert_path = Some(file!().rsplit('/').next().unwrap().into()));
    assert!(error.contains("client.rs"), "{error}");
}

#[tokio::test]
async fn a_certificate_is_trusted_where_it_is_named_and_nowhere_else() {
    let server = echo();
    let tls = Tls::self_signed();
    server.tls(tls.clone());
    let error = client(&server.url()).get("/").send().await.unwrap_err();
    let said = given_up(&error);
    assert!(
        said.contains("certificate") && said.contains(&server.url()),
        "{said}"
    );
    assert_eq!(server.request_count(), 0);

    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("ca.pem");
    std::fs::write(&pem, tls.pem().unwrap()).unwrap();
    let mut config = Config::new(server.url());
    config.tls.ca_path = Some(pem);
    let trusting = Client::new(config).unwrap();
    let reply = trusting.post("/").body("hello", "text/plain").send().await;
    assert_eq!(reply.unwrap().body, b"hello");

    // another certificate at the same address, as a man in the middle has it
    server.tls(Tls::self_signed());
    server.go_down(); // also the connection that stood
    server.come_up();
    let error = trusting.get("/").send().await.unwrap_err();
    assert!(given_up(&error).contains("certificate"), "{error:?}");

    let mut config = Config::new(server.url());
    config.tls.insecure = true;
    let careless = Client::new(config).unwrap();
    assert_eq!(careless.get("/").send().await.unwrap().status, 200);

    server.tls(Tls::Missing);
    server.go_down();
    server.come_up();
    let error = client(&server.url()).get("/").send().await.unwrap_err();
    assert!(given_up(&error).contains("does not speak TLS"), "{error:?}");
}
