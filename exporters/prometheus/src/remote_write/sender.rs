//! One request, and what came of it.

use lem_http::{Client, Reply};
use lem_record::ExportError;

use super::atom::Atom;
use super::body;
use super::config::Protocol;
use super::verdict::Verdict;

const PROTOBUF: &str = "application/x-protobuf";
const PROTOBUF_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
const VERSION: &str = "X-Prometheus-Remote-Write-Version";
/// With which a receiver of version 2.0 says how much it stored. One of 1.0 takes a
/// request of 2.0 for an empty one, says 204, and stores nothing.
const WRITTEN: &str = "X-Prometheus-Remote-Write-Samples-Written";

#[derive(Debug)]
pub(super) struct Sender {
    pub client: Client,
    /// After the client's base.
    pub path: &'static str,
    version: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    /// 2.0 is still to prove itself.
    TryTwo,
    Two,
}

impl Sender {
    pub fn new(client: Client, path: &'static str, protocol: Protocol) -> Self {
        let version = match protocol {
            Protocol::V1 => Version::One,
            Protocol::Auto => Version::TryTwo,
        };
        Self {
            client,
            path,
            version,
        }
    }

    pub const fn speaks(&self) -> &'static str {
        match self.version {
            Version::One => "1.0",
            Version::TryTwo => "2.0, or 1.0 where the receiver does not prove that it stored",
            Version::Two => "2.0",
        }
    }

    pub async fn post(&mut self, atoms: &[&Atom]) -> Result<Verdict, ExportError> {
        if self.version != Version::One
            && let Some(verdict) = self.post_2(atoms).await?
        {
            return Ok(verdict);
        }
        let reply = self.send_1(body::compressed(&body::v1(atoms))).await?;
        self.judged(&reply)
    }

    /// Without samples: the answer to what leaves nothing behind.
    pub async fn post_nothing(&self) -> Result<Reply, ExportError> {
        self.send_1(body::compressed(&body::nothing())).await
    }

    async fn send_1(&self, body: Result<Vec<u8>, snap::Error>) -> Result<Reply, ExportError> {
        self.send(body, PROTOBUF, "0.1.0").await
    }

    async fn send(
        &self,
        body: Result<Vec<u8>, snap::Error>,
        content_type: &'static str,
        version: &str,
    ) -> Result<Reply, ExportError> {
        let body = body.map_err(|error| {
            let reason = format!("a request cannot be compressed: {error}");
            ExportError::give_up(reason, "Lower integrations.remote-write.max_samples")
        })?;
        self.client
            .post(self.path)
            .header("Content-Encoding", "snappy")
            .header(VERSION, version)
            .body(body, content_type)
            .send()
            .await
    }

    /// Nothing where the receiver is to be sent the same by 1.0.
    async fn post_2(&mut self, atoms: &[&Atom]) -> Result<Option<Verdict>, ExportError> {
        let body = body::compressed(&body::v2(atoms));
        let reply = self.send(body, PROTOBUF_2, "2.0.0").await?;
        let sent: usize = atoms.iter().map(|atom| atom.len()).sum();
        let written = reply
            .header(WRITTEN)
            .and_then(|text| text.trim().parse::<usize>().ok());
        match (reply.is_success(), written) {
            (true, Some(written)) if written >= sent => {
                self.version = Version::Two;
                Ok(Some(Verdict::Stored))
            }
            (true, Some(written)) if self.version == Version::Two => Ok(Some(Verdict::Refused(
                format!("{written} of {sent} samples were written"),
            ))),
            // no proof: what was written, if anything was, is written again, identical
            (true, _) => {
                self.version = Version::One;
                Ok(None)
            }
            (false, _) => match self.judged(&reply)? {
                Verdict::OtherVersion | Verdict::Refused(_) if self.version == Version::TryTwo => {
                    self.version = Version::One;
                    Ok(None)
                }
                verdict => Ok(Some(verdict)),
            },
        }
    }

    fn judged(&self, reply: &Reply) -> Result<Verdict, ExportError> {
        let clean = |text: String| self.client.redactor().clean(&text);
        match Verdict::of(reply) {
            Verdict::ByStatus => Err(self.client.error(reply)),
            Verdict::OtherVersion if self.version != Version::TryTwo => {
                Err(self.client.error(reply))
            }
            Verdict::OutOfOrder(said) => Ok(Verdict::OutOfOrder(clean(said))),
            Verdict::TooOld(said) => Ok(Verdict::TooOld(clean(said))),
            Verdict::Refused(said) => Ok(Verdict::Refused(clean(said))),
            verdict => Ok(verdict),
        }
    }
}
