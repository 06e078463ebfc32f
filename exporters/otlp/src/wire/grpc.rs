//! OTLP over gRPC. The messages are encoded already, so that a resend is the same bytes.

use std::error::Error;
use std::sync::Once;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use lem_http::{Redactor, Remedies};
use lem_record::ExportError;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::answer::{self, Acknowledged};
use super::{Refusal, read};
use crate::config::Address;
use crate::{Compression, Signal};

#[derive(Clone)]
pub(super) struct Grpc {
    endpoint: Endpoint,
    shown: String,
    metadata: MetadataMap,
    timeout: Duration,
    remedies: Remedies,
    redactor: Redactor,
}

impl std::fmt::Debug for Grpc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grpc")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

/// A channel: it connects when it is first used, and again where the connection broke.
#[derive(Clone)]
pub(super) struct Open {
    channel: Channel,
    shown: String,
    metadata: MetadataMap,
    timeout: Duration,
    compression: Compression,
    remedies: Remedies,
    pub redactor: Redactor,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open")
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

/// Bytes in, bytes out.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }
}

impl Grpc {
    pub fn new(address: &Address, remedies: Remedies) -> Result<Self, ExportError> {
        static PROVIDER: Once = Once::new();
        // refused only where the program has chosen one already, which then serves
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));

        let shown = address.shown();
        let bad = |error: tonic::transport::Error| {
            ExportError::give_up(
                format!("{shown} cannot be used: {}", chain(&error)),
                remedies.address,
            )
        };
        let base = address.base.expose().trim_end_matches('/').to_owned();
        let secure = base.starts_with("https://");
        let mut endpoint = Endpoint::from_shared(base)
            .map_err(bad)?
            .user_agent(concat!("lem/", env!("CARGO_PKG_VERSION")))
            .map_err(bad)?
            .connect_timeout(Duration::from_secs(10).min(address.timeout));
        if secure {
            let mut tls = ClientTlsConfig::new();
            tls = match &address.certificate {
                Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
                None => tls.with_native_roots(),
            };
            if let Some(path) = &address.client_certificate {
                let certificate = read(path)?;
                // one file may hold both
                let key = match &address.client_key {
                    Some(path) => read(path)?,
                    None => certificate.clone(),
                };
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| {
                ExportError::give_up(
                    format!(
                        "the certificates for {shown} cannot be used: {}",
                        chain(&error)
                    ),
                    "Give PEM files, whose lines begin with -----BEGIN",
                )
            })?;
        }
        let mut redactor = Redactor::default();
        let mut metadata = MetadataMap::new();
        for (name, value) in &address.headers {
            redactor.add(value.expose());
            let refuse = |what: &str| {
                ExportError::give_up(
                    format!("the header {name} {what}"),
                    "Correct it in OTEL_EXPORTER_OTLP_HEADERS, or in the configuration of this sink",
                )
            };
            let key = MetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes())
                .map_err(|_| refuse("has a name that gRPC does not take"))?;
            let mut value = MetadataValue::try_from(value.expose())
                .map_err(|_| refuse("holds a character that gRPC does not take"))?;
            value.set_sensitive(true);
            metadata.insert(key, value);
        }
        Ok(Self {
            endpoint,
            shown,
            metadata,
            timeout: address.timeout,
            remedies,
            redactor,
        })
    }

    pub fn open(&self, compression: Compression) -> Open {
        Open {
            channel: self.endpoint.connect_lazy(),
            shown: self.shown.clone(),
            metadata: self.metadata.clone(),
            timeout: self.timeout,
            compression,
            remedies: self.remedies,
            redactor: self.redactor.clone(),
        }
    }
}

const fn method(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

impl Open {
    pub async fn send(&self, signal: Signal, body: Bytes) -> Result<Acknowledged, Refusal> {
        let late = || {
            let seconds = self.timeout.as_secs_f64();
            ExportError::retry(format!("no answer from {} within {seconds} s", self.shown))
        };
        let answer = tokio::time::timeout(self.timeout, self.call(signal, body))
            .await
            .map_err(|_| late())?
            .map_err(|status| self.refusal(&status))?;
        answer::read(signal, &answer).ok_or_else(|| {
            Refusal::Error(ExportError::retry(format!(
                "{} did not answer as OTLP does; nothing counts as delivered",
                self.shown
            )))
        })
    }

    async fn call(&self, signal: Signal, body: Bytes) -> Result<Bytes, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        if self.compression == Compression::Gzip {
            client = client
                .send_compressed(CompressionEncoding::Gzip)
                .accept_compressed(CompressionEncoding::Gzip);
        }
        client
            .ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        let mut request = tonic::Request::new(body);
        *request.metadata_mut() = self.metadata.clone();
        let path = PathAndQuery::from_static(method(signal));
        let answer = client.unary(request, path, Raw).await?;
        Ok(answer.into_inner())
    }

    /// As the specification of OTLP sorts the codes. What it does not want to see again
    /// but does not blame on the message is tried again nevertheless: the run's deadline
    /// ends that, and nothing is lost.
    fn refusal(&self, status: &Status) -> Refusal {
        if let Some(tls) = find::<rustls::Error>(status) {
            let why = match tls {
                rustls::Error::InvalidCertificate(why) => {
                    format!("the certificate of {} is not trusted: {why}", self.shown)
                }
                other => format!("no TLS connection to {}: {other}", self.shown),
            };
            return Refusal::Error(ExportError::give_up(why, self.remedies.certificate));
        }
        let said = match find::<std::io::Error>(status) {
            Some(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                format!("nothing listens at {} (connection refused)", self.shown)
            }
            _ => {
                let said = beneath(status.message().to_owned(), status);
                let said: String = said.chars().take(300).collect();
                format!("{} answered {:?}: {said}", self.shown, status.code())
            }
        };
        let said = self.redactor.clean(&said);
        let after = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let retry = |reason| Refusal::Error(ExportError::Retry { reason, after });
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                Refusal::Error(ExportError::give_up(said, self.remedies.credentials))
            }
            Code::Unimplemented | Code::NotFound => {
                Refusal::Error(ExportError::give_up(said, self.remedies.address))
            }
            Code::InvalidArgument => Refusal::Invalid(said),
            Code::ResourceExhausted if after.is_none() => Refusal::TooLarge(said),
            Code::OutOfRange if said.contains("too large") => Refusal::TooLarge(said),
            _ => retry(said),
        }
    }
}

/// The text of an error and of those beneath it, each once.
fn chain(error: &dyn Error) -> String {
    beneath(error.to_string(), error)
}

fn beneath(mut text: String, error: &dyn Error) -> String {
    let mut at = error.source();
    while let Some(error) = at {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        at = error.source();
    }
    text
}

/// An error of a kind in the chain. An `io::Error` hides the one that it wraps.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(found) = wrapped.and_then(|inner| find::<T>(inner)) {
            return Some(found);
        }
        at = error.source();
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::OtlpConfig;

    fn open() -> Open {
        let mut config = OtlpConfig::default();
        config.transport.protocol = Some(crate::Protocol::Grpc);
        config
            .transport
            .headers
            .insert("x-key".into(), lem_record::Secret::new("hunter2"));
        let lanes = config.lanes().unwrap();
        Grpc::new(&lanes[0].address, super::super::REMEDIES)
            .unwrap()
            .open(Compression::None)
    }

    #[tokio::test]
    async fn each_code_has_its_consequence() {
        let open = open();
        let refusal = |code: Code, said: &str| open.refusal(&Status::new(code, said));
        for code in [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
            Code::Internal,
            Code::Unknown,
        ] {
            let refusal = refusal(code, "no");
            assert!(
                matches!(
                    &refusal,
                    Refusal::Error(ExportError::Retry { after: None, .. })
                ),
                "{code:?} {refusal:?}"
            );
        }
        for code in [
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
            Code::NotFound,
        ] {
            let refusal = refusal(code, "no hunter2");
            let Refusal::Error(ExportError::GiveUp { reason, remedy }) = refusal else {
                panic!("{code:?} {refusal:?}");
            };
            assert!(remedy.contains("OTEL_EXPORTER_OTLP_"), "{remedy}");
            assert!(!reason.contains("hunter2"), "{reason}");
        }
        assert!(matches!(
            refusal(Code::InvalidArgument, ""),
            Refusal::Invalid(_)
        ));
        assert!(matches!(
            refusal(Code::ResourceExhausted, ""),
            Refusal::TooLarge(_)
        ));
        let large = "decoded message length too large: found 5 bytes";
        assert!(matches!(
            refusal(Code::OutOfRange, large),
            Refusal::TooLarge(_)
        ));
    }

    #[tokio::test]
    async fn the_time_that_the_receiver_names_is_kept() {
        let details = tonic_types::ErrorDetails::with_retry_info(Some(Duration::from_secs(7)));
        for code in [Code::ResourceExhausted, Code::Unavailable] {
            let status = Status::with_error_details(code, "busy", details.clone());
            let refusal = open().refusal(&status);
            let Refusal::Error(ExportError::Retry { after, .. }) = refusal else {
                panic!("{refusal:?}");
            };
            assert_eq!(after, Some(Duration::from_secs(7)));
        }
    }
}
