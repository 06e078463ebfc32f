//! OTLP over HTTP, in protobuf.

use bytes::Bytes;
use lem_http::{Client, Config, Remedies, Reply, Tls};
use lem_record::ExportError;
use prost::Message as _;

use super::Refusal;
use super::answer::{self, Acknowledged};
use crate::Signal;
use crate::config::Address;

const PROTOBUF: &str = "application/x-protobuf";

#[derive(Clone, Debug)]
pub(super) struct Http {
    pub client: Client,
    path: &'static str,
    pub headers: Vec<(&'static str, String)>,
}

impl Http {
    pub fn new(address: &Address, remedies: Remedies) -> Result<Self, ExportError> {
        let headers = address.headers.iter();
        let client = Client::new(Config {
            headers: headers.map(|(k, v)| (k.clone(), v.clone())).collect(),
            timeout: address.timeout,
            tls: Tls {
                ca_path: address.certificate.clone(),
                client_cert_path: address.client_certificate.clone(),
                ..Tls::default()
            },
            client_key_path: address.client_key.clone(),
            remedies,
            max_reply_bytes: 1 << 20,
            ..Config::new(address.base.expose())
        })?;
        Ok(Self::over(client))
    }

    pub fn over(client: Client) -> Self {
        Self {
            client,
            path: "",
            headers: Vec::new(),
        }
    }

    pub fn at(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    pub async fn send(
        &self,
        signal: Signal,
        body: Bytes,
        gzip: bool,
    ) -> Result<Acknowledged, Refusal> {
        // a message that may have arrived is sent again by delivery, which counts it
        let mut request = self.client.post(self.path).body(body, PROTOBUF).once();
        if gzip {
            request = request.header("content-encoding", "gzip");
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let mut reply = request.send().await?;
        if reply.is_success() {
            return Ok(self.acknowledged(signal, &reply)?);
        }
        if let Some(said) = message(&reply) {
            reply.body = said.into_bytes();
        }
        let said = self.client.redactor().clean(&reply.excerpt());
        let what = format!("{} answered {}: {said}", self.client.base(), reply.status);
        Err(match reply.status {
            413 => Refusal::TooLarge(what),
            400 | 422 => Refusal::Invalid(what),
            415 => Refusal::Error(ExportError::give_up(
                what,
                "The receiver takes no protobuf over HTTP. Set another address, or protocol: grpc",
            )),
            // 408, 429 and every 5xx that may pass is tried again
            _ => Refusal::Error(self.client.error(&reply)),
        })
    }

    /// An answer of another shape means that somebody else answers at this address:
    /// nothing was acknowledged.
    fn acknowledged(&self, signal: Signal, reply: &Reply) -> Result<Acknowledged, ExportError> {
        let kind = reply.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_protobuf = match kind {
            PROTOBUF | "application/protobuf" | "application/octet-stream" => true,
            // an empty message has no bytes
            "" => reply.body.is_empty(),
            _ => false,
        };
        let read = (is_protobuf && !reply.cut).then(|| answer::read(signal, &reply.body));
        read.flatten().ok_or_else(|| {
            let said = self.client.redactor().clean(&reply.excerpt());
            let kind = if kind.is_empty() { "no content type" } else { kind };
            ExportError::retry(format!(
                "{} answered {} to {}, but not as OTLP does ({kind}): {said}; nothing counts as delivered",
                self.client.base(),
                reply.status,
                reply.what,
            ))
        })
    }
}

/// What a `google.rpc.Status` says, where the body is one.
fn message(reply: &Reply) -> Option<String> {
    let kind = reply.header("content-type")?;
    if !kind.contains("protobuf") {
        return None;
    }
    let status = tonic_types::pb::Status::decode(reply.body.as_slice()).ok()?;
    Some(status.message).filter(|message| !message.is_empty())
}
