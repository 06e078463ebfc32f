//! The file store: a folder in the layout that MLflow's own tools read (with
//! `MLFLOW_ALLOW_FILE_STORE=true` since 3.13) and import (`mlflow migrate-filestore`).
//!
//! ```text
//! ROOT/<experiment>/meta.yaml
//! ROOT/<experiment>/<run>/meta.yaml · params/ · tags/ · metrics/ · artifacts/ · inputs/
//! ROOT/<experiment>/datasets/<id>/meta.yaml
//! ```
//!
//! Ids are made from names, so that a second process finds what the first one made,
//! and two at once make the same. What is a file of its own is replaced whole. A
//! metric's file is appended to: lines that it holds already are not written again,
//! and one that a crash tore is cut off first (see [`history`]).

mod find;
mod history;
mod meta;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lem_record::{Check, CheckOutcome, Envelope, ExportError, Rejected, RunContext};

use crate::artifacts::local;
use crate::encode::{self, Dataset, Plan, Scope, State};
use crate::rest::Remote;
use crate::{MlflowConfig, Target};
use history::History;
use meta::Meta;

/// One run's folder in a store.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    run: PathBuf,
    pub remote: Remote,
    histories: HashMap<String, History>,
}

/// What one batch left in the store.
pub(crate) struct Stored {
    pub accepted: u64,
    pub rejected: Vec<Rejected>,
    pub state: State,
    pub artifacts: Vec<(String, String)>,
}

impl Store {
    pub fn open(
        root: &Path,
        config: &MlflowConfig,
        run: &RunContext,
        known: Option<&Remote>,
    ) -> Result<Self, ExportError> {
        let root = std::path::absolute(root).map_err(|error| failed(root, &error))?;
        let remote = find::open(&root, config, run, known)?;
        let folder = root.join(&remote.experiment_id).join(&remote.run_id);
        Ok(Self {
            root,
            run: folder,
            remote,
            histories: HashMap::new(),
        })
    }

    pub fn folder(&self) -> &Path {
        &self.run
    }

    /// `sent` says whether an artifact of this path and hash is there already.
    pub fn write(
        &mut self,
        scope: &Scope<'_>,
        state: &State,
        batch: &[Arc<Envelope>],
        folder: &Path,
        sent: impl Fn(&str, &str) -> bool,
    ) -> Result<Stored, ExportError> {
        let plan = encode::encode(scope, state, batch);
        let mut stored = Stored {
            accepted: 0,
            rejected: Vec::new(),
            state: State::default(),
            artifacts: Vec::new(),
        };
        let first = batch.first().map_or(0, |envelope| envelope.n);
        self.params(&plan, first, &mut stored)?;
        self.series(&plan, &mut stored)?;
        for dataset in &plan.datasets {
            self.dataset(dataset)
                .map_err(|error| failed(&self.run, &error))?;
            stored.accepted += 1;
        }
        self.files(&plan, scope, folder, sent, &mut stored)?;
        for (key, value) in &plan.tags {
            self.replace(&format!("tags/{key}"), value.as_bytes(), first, &mut stored)?;
        }
        stored.rejected.extend(plan.rejected);
        stored.state = plan.state;
        Ok(stored)
    }

    fn params(&self, plan: &Plan<'_>, n: u64, stored: &mut Stored) -> Result<(), ExportError> {
        for (key, value) in &plan.params {
            let path = self.run.join("params").join(key);
            match std::fs::read(&path) {
                Ok(there) if there == value.as_bytes() => stored.accepted += 1,
                Ok(_) => stored.rejected.push(Rejected {
                    n,
                    reason: format!("the param {key} is there with another value"),
                }),
                Err(_) => self.replace(&format!("params/{key}"), value.as_bytes(), n, stored)?,
            }
        }
        Ok(())
    }

    fn series(&mut self, plan: &Plan<'_>, stored: &mut Stored) -> Result<(), ExportError> {
        for series in &plan.series {
            let path = self.run.join("metrics").join(&series.key);
            let history = match self.histories.get_mut(&series.key) {
                Some(history) => history,
                None => match History::open(&path) {
                    Ok(history) => self.histories.entry(series.key.clone()).or_insert(history),
                    Err(error) if is_name(&error) => {
                        stored
                            .rejected
                            .push(not_a_name(series.n, &series.key, &error));
                        continue;
                    }
                    Err(error) => return Err(failed(&path, &error)),
                },
            };
            let appended = history.append(&path, series);
            stored.accepted += appended.map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }

    fn files(
        &self,
        plan: &Plan<'_>,
        scope: &Scope<'_>,
        folder: &Path,
        sent: impl Fn(&str, &str) -> bool,
        stored: &mut Stored,
    ) -> Result<(), ExportError> {
        let root = match find::artifact_root(&self.remote.artifact_uri) {
            Some(root) => root,
            None => {
                let n = plan
                    .artifacts
                    .first()
                    .map(|(n, _)| *n)
                    .or(plan.tables.first().map(|t| t.0));
                let reason = format!("{} is no folder of this machine", self.remote.artifact_uri);
                stored.rejected.extend(n.map(|n| Rejected { n, reason }));
                return Ok(());
            }
        };
        for (n, table) in &plan.tables {
            let path = root.join(encode::table_path(&table.name));
            match encode::table_body(table) {
                Ok(body) => {
                    meta::replace(&self.run, &path, &body).map_err(|error| failed(&path, &error))?
                }
                Err(error) => stored.rejected.push(Rejected {
                    n: *n,
                    reason: error.to_string(),
                }),
            }
            stored.accepted += 1;
        }
        if !scope.config.upload_artifacts {
            return Ok(());
        }
        for (n, artifact) in &plan.artifacts {
            if sent(&artifact.path, &artifact.sha256) {
                continue;
            }
            match local(folder, &artifact.path) {
                Err(refused) => {
                    stored.rejected.push(Rejected {
                        n: *n,
                        reason: refused.to_string(),
                    });
                }
                Ok((from, _)) => {
                    let to = root.join(encode::artifact_path(&artifact.path));
                    meta::copy(&self.run, &from, &to).map_err(|error| failed(&to, &error))?;
                    stored
                        .artifacts
                        .push((artifact.path.clone(), artifact.sha256.clone()));
                    stored.accepted += 1;
                }
            }
        }
        Ok(())
    }

    /// The dataset beside the runs, and the run's mention of it.
    fn dataset(&self, dataset: &Dataset) -> io::Result<()> {
        let id = find::md5(&[&dataset.name, &dataset.digest]);
        let experiment = self.root.join(&self.remote.experiment_id);
        let place = experiment.join("datasets").join(&id).join("meta.yaml");
        if !place.exists() {
            let mut meta = Meta::default();
            meta.set("digest", dataset.digest.as_str());
            meta.set("name", dataset.name.as_str());
            meta.set("profile", dataset.profile.as_deref());
            meta.set("schema", dataset.schema.as_deref());
            meta.set("source", dataset.source.as_str());
            meta.set("source_type", dataset.source_type.as_str());
            meta.write(&place)?;
        }
        let input = find::md5(&[&id, &self.remote.run_id]);
        let mut meta = Meta::default();
        meta.set("destination_id", id.as_str());
        meta.set("destination_type", "RUN");
        meta.set("source_id", id.as_str());
        meta.set("source_type", "DATASET");
        meta.tags = dataset
            .context
            .iter()
            .cloned()
            .map(|c| ("mlflow.data.context".into(), c))
            .collect();
        meta.write(&self.run.join("inputs").join(input).join("meta.yaml"))
    }

    /// A file of one value. A name that cannot be one is the record's fault, not the disk's.
    fn replace(
        &self,
        name: &str,
        value: &[u8],
        n: u64,
        stored: &mut Stored,
    ) -> Result<(), ExportError> {
        let path = self.run.join(name);
        match meta::replace(&self.run, &path, value) {
            Ok(()) => stored.accepted += 1,
            Err(error) if is_name(&error) => stored.rejected.push(not_a_name(n, name, &error)),
            Err(error) => return Err(failed(&path, &error)),
        }
        Ok(())
    }

    /// `status` as MLflow counts it.
    pub fn finish(&self, status: i64, end_ms: i64, tag: &str) -> Result<(), ExportError> {
        let path = self.run.join("meta.yaml");
        let finish = || -> io::Result<()> {
            let mut meta = Meta::read(&path)?;
            meta.set("status", status);
            meta.set("end_time", end_ms);
            meta.write(&path)?;
            meta::replace(&self.run, &self.run.join("tags/lem.status"), tag.as_bytes())
        };
        finish().map_err(|error| failed(&path, &error))
    }
}

/// Sets one tag of a run that is there.
pub(crate) fn set_tag(
    root: &Path,
    remote: &Remote,
    key: &str,
    value: &str,
) -> Result<(), ExportError> {
    let root = std::path::absolute(root).map_err(|error| failed(root, &error))?;
    let run = root.join(&remote.experiment_id).join(&remote.run_id);
    if !run.join("meta.yaml").exists() {
        return Err(ExportError::give_up(
            format!("the store {} has no run {}", root.display(), remote.run_id),
            "Export it again",
        ));
    }
    let path = run.join("tags").join(key);
    meta::replace(&run, &path, value.as_bytes()).map_err(|error| failed(&path, &error))
}

/// Looks, and writes nothing.
pub(crate) fn check(root: &Path, config: &MlflowConfig) -> Check {
    let mut check = Check::default();
    let absolute = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let near = absolute.ancestors().find(|folder| folder.exists());
    let outcome = match near.map(|folder| (folder, folder.metadata())) {
        Some((folder, Ok(meta))) if !meta.is_dir() => CheckOutcome::Failed {
            why: format!("{} is not a folder", folder.display()),
            remedy: "Set MLFLOW_TRACKING_URI to a folder, or to the address of a server".to_owned(),
        },
        Some((folder, Ok(meta))) if meta.permissions().readonly() => CheckOutcome::Failed {
            why: format!("{} may not be written to", folder.display()),
            remedy: "Set MLFLOW_TRACKING_URI to a folder that you may write to".to_owned(),
        },
        Some((folder, _)) if folder == absolute => CheckOutcome::Ok {
            detail: format!("the store {}", absolute.display()),
        },
        _ => CheckOutcome::Ok {
            detail: format!("{} will be made", absolute.display()),
        },
    };
    check.push("folder", outcome);
    check.push(
        "experiment",
        match find::lookup(&absolute, config) {
            Ok(Some(id)) => CheckOutcome::Ok {
                detail: format!("experiment id {id}"),
            },
            Ok(None) => CheckOutcome::Ok {
                detail: "the experiment will be created".to_owned(),
            },
            Err(ExportError::GiveUp { reason, remedy }) => CheckOutcome::Failed {
                why: reason,
                remedy,
            },
            Err(error) => CheckOutcome::Unknown {
                why: error.to_string(),
            },
        },
    );
    check
}

/// The disk's errors: it may be full now and free later.
fn failed(path: &Path, error: &io::Error) -> ExportError {
    let reason = format!("{} cannot be written: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ExportError::give_up(
                reason,
                "Set MLFLOW_TRACKING_URI to a folder that you may write to, or to a server",
            )
        }
        _ => ExportError::retry(reason),
    }
}

/// A key that is a folder where a file is due, or the other way round.
fn is_name(error: &io::Error) -> bool {
    use io::ErrorKind::{
        AlreadyExists, InvalidFilename, InvalidInput, IsADirectory, NotADirectory,
    };
    matches!(
        error.kind(),
        AlreadyExists | InvalidFilename | InvalidInput | IsADirectory | NotADirectory
    )
}

fn not_a_name(n: u64, name: &str, error: &io::Error) -> Rejected {
    Rejected {
        n,
        reason: format!("{name} cannot be a file of the store: {error}"),
    }
}

impl Target {
    pub(crate) fn root(&self) -> Option<&Path> {
        match self {
            Self::Files(root) => Some(root),
            Self::Server(_) => None,
        }
    }
}
