use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::Address;

/// Prometheus remote write: every sample at its own time, into any receiver of the protocol.
/// Secrets come from the environment (`LEM_REMOTE_WRITE_PASSWORD`, `LEM_REMOTE_WRITE_TOKEN`,
/// `LEM_REMOTE_WRITE_HEADERS`), not from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWriteSection {
    /// Write the run's samples.
    pub enabled: bool,
    /// The whole address; of a Prometheus that was started with
    /// `--web.enable-remote-write-receiver` it is `http://HOST:9090/api/v1/write`.
    pub url: Option<Address>,
    /// Version of the protocol. Left out: `v1`.
    pub protocol: Option<RemoteWriteProtocol>,
    /// User for basic authentication (`LEM_REMOTE_WRITE_USERNAME`).
    pub username: Option<String>,
    /// PEM file with the authorities that sign the receiver's certificate.
    pub ca_path: Option<String>,
    /// PEM file with a client certificate and its private key.
    pub client_cert_path: Option<String>,
    /// Accept any certificate of the receiver. Left out: no.
    pub insecure_tls: Option<bool>,
    /// Longest wait for one answer, seconds. Left out: 30.
    #[schemars(range(min = 0.1, max = 3_600.0))]
    pub timeout_s: Option<f64>,
    /// Samples in one request, at most. Left out: 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_samples: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RemoteWriteProtocol {
    /// 1.0, which every receiver understands.
    V1,
    /// 2.0 where the receiver proves that it stored what it was sent, else 1.0.
    Auto,
}
