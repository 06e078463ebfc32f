//! The suite passes a sink that conforms, and finds out each one that does not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lem_record::{
    Check, CheckOutcome, Envelope, ExportError, Exporter, Receipt, Rejected, RunContext, RunStatus,
    Secret, Written,
};
use lem_testkit::conformance::{self, Subject};
use lem_testkit::{FakeServer, Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is wrong with a sink.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    None,
    Appends,
    MakesAnotherRun,
    TellsTheToken,
    ForgetsRetryAfter,
    GivesUpOn503,
    RetriesOn401,
    LosesItsState,
    ChecksByWriting,
    SkipsTheLastOfABatch,
    DiesOfHostileNames,
    LosesWhatIsTooLarge,
}

const TOO_LARGE: &str = "status 413";

/// PUTs records as lines, which the other end keeps by run and number.
struct Sink {
    addr: SocketAddr,
    token: Secret,
    flaw: Flaw,
    run: String,
}

impl Sink {
    async fn send(&self, method: &str, path: &str, body: &[u8]) -> Result<String, ExportError> {
        let path: String = path
            .bytes()
            .map(|b| match b {
                b'/' | b'-' | b'a'..=b'z' | b'0'..=b'9' => char::from(b).to_string(),
                other => format!("%{other:02x}"),
            })
            .collect();
        let retry = |error: std::io::Error| ExportError::retry(format!("cannot send: {error}"));
        let mut stream = tokio::net::TcpStream::connect(self.addr)
            .await
            .map_err(retry)?;
        let token = self.token.expose();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.map_err(retry)?;
        stream.write_all(body).await.map_err(retry)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map_err(retry)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        self.classify(&answer)
    }

    fn classify(&self, answer: &str) -> Result<String, ExportError> {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse::<u16>().ok());
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .find(|(key, _)| *key == name)
                .and_then(|(_, value)| value.parse::<u64>().ok())
        };
        let whole = header("content-length").is_some_and(|length| body.len() as u64 == length);
        match status {
            Some(200) if whole => Ok(body.to_owned()),
            Some(401 | 403) if self.flaw != Flaw::RetriesOn401 => {
                let shown = match self.flaw {
                    Flaw::TellsTheToken => self.token.expose(),
                    _ => "the token",
                };
                Err(ExportError::give_up(
                    format!("{shown} was refused"),
                    "Set SINK_TOKEN",
                ))
            }
            Some(413) => Err(ExportError::give_up(TOO_LARGE, "Split it")),
            Some(503) if self.flaw == Flaw::GivesUpOn503 => {
                Err(ExportError::give_up("it is down", "Wait"))
            }
            _ => Err(ExportError::Retry {
                reason: format!("status {status:?}"),
                after: header("retry-after")
                    .filter(|_| self.flaw != Flaw::ForgetsRetryAfter)
                    .map(Duration::from_secs),
            }),
        }
    }
}

#[async_trait]
impl Exporter for Sink {
    fn name(&self) -> &'static str {
        "sample"
    }

    fn destination(&self) -> String {
        format!("http://{}", self.addr)
    }

    async fn check(&self) -> Check {
        let mut check = Check::default();
        let (method, path) = match self.flaw {
            Flaw::ChecksByWriting => ("PUT", "/probe"),
            _ => ("GET", "/"),
        };
        let outcome = match self.send(method, path, b"probe").await {
            Ok(_) => CheckOutcome::Ok {
                detail: "it answers".into(),
            },
            Err(error) => CheckOutcome::Failed {
                why: error.to_string(),
                remedy: "Start it".into(),
            },
        };
        check.push("reachable", outcome);
        check
    }

    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError> {
        self.run = match state["run"].as_str() {
            Some(known) => known.to_owned(),
            None if self.flaw == Flaw::MakesAnotherRun => self.send("POST", "/runs", b"").await?,
            None => run.run_id.clone(),
        };
        Ok(())
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let last = batch.last().unwrap();
        let method = if self.flaw == Flaw::Appends {
            "POST"
        } else {
            "PUT"
        };
        let mut body = Vec::new();
        for envelope in batch {
            if self.flaw == Flaw::SkipsTheLastOfABatch && batch.len() > 1 && envelope.n == last.n {
                continue;
            }
            if let lem_record::Record::Metric(metric) = &envelope.record
                && self.flaw == Flaw::DiesOfHostileNames
            {
                lem_record::catalogue::find(&metric.id).ok_or_else(|| {
                    ExportError::give_up(format!("no metric {}", metric.id), "Mend it")
                })?;
            }
            let line = serde_json::to_vec(&**envelope)
                .unwrap_or_else(|_| envelope.record.kind().as_bytes().to_vec());
            body.extend_from_slice(format!("{} ", envelope.n).as_bytes());
            body.extend_from_slice(&line);
            body.push(b'\n');
        }
        let path = format!("/runs/{}", self.run);
        let too_large = match self.send(method, &path, &body).await {
            Ok(_) => false,
            Err(ExportError::GiveUp { reason, .. }) if reason == TOO_LARGE => true,
            Err(error) => return Err(error),
        };
        if too_large && self.flaw != Flaw::LosesWhatIsTooLarge {
            let (first, rest) = batch.split_at(batch.len() / 2);
            if !first.is_empty() {
                let mut written = self.write(first).await?;
                let more = self.write(rest).await?;
                written.through = more.through;
                written.rejected.extend(more.rejected);
                return Ok(written);
            }
            return Ok(Written {
                through: last.n,
                rejected: vec![Rejected {
                    n: last.n,
                    reason: "it is too large for the other end".into(),
                }],
                accepted: 0,
            });
        }
        Ok(Written {
            through: last.n,
            rejected: Vec::new(),
            accepted: batch.len() as u64,
        })
    }

    async fn finish(&mut self, status: RunStatus, _: Duration) -> Result<Receipt, ExportError> {
        let path = format!("/runs/{}/status", self.run);
        self.send("PUT", &path, status.as_str().as_bytes()).await?;
        let look_at = Some(format!("http://{}{path}", self.addr));
        Ok(Receipt {
            look_at,
            details: Value::Null,
        })
    }

    fn state(&self) -> Value {
        match self.flaw {
            Flaw::LosesItsState => json!({"run": format!("{}1", self.run)}),
            _ => json!({"run": self.run}),
        }
    }
}

/// Paths, and everything that was put or posted there.
type Store = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

struct Sample {
    server: FakeServer,
    store: Store,
    flaw: Flaw,
}

impl Sample {
    fn new(flaw: Flaw) -> Self {
        let store = Store::default();
        let server = FakeServer::start({
            let store = Arc::clone(&store);
            move |request: &Request| {
                let mut store = store.lock().unwrap();
                let runs = store.len();
                let written = request.text();
                for line in written.lines().filter(|_| request.method != "GET") {
                    let n = line.split(' ').next().unwrap_or_default();
                    let kept = store
                        .entry(format!("{} {n}", request.decoded_path()))
                        .or_default();
                    if request.method == "PUT" {
                        kept.clear();
                    }
                    kept.push(line.to_owned());
                }
                Response::text(200, format!("run-{runs}"))
            }
        });
        Self {
            server,
            store,
            flaw,
        }
    }
}

#[async_trait]
impl Subject for Sample {
    fn exporter(&self) -> Box<dyn Exporter> {
        let token = Secret::new("s3cret-token");
        Box::new(Sink {
            addr: self.server.addr(),
            token,
            flaw: self.flaw,
            run: String::new(),
        })
    }

    async fn remote(&self) -> Vec<String> {
        let store = self.store.lock().unwrap();
        let facts = store
            .iter()
            .flat_map(|(path, bodies)| bodies.iter().map(move |body| format!("{path} {body}")));
        facts.collect()
    }

    fn server(&self) -> Option<&FakeServer> {
        Some(&self.server)
    }

    fn secrets(&self) -> Vec<String> {
        vec!["s3cret-token".to_owned()]
    }
}

#[tokio::test]
async fn a_good_sink_passes() {
    conformance::run(|| Sample::new(Flaw::None)).await;
}

#[tokio::test]
async fn each_flaw_is_found_by_its_check() {
    for (flaw, check) in [
        (Flaw::Appends, "replay"),
        (Flaw::Appends, "crash"),
        (Flaw::Appends, "transient"),
        (Flaw::MakesAnotherRun, "lost-cursor"),
        (Flaw::MakesAnotherRun, "crash"),
        (Flaw::TellsTheToken, "secrets"),
        (Flaw::ForgetsRetryAfter, "retry-after"),
        (Flaw::GivesUpOn503, "transient"),
        (Flaw::RetriesOn401, "permanent"),
        (Flaw::LosesItsState, "state"),
        (Flaw::ChecksByWriting, "check"),
        (Flaw::SkipsTheLastOfABatch, "batch-size"),
        (Flaw::DiesOfHostileNames, "hostile"),
        (Flaw::LosesWhatIsTooLarge, "too-large"),
    ] {
        // a secret is told in the course of another check
        let checks = if check == "secrets" {
            vec!["permanent", check]
        } else {
            vec![check]
        };
        let failures = conformance::examine_for(|| Sample::new(flaw), &checks).await;
        assert!(
            failures.iter().any(|failure| failure.check == check),
            "{flaw:?} should fail {check}, failed {failures:?}"
        );
    }
}

#[test]
fn the_server_speaks_to_a_plain_socket() {
    let sample = Sample::new(Flaw::None);
    let mut stream = TcpStream::connect(sample.server.addr()).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("run-0"), "{answer}");
}
