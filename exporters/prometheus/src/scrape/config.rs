use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use lem_record::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// Where the OpenTelemetry specification has a Prometheus endpoint, too.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

/// What `--linger` without a number is, seconds: two intervals of a Prometheus as it comes.
pub const LINGER_S: f64 = 120.0;

/// `integrations.prometheus`: an endpoint that a Prometheus scrapes.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusConfig {
    pub enabled: bool,
    /// `IP:PORT`, or a port of 127.0.0.1. Port 0: one that is free.
    pub address: String,
    /// How long the end of a run waits for one more scrape, seconds. Left out: as
    /// long as the scrapes so far make one likely.
    pub linger_s: Option<f64>,
    /// Serve HTTPS.
    pub tls: ServerTls,
    /// With `password`: whoever scrapes must give both (Basic authentication).
    pub username: Option<String>,
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
}

/// PEM files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate, and those between it and its authority.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            address: DEFAULT_ADDRESS.to_owned(),
            linger_s: None,
            tls: ServerTls::default(),
            username: None,
            password: None,
        }
    }
}

/// As it is serialised: without secrets.
impl fmt::Debug for PrometheusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "PrometheusConfig{shown}")
    }
}

fn error(key: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> ConfigError {
    ConfigError::new("prometheus", key, problem, remedy)
}

impl PrometheusConfig {
    /// Everything that is wrong in itself, at once; else the address.
    pub fn validate(&self) -> Result<SocketAddr, Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let address = parse(&self.address);
        if let Some(linger) = self.linger_s
            && !(0.0..=86_400.0).contains(&linger)
        {
            let problem = format!("{linger} is not between 0 and 86400 seconds");
            wrong.push(error("linger_s", problem, "Leave it out, or give seconds"));
        }
        let (cert, key) = (&self.tls.cert, &self.tls.key);
        for (name, there, other) in [("tls.cert", cert, key), ("tls.key", key, cert)] {
            if there.is_none() && other.is_some() {
                let remedy = "Set both, integrations.prometheus.tls.cert and .key, or neither";
                wrong.push(error(name, "it is missing beside the other", remedy));
            }
        }
        let user = self.username.as_deref().unwrap_or_default();
        let password = self.password.as_ref().is_some_and(|p| !p.is_empty());
        match (user.is_empty(), password) {
            (true, true) => wrong.push(error(
                "username",
                "there is a password but no user",
                "Set it to the user name that the scrape configuration gives in basic_auth",
            )),
            (false, false) => wrong.push(error(
                "password",
                "there is a user name but no password, so everybody could read",
                "Set LEM_PROMETHEUS_PASSWORD, or integrations.prometheus.password_path to a file that holds it",
            )),
            _ if user.contains(':') => wrong.push(error(
                "username",
                "Basic authentication cannot tell a colon in it from its end",
                "Take one without a colon",
            )),
            _ => {}
        }
        match address {
            Ok(address) if wrong.is_empty() => Ok(address),
            Ok(_) => Err(wrong),
            Err(why) => {
                wrong.insert(0, why);
                Err(wrong)
            }
        }
    }

    /// What is allowed but may surprise: the key, what, and what to do.
    pub fn cautions(&self) -> Vec<(&'static str, String, String)> {
        let Ok(address) = parse(&self.address) else {
            return Vec::new();
        };
        if address.ip().is_loopback() {
            return Vec::new();
        }
        let mut cautions = Vec::new();
        if self.username.is_none() {
            cautions.push((
                "address",
                format!("{address} is not of this machine alone: whoever reaches it can read the run's numbers"),
                "Set integrations.prometheus.username and LEM_PROMETHEUS_PASSWORD, or take 127.0.0.1"
                    .to_owned(),
            ));
        } else if self.tls.cert.is_none() {
            cautions.push((
                "tls",
                format!("{address} is not of this machine alone, and the password goes there in clear text"),
                "Set integrations.prometheus.tls.cert and .key".to_owned(),
            ));
        }
        cautions
    }
}

fn parse(text: &str) -> Result<SocketAddr, ConfigError> {
    let text = text.trim();
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let named = text.strip_prefix("localhost:").unwrap_or(text);
    if let Ok(port) = named.parse::<u16>() {
        return Ok(SocketAddr::new(loopback, port));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let remedy = match text.strip_prefix(':') {
        Some(port) if port.parse::<u16>().is_ok() => {
            format!(
                "Write 0.0.0.0:{port} for every interface of this machine, or {port} for 127.0.0.1"
            )
        }
        _ => format!("Write IP:PORT, such as {DEFAULT_ADDRESS}, or only a port"),
    };
    Err(error(
        "address",
        format!("{text:?} is no address to listen on"),
        remedy,
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(address: &str) -> PrometheusConfig {
        PrometheusConfig {
            address: address.into(),
            ..PrometheusConfig::default()
        }
    }

    #[test]
    fn addresses() {
        for (text, address) in [
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("9500", "127.0.0.1:9500"),
            ("localhost:0", "127.0.0.1:0"),
            (" [::1]:9464 ", "[::1]:9464"),
            ("0.0.0.0:80", "0.0.0.0:80"),
        ] {
            assert_eq!(config(text).validate().unwrap().to_string(), address);
        }
        for text in [
            "",
            ":",
            ":x",
            "example.com:9464",
            "1.2.3.4",
            "1.2.3.4:70000",
            "-1",
        ] {
            let wrong = config(text).validate().unwrap_err();
            assert!(wrong[0].remedy.contains("IP:PORT"), "{text}: {}", wrong[0]);
        }
        let wrong = config(":9464").validate().unwrap_err();
        assert!(wrong[0].remedy.contains("0.0.0.0:9464"), "{}", wrong[0]);
    }

    #[test]
    fn all_that_is_wrong_is_told_and_no_secret() {
        let config = PrometheusConfig {
            address: "nowhere".into(),
            linger_s: Some(f64::NAN),
            tls: ServerTls {
                cert: Some("x.pem".into()),
                key: None,
            },
            password: Some(Secret::new("hunter2")),
            ..PrometheusConfig::default()
        };
        let wrong = config.validate().unwrap_err();
        let keys: Vec<_> = wrong.iter().map(|error| error.key).collect();
        assert_eq!(keys, ["address", "linger_s", "tls.key", "username"]);
        assert!(!format!("{wrong:?} {config:?}").contains("hunter2"));
    }

    #[test]
    fn beyond_this_machine_there_are_cautions() {
        assert!(config("127.0.0.1:1").cautions().is_empty());
        assert_eq!(config("0.0.0.0:1").cautions()[0].0, "address");
        let mut asked = config("192.168.0.1:1");
        asked.username = Some("ann".into());
        assert_eq!(asked.cautions()[0].0, "tls");
        asked.tls.cert = Some("x".into());
        assert!(asked.cautions().is_empty());
    }
}
