//! Where one signal goes, with everything resolved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use lem_record::Secret;

use super::{Compression, ConfigError, OtlpConfig, Protocol, Signal, Transport, shown};

/// One signal's way to its receiver.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub signal: Signal,
    pub address: Address,
    pub compression: Compression,
}

/// A receiver, and how it is reached: signals that have the same one share a connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Address {
    pub protocol: Protocol,
    /// As given: it may hold a password.
    pub base: Secret,
    /// After the base, over HTTP.
    pub path: &'static str,
    pub headers: BTreeMap<String, Secret>,
    pub timeout: Duration,
    pub certificate: Option<PathBuf>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl Address {
    /// For people, without secrets.
    pub fn shown(&self) -> String {
        let base = shown(self.base.expose());
        format!("{}{}", base.trim_end_matches('/'), self.path)
    }
}

/// What a signal sets goes before what is set for all.
fn layered<'a, T>(
    config: &'a OtlpConfig,
    signal: Signal,
    get: impl Fn(&'a Transport) -> Option<T>,
) -> Option<T> {
    get(&config.signal(signal).transport).or_else(|| get(&config.transport))
}

impl Lane {
    pub(super) fn new(config: &OtlpConfig, signal: Signal) -> Result<Self, Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let own = &config.signal(signal).transport;
        let key = |name: &str, is_own: bool| match is_own {
            true => format!("{}.{name}", signal.as_str()),
            false => name.to_owned(),
        };
        let protocol = layered(config, signal, |t| t.protocol).unwrap_or_default();
        let timeout_s = layered(config, signal, |t| t.timeout_s).unwrap_or(10.0);
        if !(timeout_s.is_finite() && (0.001..=86_400.0).contains(&timeout_s)) {
            wrong.push(ConfigError::new(
                key("timeout_s", own.timeout_s.is_some()),
                format!("{timeout_s} is not between 0.001 and 86400 seconds"),
                "Leave it out for 10",
            ));
        }
        let mut headers = config.transport.headers.clone();
        headers.extend(own.headers.clone());
        for name in headers.keys() {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                wrong.push(ConfigError::new(
                    key("headers", own.headers.contains_key(name)),
                    format!("{name:?} is no name of a header"),
                    "Write NAME: VALUE, or NAME=VALUE,NAME=VALUE in OTEL_EXPORTER_OTLP_HEADERS",
                ));
            }
        }
        let client_certificate = layered(config, signal, |t| t.client_certificate.clone());
        let client_key = layered(config, signal, |t| t.client_key.clone());
        if client_key.is_some() && client_certificate.is_none() {
            wrong.push(ConfigError::new(
                key("client_key", own.client_key.is_some()),
                "it needs a client certificate",
                "Set client_certificate (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE), or leave the key out",
            ));
        }
        let insecure = layered(config, signal, |t| t.insecure).unwrap_or(false);
        let endpoint = layered(config, signal, |t| t.endpoint.as_deref());
        let (base, path) = match base(protocol, endpoint, insecure) {
            Ok(base) if protocol == Protocol::Grpc || own.endpoint.is_some() => (base, ""),
            Ok(base) => (base, path(signal)),
            Err((problem, remedy)) => {
                wrong.push(ConfigError::new(
                    key("endpoint", own.endpoint.is_some()),
                    problem,
                    remedy,
                ));
                (String::new(), "")
            }
        };
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            signal,
            address: Address {
                protocol,
                base: Secret::new(base),
                path,
                headers,
                timeout: Duration::try_from_secs_f64(timeout_s).unwrap_or(Duration::MAX),
                certificate: layered(config, signal, |t| t.certificate.clone()),
                client_certificate,
                client_key,
            },
            compression: layered(config, signal, |t| t.compression).unwrap_or_default(),
        })
    }
}

const fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Metrics => "/v1/metrics",
        Signal::Traces => "/v1/traces",
        Signal::Logs => "/v1/logs",
    }
}

fn base(
    protocol: Protocol,
    endpoint: Option<&str>,
    insecure: bool,
) -> Result<String, (String, &'static str)> {
    let default = match protocol {
        Protocol::Http => "http://localhost:4318",
        Protocol::Grpc => "http://localhost:4317",
    };
    let given = endpoint.map_or(default, str::trim);
    let url = match given.contains("://") {
        true => given.to_owned(),
        false if given.is_empty() => {
            return Err((
                "it is empty".to_owned(),
                "Leave it out for the receiver on this machine",
            ));
        }
        false if protocol == Protocol::Grpc && insecure => format!("http://{given}"),
        false if protocol == Protocol::Grpc => format!("https://{given}"),
        false => {
            return Err((
                format!("{} does not begin with http:// or https://", shown(given)),
                "Write http://HOST:4318; over gRPC (protocol: grpc) HOST:4317 is enough",
            ));
        }
    };
    let scheme = url.split("://").next().unwrap_or_default();
    if !matches!(scheme, "http" | "https") {
        return Err((
            format!("{} begins with neither http:// nor https://", shown(&url)),
            "Write http://HOST:4318, over gRPC http://HOST:4317",
        ));
    }
    let Ok(parsed) = url.parse::<http::Uri>() else {
        return Err((
            "it is no address".to_owned(),
            "Write http://HOST:4318, over gRPC http://HOST:4317",
        ));
    };
    let credentials = parsed.authority().is_some_and(|a| a.as_str().contains('@'));
    if protocol == Protocol::Grpc && credentials {
        return Err((
            format!(
                "{} holds a user or a password, which gRPC does not take there",
                shown(&url)
            ),
            "Set the header authorization instead (OTEL_EXPORTER_OTLP_HEADERS)",
        ));
    }
    Ok(url)
}
