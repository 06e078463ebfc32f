//! MLflow.

use std::path::PathBuf;

use lem_mlflow::{ConfigError, MlflowConfig, MlflowExporter};
use lem_record::Exporter;

use super::{Sink, SinkErrors, Sources, absolute, without_secrets};
use crate::config::{Ecosystem, Owner};

pub(super) const SINK: Sink = Sink {
    name: "mlflow",
    enabled: |on| on.mlflow.enabled,
    make,
    record: |sources| Ok(serde_json::to_value(settings(sources)?).unwrap_or_default()),
};

fn make(sources: &Sources<'_>) -> Result<Box<dyn Exporter>, SinkErrors> {
    let sink = MlflowExporter::new(settings(sources)?).map_err(told)?;
    Ok(Box::new(sink))
}

/// What the log recorded, under the environment, under the configuration. The
/// configuration holds the environment's part where nothing beat it.
pub(super) fn settings(sources: &Sources<'_>) -> Result<MlflowConfig, SinkErrors> {
    let mut settings: MlflowConfig = sources
        .recorded
        .and_then(|recorded| serde_json::from_value(without_secrets(recorded)).ok())
        .unwrap_or_default();
    let variables = sources.ecosystem.part(Owner::Mlflow);
    let credentials = credentials(sources.ecosystem);
    settings
        .apply_environment(|name| variables.lookup(name), credentials.as_deref())
        .map_err(told)?;
    let section = &sources.config.integrations.mlflow;
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

fn credentials(ecosystem: &Ecosystem) -> Option<String> {
    let home = ecosystem.get("HOME")?;
    std::fs::read_to_string(PathBuf::from(home).join(".mlflow/credentials")).ok()
}

fn told(errors: Vec<ConfigError>) -> SinkErrors {
    SinkErrors(errors.iter().map(ToString::to_string).collect())
}
