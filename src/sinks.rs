//! Which sinks this build has, and how a configuration becomes them: the only file
//! that names the sinks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use lem_files::Files;
use lem_record::Exporter;
use serde_json::Value;

use crate::config::{Config, Ecosystem, Owner};

/// Sinks that this build can deliver to, by their name under `integrations`.
pub const BUILT: &[&str] = &[
    #[cfg(feature = "mlflow")]
    "mlflow",
    "files",
];

/// Sinks that the design has and that are not built yet.
pub const LATER: &[&str] = &[
    #[cfg(not(feature = "mlflow"))]
    "mlflow",
    "wandb",
    "prometheus",
    "pushgateway",
    "remote-write",
    "openmetrics",
    "textfile",
    "otlp",
];

/// A sink that cannot be made of its configuration: what, why and the remedy, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SinkErrors(pub Vec<String>);

/// Names of the sinks that the configuration enables, in the order in which they are shown.
pub fn enabled(config: &Config) -> Vec<&'static str> {
    let on = &config.integrations;
    let mut names = Vec::new();
    if on.mlflow.enabled {
        names.push("mlflow");
    }
    if on.files.enabled {
        names.push("files");
    }
    names
}

/// Makes the named sink. `recorded` is what the run's log says of where it was meant
/// to go: what the current configuration and environment leave open is taken from there.
pub fn make(
    name: &str,
    config: &Config,
    ecosystem: &Ecosystem,
    recorded: Option<&Value>,
) -> Result<Box<dyn Exporter>, SinkErrors> {
    match name {
        #[cfg(feature = "mlflow")]
        "mlflow" => {
            let settings = mlflow(config, ecosystem, recorded)?;
            let sink = lem_mlflow::MlflowExporter::new(settings).map_err(told)?;
            Ok(Box::new(sink))
        }
        "files" => Ok(Box::new(Files::new(files(config, recorded)?))),
        later if LATER.contains(&later) => Err(SinkErrors(vec![format!(
            "this version of lem does not deliver to {later} yet. It delivers to: {}",
            BUILT.join(", ")
        )])),
        other => {
            let near = BUILT.iter().map(|s| (strsim::jaro_winkler(s, other), *s));
            let near = near
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .filter(|(likeness, _)| *likeness > 0.7);
            let hint = near
                .map(|(_, name)| format!(" Did you mean {name}?"))
                .unwrap_or_default();
            Err(SinkErrors(vec![format!(
                "there is no sink {other:?}.{hint} This version delivers to: {}",
                BUILT.join(", ")
            )]))
        }
    }
}

/// What the log keeps of each sink, so that the run can be delivered later: no secrets.
pub fn to_record(
    config: &Config,
    ecosystem: &Ecosystem,
) -> Result<BTreeMap<String, Value>, SinkErrors> {
    let mut kept = BTreeMap::new();
    for name in enabled(config) {
        let value = match name {
            #[cfg(feature = "mlflow")]
            "mlflow" => serde_json::to_value(mlflow(config, ecosystem, None)?),
            _ => serde_json::to_value(lem_files::FilesConfig {
                enabled: true,
                path: Some(absolute(files(config, None)?)),
            }),
        };
        kept.insert(name.to_owned(), value.unwrap_or_default());
    }
    Ok(kept)
}

fn files(config: &Config, recorded: Option<&Value>) -> Result<PathBuf, SinkErrors> {
    let settings = lem_files::FilesConfig {
        enabled: true,
        path: config
            .integrations
            .files
            .path
            .clone()
            .or_else(|| Some(recorded?.get("path")?.as_str()?.to_owned()))
            .map(PathBuf::from),
    };
    let wrong = settings.validate();
    match settings.path {
        Some(path) if wrong.is_empty() => Ok(path),
        _ => Err(SinkErrors(
            wrong
                .into_iter()
                .map(|(key, what, remedy)| format!("integrations.files.{key}: {what}. {remedy}"))
                .collect(),
        )),
    }
}

/// A relative path in a log would mean another place elsewhere.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// What the log recorded, under the environment, under the configuration. The
/// configuration holds the environment's part where nothing beat it.
#[cfg(feature = "mlflow")]
fn mlflow(
    config: &Config,
    ecosystem: &Ecosystem,
    recorded: Option<&Value>,
) -> Result<lem_mlflow::MlflowConfig, SinkErrors> {
    let mut settings: lem_mlflow::MlflowConfig = recorded
        .and_then(|recorded| serde_json::from_value(without_secrets(recorded)).ok())
        .unwrap_or_default();
    let variables = ecosystem.part(Owner::Mlflow);
    let credentials = credentials(ecosystem);
    settings
        .apply_environment(|name| variables.lookup(name), credentials.as_deref())
        .map_err(told)?;
    let section = &config.integrations.mlflow;
    settings.enabled = true;
    if let Some(uri) = &section.tracking_uri {
        settings.tracking_uri = Some(uri.expose().to_owned());
    }
    for (given, setting) in [
        (&section.experiment_name, &mut settings.experiment_name),
        (&section.experiment_id, &mut settings.experiment_id),
        (&section.workspace, &mut settings.workspace),
    ] {
        if given.is_some() {
            setting.clone_from(given);
        }
    }
    if let Some(timeout) = section.timeout_s {
        settings.timeout_s = timeout;
    }
    if let Some(upload) = section.upload_artifacts {
        settings.upload_artifacts = upload;
    }
    if let Some(system) = section.system_metrics {
        settings.log_system_metrics = system;
    }
    // A relative store must be found again from elsewhere.
    let local = settings
        .tracking_uri
        .as_deref()
        .filter(|uri| !uri.contains(':'));
    if local.is_some() || settings.tracking_uri.is_none() {
        let path = PathBuf::from(local.unwrap_or("mlruns"));
        settings.tracking_uri = Some(absolute(path).display().to_string());
    }
    Ok(settings)
}

/// A recorded secret is `"***"`: better none than that.
#[cfg(feature = "mlflow")]
fn without_secrets(recorded: &Value) -> Value {
    let mut kept = recorded.clone();
    if let Some(map) = kept.as_object_mut() {
        map.retain(|_, value| value.as_str() != Some("***"));
    }
    kept
}

#[cfg(feature = "mlflow")]
fn credentials(ecosystem: &Ecosystem) -> Option<String> {
    let home = ecosystem.get("HOME")?;
    std::fs::read_to_string(PathBuf::from(home).join(".mlflow/credentials")).ok()
}

#[cfg(feature = "mlflow")]
fn told(errors: Vec<lem_mlflow::ConfigError>) -> SinkErrors {
    SinkErrors(errors.iter().map(ToString::to_string).collect())
}
