//! The first record of a run, its id and its folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lem_record::RunStarted;
use rand::Rng as _;
use serde_json::json;

use super::prepare::Prepared;
use crate::command::{Failure, close};
use crate::config::{self, Resolved};
use crate::environment::{self, Environment};
use crate::sinks;

/// lem and its version.
pub fn producer() -> String {
    format!("lem {}", env!("CARGO_PKG_VERSION"))
}

/// Sorts by time, is readable, and differs between machines that start together:
/// `20261124-083000-9f3c2a`.
pub fn new_run_id() -> String {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    format!(
        "{}-{:06x}",
        now.strftime("%Y%m%d-%H%M%S"),
        rand::rng().random_range(0..1_u32 << 24)
    )
}

/// The run's folder under its parent, which is made where it is missing. The folder
/// itself appears together with its log.
pub fn folder(parent: &str, run_id: &str) -> Result<PathBuf, Failure> {
    let made = std::fs::create_dir_all(parent).and_then(|()| Path::new(parent).canonicalize());
    let parent = made.map_err(|error| {
        Failure::failed(format!(
            "the folder of runs {parent} cannot be made: {error}. Choose another with --output"
        ))
    })?;
    Ok(parent.join(run_id))
}

/// The configuration as it was resolved, for people and for the sinks.
pub fn write_config(folder: &Path, resolved: &Resolved) -> Result<(), Failure> {
    let path = folder.join(close::CONFIG);
    let text = config::show(resolved, config::Format::Yaml, true);
    let written = std::fs::create_dir_all(path.parent().unwrap_or(folder))
        .and_then(|()| std::fs::write(&path, text));
    written.map_err(|error| {
        Failure::failed(format!("{} cannot be written: {error}. Free some space, or choose another folder with --output", path.display()))
    })
}

pub fn started(
    name: String,
    resolved: &Resolved,
    prepared: &Prepared,
) -> Result<RunStarted, Failure> {
    let config = &resolved.config;
    let value = |what: serde_json::Result<serde_json::Value>| {
        what.map_err(|error| {
            Failure::failed(format!(
                "the run cannot be described: {error}. Please report it"
            ))
        })
    };
    let mut environment = value(serde_json::to_value(&prepared.environment))?;
    if let Some(map) = environment.as_object_mut() {
        map.insert(
            "dataset".into(),
            value(serde_json::to_value(&prepared.workload.dataset))?,
        );
        map.insert(
            "absent_sensors".into(),
            value(serde_json::to_value(&prepared.absent))?,
        );
    }
    let model = prepared.engine.describe();
    let power_sources = prepared
        .sources
        .iter()
        .filter(|source| source.gives_energy())
        .count();
    Ok(RunStarted {
        format: 1,
        producer: producer(),
        name,
        config: resolved.tree.clone(),
        provenance: resolved.origins.clone(),
        tags: tags(resolved, &prepared.environment),
        boot_id: environment
            .pointer("/host/boot_id")
            .and_then(|id| id.as_str())
            .map(str::to_owned),
        environment,
        pid: std::process::id(),
        sinks: sinks::to_record(config, &resolved.ecosystem)
            .map_err(|e| Failure::usage(e.to_string()))?,
        varying: if power_sources > 1 {
            vec!["hw.id".to_owned()]
        } else {
            Vec::new()
        },
        sources: value(serde_json::to_value(&prepared.sources))?,
        model: value(serde_json::to_value(json!(model)))?,
    })
}

/// `--name`, else the configuration's name, else the model's short name.
pub fn name(given: Option<&str>, config: &config::Config) -> String {
    let model = config.model_name.as_deref().unwrap_or("run");
    let short = model.rsplit(['/', '#', ':']).next().unwrap_or(model);
    given
        .map(str::to_owned)
        .or_else(|| config.config_name.clone())
        .unwrap_or_else(|| short.to_owned())
}

/// Who and where from: what git says of the configuration's folder, under what the CI says
/// of the job, under the user's own tags.
pub(in crate::command) fn tags(
    resolved: &Resolved,
    environment: &Environment,
) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            tags.insert(key.to_owned(), value);
        }
    };
    put("user", super::user(&resolved.ecosystem).map(str::to_owned));
    put(
        "source",
        resolved
            .files
            .first()
            .map(|file| file.display().to_string()),
    );
    let git = environment.config_git.value();
    put("git.commit", git.map(|git| git.commit.clone()));
    put(
        "git.branch",
        git.and_then(|git| git.branch.value().cloned()),
    );
    put(
        "git.remote",
        git.and_then(|git| git.remote.value().cloned()),
    );
    put("backend", Some(resolved.config.backend.as_str().to_owned()));
    put("model", resolved.config.model_name.clone());
    put("note", resolved.config.notes.clone());
    let ecosystem = &resolved.ecosystem;
    tags.extend(environment::ci(|name| {
        ecosystem.get(name).map(str::to_owned)
    }));
    tags.extend(resolved.config.tags.clone());
    tags
}
