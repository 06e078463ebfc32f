use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use lem_http::{Client, Remedies, url_without_secrets};
use lem_record::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ConfigError;
use crate::service::{Reach, shown_url};

/// `integrations.remote-write`: every sample at its own time, into any receiver of
/// Prometheus remote write.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteWriteConfig {
    pub enabled: bool,
    /// The whole address: `http://127.0.0.1:9090/api/v1/write` for Prometheus.
    #[serde(serialize_with = "shown_url")]
    pub url: Option<String>,
    pub protocol: Protocol,
    /// With `password`, for Basic authentication; goes before the token.
    pub username: Option<String>,
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// For Bearer authentication.
    #[schemars(with = "Option<String>")]
    pub token: Option<Secret>,
    /// Sent with every request, such as `X-Scope-OrgID`; taken for secrets.
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// PEM file with the authorities that sign the receiver's certificate.
    pub ca_path: Option<PathBuf>,
    /// PEM file with a client certificate and its private key.
    pub client_cert_path: Option<PathBuf>,
    /// Accept any certificate of the receiver.
    pub insecure_tls: bool,
    /// For one request.
    pub timeout_s: f64,
    /// In one request, at most; a receiver that refuses one for its size gets smaller ones.
    pub max_samples: u32,
}

/// Which version of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// 1.0, which every receiver understands.
    #[default]
    V1,
    /// 2.0 where the receiver proves that it stored what it was sent, else 1.0.
    Auto,
}

impl Default for RemoteWriteConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            url: None,
            protocol: Protocol::V1,
            username: None,
            password: None,
            token: None,
            headers: BTreeMap::new(),
            ca_path: None,
            client_cert_path: None,
            insecure_tls: false,
            timeout_s: 30.0,
            max_samples: 10_000,
        }
    }
}

/// As it is serialised: without secrets.
impl fmt::Debug for RemoteWriteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "RemoteWriteConfig{shown}")
    }
}

pub(super) const ADDRESS_REMEDY: &str = "Check integrations.remote-write.url: it is the whole address, http://HOST:9090/api/v1/write for a Prometheus that was started with --web.enable-remote-write-receiver";

/// Where Prometheus, and whoever stands in for it, takes remote write.
pub(super) const WRITE_PATH: &str = "/api/v1/write";

impl RemoteWriteConfig {
    /// The address up to the path of remote write, and that path.
    pub(super) fn split(&self) -> (Option<&str>, &'static str) {
        let Some(url) = self
            .url
            .as_deref()
            .map(|url| url.trim().trim_end_matches('/'))
        else {
            return (None, "");
        };
        match url.strip_suffix(WRITE_PATH) {
            Some(base) => (Some(base), WRITE_PATH),
            None => (Some(url), ""),
        }
    }

    /// For people, and for the cursor: without secrets.
    pub(super) fn destination(&self) -> String {
        url_without_secrets(self.url.as_deref().unwrap_or_default())
    }

    /// At the address without the path.
    pub(super) fn client(&self) -> Result<Client, Vec<ConfigError>> {
        let client = Reach {
            section: "remote-write",
            url: self.split().0,
            example: "http://127.0.0.1:9090/api/v1/write",
            username: self.username.as_deref(),
            password: self.password.as_ref(),
            token: self.token.as_ref(),
            headers: &self.headers,
            ca_path: self.ca_path.as_ref(),
            client_cert_path: self.client_cert_path.as_ref(),
            insecure_tls: self.insecure_tls,
            timeout_s: self.timeout_s,
            remedies: Remedies {
                credentials: "Set LEM_REMOTE_WRITE_TOKEN, or LEM_REMOTE_WRITE_USERNAME and LEM_REMOTE_WRITE_PASSWORD, to credentials that may write there",
                address: ADDRESS_REMEDY,
                certificate: "Set integrations.remote-write.ca_path to the PEM file of the authority that signed it",
            },
        }
        .client();
        match (client, self.max_samples) {
            (Ok(client), 1..=1_000_000) => Ok(client),
            (client, 1..=1_000_000) => client,
            (client, wrong) => {
                let mut errors = client.err().unwrap_or_default();
                errors.push(ConfigError::new(
                    "remote-write",
                    "max_samples",
                    format!("{wrong} is not between 1 and 1000000"),
                    "Leave it out for 10000",
                ));
                Err(errors)
            }
        }
    }
}
