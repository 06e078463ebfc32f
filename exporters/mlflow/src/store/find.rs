//! Finding an experiment and a run in a store, or making them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::md5::{Digest, Md5};
use lem_record::{ExportError, RunContext};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failed;
use super::meta::Meta;
use crate::config::Experiment;
use crate::rest::Remote;
use crate::{MlflowConfig, limits};

pub(super) fn md5(parts: &[&str]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

fn file_uri(path: &Path) -> String {
    let path = path.to_string_lossy();
    format!("file://{}", utf8_percent_encode(&path, PLAIN))
}

/// The folder that an artifact URI names, if it is one of this machine.
pub(super) fn artifact_root(uri: &str) -> Option<PathBuf> {
    match uri.starts_with("file:") {
        true => crate::config::file_path(uri).ok(),
        false => Some(PathBuf::from(uri)).filter(|path| path.is_absolute()),
    }
}

pub(super) fn open(
    root: &Path,
    config: &MlflowConfig,
    run: &RunContext,
    known: Option<&Remote>,
) -> Result<Remote, ExportError> {
    let made = make_root(root).map_err(|error| failed(root, &error));
    made?;
    let named = known
        .map(|remote| remote.run_id.as_str())
        .or(config.run_id.as_deref());
    if let Some(id) = named {
        return existing(root, id, known.is_some());
    }
    let experiment = match lookup(root, config)? {
        Some(id) => id,
        None => match config.experiment() {
            Experiment::Name(name) => {
                make_experiment(root, name).map_err(|error| failed(root, &error))?
            }
            Experiment::Id(_) => unreachable_id(root, config)?,
        },
    };
    // one in each experiment: an import refuses the same id twice
    let id = md5(&[&experiment, "lem.run_id=", &run.run_id]);
    let folder = root.join(&experiment).join(&id);
    if !folder.join("meta.yaml").exists() {
        make_run(root, &experiment, &id, config, run).map_err(|error| failed(&folder, &error))?;
    }
    existing(root, &id, true)
}

/// As MLflow makes a root that is not there.
fn make_root(root: &Path) -> io::Result<()> {
    if !root.exists() {
        write_experiment(root, "0", "Default")?;
    }
    fs::create_dir_all(root.join(".trash"))
}

/// The experiment's id; none where it is yet to be made.
pub(super) fn lookup(root: &Path, config: &MlflowConfig) -> Result<Option<String>, ExportError> {
    let trash = root.join(".trash");
    let deleted = |name: &str, id: &str| {
        ExportError::give_up(
            format!(
                "the experiment {name} (id {id}) was deleted in {}",
                root.display()
            ),
            format!(
                "Restore it with `mlflow experiments restore --experiment-id {id}`, or set MLFLOW_EXPERIMENT_NAME to another name"
            ),
        )
    };
    match config.experiment() {
        Experiment::Id(id) => {
            if root.join(id).join("meta.yaml").exists() {
                return Ok(Some(id.to_owned()));
            }
            if trash.join(id).exists() {
                return Err(deleted(id, id));
            }
            unreachable_id(root, config).map(Some)
        }
        Experiment::Name(name) => {
            if let Some(id) = named(root, name).map_err(|error| failed(root, &error))? {
                return Ok(Some(id));
            }
            match named(&trash, name).map_err(|error| failed(root, &error))? {
                Some(id) => Err(deleted(name, &id)),
                None => Ok(None),
            }
        }
    }
}

fn unreachable_id(root: &Path, config: &MlflowConfig) -> Result<String, ExportError> {
    let id = config.experiment_id.as_deref().unwrap_or_default();
    Err(ExportError::give_up(
        format!("the store {} has no experiment {id}", root.display()),
        "Check MLFLOW_EXPERIMENT_ID, or set MLFLOW_EXPERIMENT_NAME instead, which is created where it does not exist",
    ))
}

fn named(folder: &Path, name: &str) -> io::Result<Option<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let Ok(id) = entry.file_name().into_string() else {
            continue;
        };
        // what is broken there is not ours to mend, and is not the one
        let Ok(meta) = Meta::read(&entry.path().join("meta.yaml")) else {
            continue;
        };
        if !id.starts_with('.') && meta.text("name").as_deref() == Some(name) {
            found.push(id);
        }
    }
    found.sort();
    Ok(found.into_iter().next())
}

fn make_experiment(root: &Path, name: &str) -> io::Result<String> {
    if name == "Default" {
        write_experiment(root, "0", name)?;
        return Ok("0".to_owned());
    }
    // 18 digits, as MLflow's own, from the name: two processes make the same one
    let hash = md5(&["experiment=", name]);
    let number = u64::from_str_radix(hash.get(..15).unwrap_or_default(), 16).unwrap_or_default();
    let id = (100_000_000_000_000_000 + number % 900_000_000_000_000_000).to_string();
    write_experiment(root, &id, name)?;
    Ok(id)
}

fn write_experiment(root: &Path, id: &str, name: &str) -> io::Result<()> {
    let folder = root.join(id);
    let now = lem_record::Stamp::now().unix_ms();
    let mut meta = Meta::default();
    meta.set("artifact_location", file_uri(&folder).as_str());
    meta.set("creation_time", now);
    meta.set("experiment_id", id);
    meta.set("last_update_time", now);
    meta.set("lifecycle_stage", "active");
    meta.set("name", name);
    meta.write(&folder.join("meta.yaml"))
}

fn make_run(
    root: &Path,
    experiment: &str,
    id: &str,
    config: &MlflowConfig,
    run: &RunContext,
) -> io::Result<()> {
    let parent = Meta::read(&root.join(experiment).join("meta.yaml"))?;
    let location = parent.text("artifact_location");
    let location = location.unwrap_or_else(|| file_uri(&root.join(experiment)));
    let name = config.run_name.as_ref().unwrap_or(&run.started.name);
    let name: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(limits::RUN_NAME)
        .collect();
    let name = if name.trim().is_empty() {
        run.run_id.as_str()
    } else {
        &name
    };
    let user = run
        .started
        .tags
        .get("user")
        .or_else(|| run.started.tags.get("mlflow.user"));

    let folder = root.join(experiment).join(id);
    for part in ["metrics", "params", "tags", "artifacts"] {
        fs::create_dir_all(folder.join(part))?;
    }
    super::meta::replace(
        &folder,
        &folder.join("tags/mlflow.runName"),
        name.as_bytes(),
    )?;
    super::meta::replace(
        &folder,
        &folder.join("tags/lem.run_id"),
        run.run_id.as_bytes(),
    )?;
    let mut meta = Meta::default();
    meta.set(
        "artifact_uri",
        format!("{}/{id}/artifacts", location.trim_end_matches('/')).as_str(),
    );
    meta.set("deleted_time", None::<&str>);
    meta.set("end_time", None::<&str>);
    meta.set("entry_point_name", "");
    meta.set("experiment_id", experiment);
    meta.set("lifecycle_stage", "active");
    meta.set("run_id", id);
    meta.set("run_name", name);
    meta.set("source_name", "");
    meta.set("source_type", 4);
    meta.set("source_version", "");
    meta.set("start_time", run.started_at.unix_ms().max(1));
    meta.set("status", 1);
    meta.set("user_id", user.map_or("", String::as_str));
    // last: by it a run is one
    meta.write(&folder.join("meta.yaml"))
}

fn existing(root: &Path, id: &str, ours: bool) -> Result<Remote, ExportError> {
    let other = match ours {
        true => {
            "or delete delivery/mlflow.json in the run's folder and set another experiment to export it again"
        }
        false => "or unset MLFLOW_RUN_ID",
    };
    let entries = fs::read_dir(root).map_err(|error| failed(root, &error))?;
    for entry in entries.flatten() {
        let path = entry.path().join(id).join("meta.yaml");
        if !path.exists() {
            continue;
        }
        let meta = Meta::read(&path).map_err(|error| {
            ExportError::give_up(
                format!("{} cannot be read: {error}", path.display()),
                "Mend or remove it",
            )
        })?;
        if meta.text("lifecycle_stage").as_deref() == Some("deleted") {
            return Err(ExportError::give_up(
                format!("the run {id} was deleted in {}", root.display()),
                format!("Restore it with `mlflow runs restore --run-id {id}`, {other}"),
            ));
        }
        let experiment = entry.file_name().to_string_lossy().into_owned();
        let local = file_uri(&entry.path().join(id).join("artifacts"));
        return Ok(Remote {
            run_id: id.to_owned(),
            experiment_id: experiment,
            artifact_uri: meta.text("artifact_uri").unwrap_or(local),
        });
    }
    Err(ExportError::give_up(
        format!("the store {} has no run {id}", root.display()),
        format!("Check MLFLOW_TRACKING_URI, {other}"),
    ))
}
