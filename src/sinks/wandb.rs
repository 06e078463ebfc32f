//! Weights & Biases.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use lem_record::Exporter;
use lem_wandb::{ConfigError, Mode, WandbConfig, WandbExporter};

use super::{Sink, SinkErrors, Sources, absolute, without_secrets};
use crate::config::{Ecosystem, Owner, WandbMode};

pub(super) const SINK: Sink = Sink {
    name: "wandb",
    enabled: |on| on.wandb.enabled && on.wandb.mode != Some(WandbMode::Disabled),
    make,
    record: |sources| Ok(serde_json::to_value(settings(sources)?).unwrap_or_default()),
};

fn make(sources: &Sources<'_>) -> Result<Box<dyn Exporter>, SinkErrors> {
    let sink = WandbExporter::new(settings(sources)?).map_err(told)?;
    Ok(Box::new(sink))
}

/// What the log recorded, under the environment, under the configuration. The
/// configuration holds the environment's part where nothing beat it.
fn settings(sources: &Sources<'_>) -> Result<WandbConfig, SinkErrors> {
    let mut settings: WandbConfig = sources
        .recorded
        .and_then(|recorded| serde_json::from_value(without_secrets(recorded)).ok())
        .unwrap_or_default();
    let section = &sources.config.integrations.wandb;
    // before the environment: by it the key is found in a .netrc
    if let Some(base) = &section.base_url {
        settings.base_url = Some(base.expose().to_owned());
    }
    let variables = sources.ecosystem.part(Owner::Wandb);
    let netrc = netrc(sources.ecosystem);
    let given = |name: &str| match name {
        "WANDB_BASE_URL" if section.base_url.is_some() => None,
        name => variables.lookup(name),
    };
    settings
        .apply_environment(given, netrc.as_deref())
        .map_err(told)?;
    settings.enabled = true;
    if let Some(mode) = section.mode {
        settings.mode = Some(match mode {
            WandbMode::Online => Mode::Online,
            WandbMode::Offline => Mode::Offline,
            WandbMode::Disabled => Mode::Disabled,
        });
    }
    for (given, setting) in [
        (&section.project, &mut settings.project),
        (&section.entity, &mut settings.entity),
        (&section.name, &mut settings.name),
        (&section.notes, &mut settings.notes),
        (&section.group, &mut settings.group),
        (&section.job_type, &mut settings.job_type),
        (&section.run_id, &mut settings.run_id),
        (&section.host, &mut settings.host),
    ] {
        if given.is_some() {
            setting.clone_from(given);
        }
    }
    for tag in &section.tags {
        if !settings.tags.contains(tag) {
            settings.tags.push(tag.clone());
        }
    }
    for (given, setting) in [
        (section.upload_artifacts, &mut settings.upload_artifacts),
        (section.system_metrics, &mut settings.system_metrics),
        (section.heartbeat, &mut settings.heartbeat),
    ] {
        *setting = given.unwrap_or(*setting);
    }
    if let Some(timeout) = section.timeout_s {
        settings.timeout_s = timeout;
    }
    for (given, setting) in [
        (&section.dir, &mut settings.dir),
        (&section.ca_cert_path, &mut settings.ca_cert_path),
    ] {
        if let Some(path) = given {
            *setting = Some(PathBuf::from(path));
        }
        // they must be found again from elsewhere
        *setting = setting.take().map(absolute);
    }
    settings.dir = Some(settings.dir.unwrap_or_else(|| absolute(PathBuf::from("."))));
    settings.terminal = std::io::stderr().is_terminal();
    Ok(settings)
}

fn netrc(ecosystem: &Ecosystem) -> Option<String> {
    let path = match ecosystem.get("NETRC") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(ecosystem.get("HOME")?).join(".netrc"),
    };
    std::fs::read_to_string(path).ok()
}

fn told(errors: Vec<ConfigError>) -> SinkErrors {
    SinkErrors(errors.iter().map(ToString::to_string).collect())
}
