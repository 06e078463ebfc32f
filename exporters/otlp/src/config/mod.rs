//! `integrations.otlp`: the section, its defaults, and what is wrong with it.

mod environment;
mod lane;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use lem_http::url_without_secrets;
use lem_record::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

pub use environment::{VARIABLES, Variable};
pub(crate) use lane::{Address, Lane};

/// Where and how runs go to OpenTelemetry.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OtlpConfig {
    pub enabled: bool,
    /// For all signals, where a signal has none of its own.
    #[serde(flatten)]
    pub transport: Transport,
    pub metrics: SignalConfig,
    pub traces: SignalConfig,
    pub logs: SignalConfig,
    /// `service.name` of the resource, and `job` in Prometheus.
    pub service_name: String,
    /// More attributes of the resource.
    pub resource_attributes: BTreeMap<String, String>,
    pub temporality: Temporality,
    /// Metrics of a cycle or of the run point to its span.
    pub exemplars: bool,
    /// Share of runs whose spans are sent, from 0 to 1; chosen by the run's id.
    pub trace_ratio: f64,
    pub limits: Limits,
    /// Send present values while the run is measured.
    pub live: bool,
    /// Seconds between two of them.
    pub live_interval_s: f64,
    /// For one live request, seconds.
    pub live_timeout_s: f64,
    /// What the environment asked for and does not get.
    #[serde(skip)]
    #[schemars(skip)]
    pub notes: Vec<String>,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            transport: Transport::default(),
            metrics: SignalConfig::default(),
            traces: SignalConfig::default(),
            logs: SignalConfig::default(),
            service_name: "lem".to_owned(),
            resource_attributes: BTreeMap::new(),
            temporality: Temporality::Cumulative,
            exemplars: true,
            trace_ratio: 1.0,
            limits: Limits::default(),
            live: false,
            live_interval_s: 60.0,
            live_timeout_s: 30.0,
            notes: Vec::new(),
        }
    }
}

/// As it is serialised: without secrets.
impl fmt::Debug for OtlpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "OtlpConfig{shown}")
    }
}

/// How to reach a receiver. What is not set is taken from the level above.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Transport {
    /// For all signals: the base, to which `/v1/metrics` and so on are added over HTTP.
    /// For one signal: the whole address. `http://localhost:4318`, over gRPC port 4317,
    /// where it is not set.
    #[serde(serialize_with = "shown_url", skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `http/protobuf` where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Sent with every request. Their values are secrets.
    #[schemars(with = "BTreeMap<String, String>")]
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// `none` where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// For one request; 10 where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// gRPC to an endpoint without `http://` or `https://`: without TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// PEM file of the authorities to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file of our certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
}

/// One of metrics, traces and logs.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SignalConfig {
    pub enabled: bool,
    #[serde(flatten)]
    pub transport: Transport,
}

impl Default for SignalConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            transport: Transport::default(),
        }
    }
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    Metrics,
    Traces,
    Logs,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }

    /// What is counted in this signal's acknowledgements.
    pub const fn items(self) -> &'static str {
        match self {
            Self::Metrics => "data points",
            Self::Traces => "spans",
            Self::Logs => "log records",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    #[default]
    #[serde(rename = "http/protobuf")]
    Http,
    #[serde(rename = "grpc")]
    Grpc,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Gzip,
}

/// What a point of a counter says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// The sum since the run's start.
    #[default]
    Cumulative,
    /// What came since the point before.
    Delta,
    /// As delta, but sampled counters are cumulative.
    LowMemory,
}

/// What is cut from spans and log records, and how many go into one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Characters of an attribute's value.
    pub span_value: Option<usize>,
    pub span_attributes: usize,
    pub span_events: usize,
    pub event_attributes: usize,
    /// Characters of an attribute's value.
    pub log_value: Option<usize>,
    pub log_attributes: usize,
    /// Spans in one request.
    pub span_batch: usize,
    /// Log records in one request.
    pub log_batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            span_value: None,
            span_attributes: 128,
            span_events: 128,
            event_attributes: 128,
            log_value: None,
            log_attributes: 128,
            span_batch: 512,
            log_batch: 512,
        }
    }
}

/// One thing that is wrong with the section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("integrations.{key}: {problem}. {remedy}")]
pub struct ConfigError {
    pub key: String,
    pub problem: String,
    pub remedy: String,
}

impl ConfigError {
    pub(crate) fn new(
        key: impl fmt::Display,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            key: format!("otlp.{key}"),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl OtlpConfig {
    pub fn signal(&self, signal: Signal) -> &SignalConfig {
        match signal {
            Signal::Metrics => &self.metrics,
            Signal::Traces => &self.traces,
            Signal::Logs => &self.logs,
        }
    }

    pub fn signal_mut(&mut self, signal: Signal) -> &mut SignalConfig {
        match signal {
            Signal::Metrics => &mut self.metrics,
            Signal::Traces => &mut self.traces,
            Signal::Logs => &mut self.logs,
        }
    }

    /// Everything that is wrong in itself, at once.
    pub fn validate(&self) -> Vec<ConfigError> {
        self.lanes().err().unwrap_or_default()
    }

    /// The way of each enabled signal.
    pub(crate) fn lanes(&self) -> Result<Vec<Lane>, Vec<ConfigError>> {
        let mut wrong = Vec::new();
        for (key, seconds) in [
            ("live_interval_s", self.live_interval_s),
            ("live_timeout_s", self.live_timeout_s),
        ] {
            if !(seconds.is_finite() && (0.001..=86_400.0).contains(&seconds)) {
                wrong.push(ConfigError::new(
                    key,
                    format!("{seconds} is not between 0.001 and 86400 seconds"),
                    "Leave it out for the default",
                ));
            }
        }
        if !(0.0..=1.0).contains(&self.trace_ratio) {
            wrong.push(ConfigError::new(
                "trace_ratio",
                format!("{} is not a share from 0 to 1", self.trace_ratio),
                "Leave it out to send the spans of every run",
            ));
        }
        let enabled = Signal::ALL.into_iter().filter(|s| self.signal(*s).enabled);
        let mut lanes = Vec::new();
        for signal in enabled {
            match Lane::new(self, signal) {
                Ok(lane) => lanes.push(lane),
                Err(errors) => {
                    // what is wrong for all is told once
                    let new = errors.into_iter().filter(|error| !wrong.contains(error));
                    let new: Vec<_> = new.collect();
                    wrong.extend(new);
                }
            }
        }
        match wrong.is_empty() {
            true => Ok(lanes),
            false => Err(wrong),
        }
    }

    /// Drops the values that a record shows as `"***"`: better none than that.
    pub fn forget_secrets(&mut self) {
        let transports = [
            &mut self.transport,
            &mut self.metrics.transport,
            &mut self.traces.transport,
            &mut self.logs.transport,
        ];
        for transport in transports {
            transport.headers.retain(|_, value| value.expose() != "***");
        }
    }
}

fn shown(url: &str) -> String {
    match url.contains("://") {
        true => url_without_secrets(url),
        // host:port, or something that is wrong anyway
        false => url.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

#[allow(clippy::ref_option)] // serde gives it so
fn shown_url<S: Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_deref().map(shown).serialize(serializer)
}
