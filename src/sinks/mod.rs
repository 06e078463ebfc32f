//! Which sinks this build has, and how a configuration becomes them: the only place
//! that names the sinks. One file a sink, one line in [`SINKS`].

mod files;
#[cfg(feature = "mlflow")]
mod mlflow;
#[cfg(all(feature = "mlflow", feature = "otlp"))]
mod mlflow_traces;
#[cfg(feature = "prometheus")]
mod openmetrics;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "prometheus")]
mod prometheus_family;
#[cfg(feature = "prometheus")]
mod pushgateway;
#[cfg(feature = "prometheus")]
mod remote_write;
mod sends;
#[cfg(feature = "prometheus")]
mod textfile;
#[cfg(feature = "wandb")]
mod wandb;

use std::collections::BTreeMap;
use std::path::PathBuf;

use lem_record::Exporter;
use serde_json::Value;

use crate::config::{Config, Ecosystem, Integrations};

pub use sends::{Kind, sends};

/// The sinks of this build, in the order in which they are shown.
const SINKS: &[Sink] = &[
    #[cfg(feature = "mlflow")]
    mlflow::SINK,
    #[cfg(feature = "prometheus")]
    prometheus::SINK,
    #[cfg(feature = "prometheus")]
    pushgateway::SINK,
    #[cfg(feature = "prometheus")]
    remote_write::SINK,
    #[cfg(feature = "prometheus")]
    openmetrics::SINK,
    #[cfg(feature = "prometheus")]
    textfile::SINK,
    #[cfg(feature = "wandb")]
    wandb::SINK,
    #[cfg(all(feature = "mlflow", feature = "otlp"))]
    mlflow_traces::SINK,
    #[cfg(feature = "otlp")]
    otlp::SINK,
    files::SINK,
];

/// Sinks that lem has, and that this build was made without.
pub const ABSENT: &[&str] = &[
    #[cfg(not(feature = "mlflow"))]
    "mlflow",
    #[cfg(not(all(feature = "mlflow", feature = "otlp")))]
    "mlflow-traces",
    #[cfg(not(feature = "wandb"))]
    "wandb",
    #[cfg(not(feature = "prometheus"))]
    "prometheus",
    #[cfg(not(feature = "prometheus"))]
    "pushgateway",
    #[cfg(not(feature = "prometheus"))]
    "remote-write",
    #[cfg(not(feature = "prometheus"))]
    "openmetrics",
    #[cfg(not(feature = "prometheus"))]
    "textfile",
    #[cfg(not(feature = "otlp"))]
    "otlp",
];

/// Sinks that show a sweep as a parent with its points below it; the others get the points only.
const SHOW_SWEEPS: &[&str] = &["mlflow", "wandb", "files"];

pub fn shows_sweeps(name: &str) -> bool {
    SHOW_SWEEPS.contains(&name)
}

struct Sink {
    /// As under `integrations`, and after `--to`.
    name: &'static str,
    enabled: fn(&Integrations) -> bool,
    make: fn(&Sources<'_>) -> Result<Box<dyn Exporter>, SinkErrors>,
    /// What the log keeps of it, so that the run can be delivered later: no secrets.
    record: fn(&Sources<'_>) -> Result<Value, SinkErrors>,
}

/// Where a sink's settings come from.
struct Sources<'a> {
    config: &'a Config,
    ecosystem: &'a Ecosystem,
    /// What the run's log says of where it was meant to go. What the current
    /// configuration and environment leave open is taken from there.
    recorded: Option<&'a Value>,
}

/// A sink that cannot be made of its configuration: what, why and the remedy, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SinkErrors(pub Vec<String>);

/// Names of the sinks that this build can deliver to.
pub fn built() -> Vec<&'static str> {
    SINKS.iter().map(|sink| sink.name).collect()
}

/// Names of the sinks that the configuration enables, in the order in which they are shown.
pub fn enabled(config: &Config) -> Vec<&'static str> {
    let on = |sink: &&Sink| (sink.enabled)(&config.integrations);
    SINKS.iter().filter(on).map(|sink| sink.name).collect()
}

/// Makes the named sink.
pub fn make(
    name: &str,
    config: &Config,
    ecosystem: &Ecosystem,
    recorded: Option<&Value>,
) -> Result<Box<dyn Exporter>, SinkErrors> {
    let sources = Sources {
        config,
        ecosystem,
        recorded,
    };
    match SINKS.iter().find(|sink| sink.name == name) {
        Some(sink) => (sink.make)(&sources),
        None => Err(SinkErrors(vec![unknown(name)])),
    }
}

/// That this build can deliver to a sink of this name.
pub fn require(name: &str) -> Result<(), SinkErrors> {
    match SINKS.iter().any(|sink| sink.name == name) {
        true => Ok(()),
        false => Err(SinkErrors(vec![unknown(name)])),
    }
}

fn unknown(name: &str) -> String {
    let built = built().join(", ");
    if ABSENT.contains(&name) {
        return format!("this build of lem does not deliver to {name}. It delivers to: {built}");
    }
    let near = SINKS
        .iter()
        .map(|sink| (strsim::jaro_winkler(sink.name, name), sink.name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness > 0.7);
    let hint = near
        .map(|(_, name)| format!(" Did you mean {name}?"))
        .unwrap_or_default();
    format!("there is no sink {name:?}.{hint} This build delivers to: {built}")
}

/// What the log keeps of each enabled sink.
pub fn to_record(
    config: &Config,
    ecosystem: &Ecosystem,
) -> Result<BTreeMap<String, Value>, SinkErrors> {
    let sources = Sources {
        config,
        ecosystem,
        recorded: None,
    };
    SINKS
        .iter()
        .filter(|sink| (sink.enabled)(&config.integrations))
        .map(|sink| Ok((sink.name.to_owned(), (sink.record)(&sources)?)))
        .collect()
}

/// A relative path in a log would mean another place elsewhere.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// A recorded secret is `"***"`: better none than that.
#[cfg(any(
    feature = "mlflow",
    feature = "otlp",
    feature = "prometheus",
    feature = "wandb"
))]
fn without_secrets(recorded: &Value) -> Value {
    let mut kept = recorded.clone();
    if let Some(map) = kept.as_object_mut() {
        map.retain(|_, value| value.as_str() != Some("***"));
    }
    kept
}
