use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use lem_http::{Client, Remedies};
use lem_record::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ConfigError;
use crate::service::{Reach, shown_url};

/// `integrations.pushgateway`: a run's final numbers, for Prometheus to fetch.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushgatewayConfig {
    pub enabled: bool,
    /// `http(s)://HOST:9091[/PREFIX]`.
    #[serde(serialize_with = "shown_url")]
    pub url: Option<String>,
    /// With `password`, for Basic authentication; goes before the token.
    pub username: Option<String>,
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// For Bearer authentication.
    #[schemars(with = "Option<String>")]
    pub token: Option<Secret>,
    /// PEM file with the authorities that sign the gateway's certificate.
    pub ca_path: Option<PathBuf>,
    /// PEM file with a client certificate and its private key.
    pub client_cert_path: Option<PathBuf>,
    /// Accept any certificate of the gateway.
    pub insecure_tls: bool,
    /// For one request.
    pub timeout_s: f64,
}

impl Default for PushgatewayConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            url: None,
            username: None,
            password: None,
            token: None,
            ca_path: None,
            client_cert_path: None,
            insecure_tls: false,
            timeout_s: 30.0,
        }
    }
}

/// As it is serialised: without secrets.
impl fmt::Debug for PushgatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "PushgatewayConfig{shown}")
    }
}

pub(super) const ADDRESS_REMEDY: &str = "Check integrations.pushgateway.url: it is http://HOST:9091 of a running Pushgateway, without /metrics";

impl PushgatewayConfig {
    pub(super) fn client(&self) -> Result<Client, Vec<ConfigError>> {
        Reach {
            section: "pushgateway",
            url: self.url.as_deref(),
            example: "http://127.0.0.1:9091",
            username: self.username.as_deref(),
            password: self.password.as_ref(),
            token: self.token.as_ref(),
            headers: &BTreeMap::new(),
            ca_path: self.ca_path.as_ref(),
            client_cert_path: self.client_cert_path.as_ref(),
            insecure_tls: self.insecure_tls,
            timeout_s: self.timeout_s,
            remedies: Remedies {
                credentials: "Set LEM_PUSHGATEWAY_TOKEN, or LEM_PUSHGATEWAY_USERNAME and LEM_PUSHGATEWAY_PASSWORD, to credentials that may push there",
                address: ADDRESS_REMEDY,
                certificate: "Set integrations.pushgateway.ca_path to the PEM file of the authority that signed it",
            },
        }
        .client()
    }
}
