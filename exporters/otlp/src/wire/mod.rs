//! One message to a receiver, and what it said.

mod answer;
mod grpc;
mod http;

use std::io::Write as _;
use std::path::Path;

use bytes::Bytes;
use flate2::GzBuilder;
use lem_http::{Client, Redactor, Remedies};
use lem_record::ExportError;

use crate::config::{Address, Lane};
use crate::{Compression, Protocol, Signal};

pub(crate) use answer::Acknowledged;

/// Why a message was not acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// Half of it may pass.
    TooLarge(String),
    /// Something in it is not to the receiver's liking; the rest may pass alone.
    Invalid(String),
    Error(ExportError),
}

impl From<ExportError> for Refusal {
    fn from(error: ExportError) -> Self {
        Self::Error(error)
    }
}

pub(crate) const REMEDIES: Remedies = Remedies {
    credentials: "Set the header that the receiver wants in OTEL_EXPORTER_OTLP_HEADERS (authorization=Bearer%20TOKEN)",
    address: "Check OTEL_EXPORTER_OTLP_ENDPOINT (integrations.otlp.endpoint), and whether the protocol is http/protobuf (port 4318) or grpc (port 4317)",
    certificate: "Set OTEL_EXPORTER_OTLP_CERTIFICATE to the PEM file of the authority that signed it",
};

/// A signal's way, with its certificates read; connected to nothing.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub signal: Signal,
    pub shown: String,
    compression: Compression,
    remedies: Remedies,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Http(Box<http::Http>),
    Grpc(Box<grpc::Grpc>),
}

/// A way that is open. It belongs to the runtime in which it was opened.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub signal: Signal,
    pub shown: String,
    compression: Compression,
    remedies: Remedies,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Http(http::Http),
    Grpc(grpc::Open),
}

impl Wire {
    /// Signals with the same receiver share what they can.
    pub fn all(lanes: &[Lane], remedies: Remedies) -> Result<Vec<Self>, ExportError> {
        let mut made: Vec<(Address, Way)> = Vec::new();
        let mut wires = Vec::new();
        for lane in lanes {
            let address = &lane.address;
            let base = Address {
                path: "",
                ..address.clone()
            };
            let known = made.iter().find(|(known, _)| *known == base);
            let way = match known {
                Some((_, way)) => way.clone(),
                None => {
                    let way = match address.protocol {
                        Protocol::Http => Way::Http(Box::new(http::Http::new(&base, remedies)?)),
                        Protocol::Grpc => Way::Grpc(Box::new(grpc::Grpc::new(&base, remedies)?)),
                    };
                    made.push((base, way.clone()));
                    way
                }
            };
            wires.push(Self {
                signal: lane.signal,
                shown: address.shown(),
                compression: lane.compression,
                remedies,
                way: match way {
                    Way::Http(http) => Way::Http(Box::new(http.at(address.path))),
                    grpc => grpc,
                },
            });
        }
        Ok(wires)
    }

    /// The traces' way over a client that is there.
    pub fn traces(client: Client, path: &'static str, remedies: Remedies) -> Self {
        Self {
            signal: Signal::Traces,
            shown: format!("{}{path}", client.base()),
            compression: Compression::Gzip,
            remedies,
            way: Way::Http(Box::new(http::Http::over(client).at(path))),
        }
    }

    /// Within the runtime that will send.
    pub fn open(&self) -> Line {
        Line {
            signal: self.signal,
            shown: self.shown.clone(),
            compression: self.compression,
            remedies: self.remedies,
            kind: match &self.way {
                Way::Http(http) => Kind::Http((**http).clone()),
                Way::Grpc(grpc) => Kind::Grpc(grpc.open(self.compression)),
            },
        }
    }
}

impl Line {
    /// More headers with every request, over HTTP.
    pub fn with_headers(mut self, headers: &[(&'static str, String)]) -> Self {
        if let Kind::Http(http) = &mut self.kind {
            http.headers.extend_from_slice(headers);
        }
        self
    }

    pub async fn send(&self, body: &[u8]) -> Result<Acknowledged, Refusal> {
        match &self.kind {
            Kind::Http(http) => {
                let gzip = self.compression == Compression::Gzip;
                let body = match gzip {
                    true => compressed(body)?,
                    false => Bytes::copy_from_slice(body),
                };
                http.send(self.signal, body, gzip).await
            }
            Kind::Grpc(open) => open.send(self.signal, Bytes::copy_from_slice(body)).await,
        }
    }

    pub fn remedies(&self) -> &Remedies {
        &self.remedies
    }

    pub fn redactor(&self) -> &Redactor {
        match &self.kind {
            Kind::Http(http) => http.client.redactor(),
            Kind::Grpc(open) => &open.redactor,
        }
    }
}

/// The same bytes each time: without a time in the header.
fn compressed(body: &[u8]) -> Result<Bytes, ExportError> {
    let mut writer = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), flate2::Compression::default());
    let done = writer.write_all(body).and_then(|()| writer.finish());
    done.map(Bytes::from)
        .map_err(|error| ExportError::retry(format!("a message cannot be compressed: {error}")))
}

fn read(path: &Path) -> Result<Vec<u8>, ExportError> {
    std::fs::read(path).map_err(|error| {
        ExportError::give_up(
            format!(
                "the certificate file {} cannot be read: {error}",
                path.display()
            ),
            "Correct its path in the configuration of this sink",
        )
    })
}
