use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::Address;

/// Prometheus Pushgateway: the run's final numbers, in a group of its own. Secrets come from the
/// environment (`LEM_PUSHGATEWAY_PASSWORD`, `LEM_PUSHGATEWAY_TOKEN`), not from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushgatewaySection {
    /// Push the run's final numbers.
    pub enabled: bool,
    /// `http(s)://HOST:9091`, without `/metrics`.
    pub url: Option<Address>,
    /// User for basic authentication (`LEM_PUSHGATEWAY_USERNAME`).
    pub username: Option<String>,
    /// PEM file with the authorities that sign the gateway's certificate.
    pub ca_path: Option<String>,
    /// PEM file with a client certificate and its private key.
    pub client_cert_path: Option<String>,
    /// Accept any certificate of the gateway. Left out: no.
    pub insecure_tls: Option<bool>,
    /// Longest wait for one answer, seconds. Left out: 30.
    #[schemars(range(min = 0.1, max = 3_600.0))]
    pub timeout_s: Option<f64>,
}
