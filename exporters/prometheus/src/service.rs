//! How pushgateway and remote-write reach their service.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lem_http::{Auth, Client, Config, Remedies, Tls, url_without_secrets};
use lem_record::{Check, CheckOutcome, ExportError, Secret};
use serde::Serialize as _;
use serde::Serializer;

use crate::ConfigError;

/// What both configurations have in common.
pub(crate) struct Reach<'a> {
    /// `integrations.` and this.
    pub section: &'static str,
    pub url: Option<&'a str>,
    /// An address as it might be.
    pub example: &'static str,
    pub username: Option<&'a str>,
    pub password: Option<&'a Secret>,
    pub token: Option<&'a Secret>,
    pub headers: &'a BTreeMap<String, Secret>,
    pub ca_path: Option<&'a PathBuf>,
    pub client_cert_path: Option<&'a PathBuf>,
    pub insecure_tls: bool,
    pub timeout_s: f64,
    pub remedies: Remedies,
}

impl Reach<'_> {
    /// Connects to nothing. All that is wrong is told at once.
    pub fn client(&self) -> Result<Client, Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let error = |key, problem: String, remedy: String| {
            ConfigError::new(self.section, key, problem, remedy)
        };
        if !(self.timeout_s.is_finite() && self.timeout_s > 0.0 && self.timeout_s <= 86_400.0) {
            wrong.push(error(
                "timeout_s",
                format!("{} is not between 0 and 86400 seconds", self.timeout_s),
                "Leave it out for 30".to_owned(),
            ));
        }
        if self.password.is_some() && self.username.is_none() {
            wrong.push(error(
                "password",
                "it needs a username".to_owned(),
                "Set username, or use a token".to_owned(),
            ));
        }
        let Some(url) = self.url.map(str::trim).filter(|url| !url.is_empty()) else {
            wrong.push(error(
                "url",
                "there is no address to send to".to_owned(),
                format!("Set it, for example to {}", self.example),
            ));
            return Err(wrong);
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let auth = match (self.username, self.token) {
            (Some(user), _) => Auth::Basic {
                user: user.to_owned(),
                password: self.password.cloned().unwrap_or_default(),
            },
            (None, Some(token)) => Auth::Bearer(token.clone()),
            (None, None) => Auth::None,
        };
        let headers = self.headers.iter();
        let config = Config {
            auth,
            headers: headers.map(|(k, v)| (k.clone(), v.clone())).collect(),
            timeout: Duration::from_secs_f64(self.timeout_s),
            tls: Tls {
                ca_path: self.ca_path.cloned(),
                client_cert_path: self.client_cert_path.cloned(),
                insecure: self.insecure_tls,
            },
            remedies: self.remedies,
            max_reply_bytes: 1 << 20,
            ..Config::new(url)
        };
        Client::new(config).map_err(|cause| {
            let (problem, remedy) = match cause {
                ExportError::GiveUp { reason, remedy } => (reason, remedy),
                ExportError::Retry { reason, .. } => (reason, String::new()),
            };
            vec![error("url", problem, remedy)]
        })
    }
}

/// An address without the secrets in it, for records.
#[allow(clippy::ref_option)] // serde gives it so
pub(crate) fn shown_url<S: Serializer>(
    url: &Option<String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    url.as_deref()
        .map(url_without_secrets)
        .serialize(serializer)
}

/// Tells a check that something went wrong. `remedy` is for what may pass by itself.
pub(crate) fn failed(check: &mut Check, what: &str, error: ExportError, remedy: &str) {
    let (why, remedy) = match error {
        ExportError::GiveUp { reason, remedy } => (reason, remedy),
        ExportError::Retry { reason, .. } => (reason, remedy.to_owned()),
    };
    check.push(what, CheckOutcome::Failed { why, remedy });
}
