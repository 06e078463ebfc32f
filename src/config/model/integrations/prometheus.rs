use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An endpoint that a Prometheus scrapes while the run goes on, and once more at its end. The
/// password comes from the environment (`LEM_PROMETHEUS_PASSWORD`) or a file, not from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusSection {
    /// Serve the endpoint (`--prometheus`).
    pub enabled: bool,
    /// `IP:PORT` to listen on, or only a port of 127.0.0.1. Left out: `OTEL_EXPORTER_PROMETHEUS_HOST`
    /// and `…_PORT`, else `127.0.0.1:9464`.
    pub address: Option<String>,
    /// How long the end of the run waits for a scrape of its summary, seconds (`--linger`); it
    /// ends with that scrape. Left out: until the next scrape is due, by the rhythm of those
    /// before, and not at all where nobody scraped.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub linger_s: Option<f64>,
    /// Serve HTTPS.
    pub tls: PrometheusTls,
    /// Ask for this user and the password (basic authentication).
    pub username: Option<String>,
    /// File that holds the password; `LEM_PROMETHEUS_PASSWORD` beats it.
    pub password_path: Option<String>,
}

/// PEM files of the endpoint's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusTls {
    /// The certificate, followed by those between it and its authority.
    pub cert: Option<String>,
    /// Its private key.
    pub key: Option<String>,
}
