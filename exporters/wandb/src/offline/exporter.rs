use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_record::{
    Artifact, Check, Envelope, ExportError, Exporter, Receipt, Rejected, RunContext, RunStatus,
    Written,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::check;
use super::folder::{Folder, Note};
use super::records::{FileKind, Records};
use crate::WandbConfig;
use crate::encode::{self, ArtifactSpec, Base, Item, Plan, RunSettings, Scope, State};
use crate::local;

/// The sink `wandb` where it has no server.
#[derive(Debug)]
pub(crate) struct OfflineExporter {
    config: Arc<WandbConfig>,
    root: PathBuf,
    open: Option<(RunContext, Folder)>,
    mark: Mark,
    /// The marks at the starts of the latest batches: delivery may send one of them again.
    before: VecDeque<Mark>,
}

/// How far the folder has come. It is kept in the cursor file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Mark {
    encoding: State,
    /// Length of the data.
    bytes: u64,
    /// Records in the data.
    records: u64,
}

const MOST_MARKS: usize = 16;
const METADATA: &str = "wandb-metadata.json";

impl OfflineExporter {
    pub fn new(config: Arc<WandbConfig>) -> Self {
        Self {
            root: config.offline_root(),
            config,
            open: None,
            mark: Mark::default(),
            before: VecDeque::new(),
        }
    }

    /// The mark where the batch that begins with record `n` belongs. Records before it
    /// may be missing: delivery leaves out what is thinned away whole.
    fn mark_at(&self, n: u64) -> Result<Mark, ExportError> {
        let known = std::iter::once(&self.mark).chain(&self.before);
        let known = known.filter(|mark| mark.encoding.next <= n);
        match known.max_by_key(|mark| mark.encoding.next) {
            Some(mark) if mark.bytes > 0 || n == 0 => Ok(mark.clone()),
            None if n == 0 => Ok(Mark::default()),
            _ => Err(self.cannot_go_on(&format!("it is not known where record {n} belongs"))),
        }
    }

    fn cannot_go_on(&self, why: &str) -> ExportError {
        let (of, run) = match &self.open {
            Some((run, folder)) => (folder.data(), run.folder.clone()),
            None => (self.root.clone(), PathBuf::new()),
        };
        let cursor = run.join("delivery/wandb.json");
        ExportError::give_up(
            format!("{}: {why}", of.display()),
            format!(
                "Remove {} and export the run to wandb again: it is then written from its first record",
                cursor.display()
            ),
        )
    }
}

#[async_trait]
impl Exporter for OfflineExporter {
    fn name(&self) -> &'static str {
        "wandb"
    }

    fn destination(&self) -> String {
        self.config.destination()
    }

    async fn check(&self) -> Check {
        check::check(&self.root, &self.config)
    }

    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError> {
        // a state that cannot be read is that of another version
        self.mark = serde_json::from_value(state.clone()).unwrap_or_default();
        self.before.clear();
        let id = encode::run_id(&scope(run, &self.config));
        let folder = Folder::of(&self.root, run.started_at, &id);
        let told = |error| disk(&folder, error);
        let note = folder.note().map_err(told)?;
        match &note {
            Some(note) if note.run != run.run_id => {
                return Err(ExportError::give_up(
                    format!("{} holds another run", folder.path.display()),
                    "Set WANDB_DIR to another folder, or WANDB_RUN_ID to another id",
                ));
            }
            Some(_) => {}
            None => {
                let run = run.run_id.clone();
                let finished_before = None;
                let note = Note {
                    run,
                    finished_before,
                };
                folder.set_note(&note).map_err(told)?;
            }
        }
        let length = folder.length().map_err(told)?;
        let reached = self.mark.bytes;
        let finished = note.is_some_and(|note| note.finished_before.is_some());
        // what a crash left behind the mark; a finished run has its end there
        if length.is_some_and(|length| length > reached) && reached > 0 && !finished {
            folder.cut(reached).map_err(told)?;
        }
        self.open = Some((run.clone(), folder));
        if length.unwrap_or(0) < reached {
            let why = format!(
                "it has {} of the {reached} bytes that were written",
                length.unwrap_or(0)
            );
            return Err(self.cannot_go_on(&why));
        }
        Ok(())
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(Written {
                through: self.mark.encoding.next.saturating_sub(1),
                rejected: Vec::new(),
                accepted: 0,
            });
        };
        let before = self.mark_at(first.n)?;
        let Some((run, folder)) = &self.open else {
            return Err(not_open());
        };
        not_uploaded_before(folder, last.n)?;
        let scope = scope(run, &self.config);
        let mut plan = encode::encode(&scope, &before.encoding, batch);
        let settings = encode::run_settings(&scope, &plan.state);
        let mut rejected = std::mem::take(&mut plan.rejected);
        let mut kept = Vec::new();
        for item in &plan.items {
            if let (Item::Artifact(n, artifact), true) = (item, self.config.upload_artifacts) {
                match keep(run, folder, artifact).await? {
                    Ok(found) => kept.push((*n, found)),
                    Err(reason) => rejected.push(Rejected { n: *n, reason }),
                }
            }
        }
        let mut records = Records::at(before.bytes, before.records);
        let accepted = Batch {
            scope: &scope,
            settings: &settings,
            folder,
            kept: &kept,
        };
        let accepted = accepted.write(&before, &plan, &mut records);
        let accepted = accepted.map_err(|error| disk(folder, error))?;
        let after = Mark {
            encoding: plan.state,
            bytes: records.blocks.end(),
            records: records.number,
        };
        self.before
            .retain(|mark| mark.encoding.next != before.encoding.next);
        self.before.push_front(before);
        self.before.truncate(MOST_MARKS);
        self.mark = after;
        Ok(Written {
            through: last.n,
            rejected,
            accepted,
        })
    }

    async fn finish(&mut self, status: RunStatus, _: Duration) -> Result<Receipt, ExportError> {
        let Some((run, folder)) = &self.open else {
            return Err(not_open());
        };
        if self.mark.bytes == 0 {
            return Err(self.cannot_go_on("nothing of the run was written to it"));
        }
        let next = self.mark.encoding.next;
        not_uploaded_before(folder, next.saturating_sub(1))?;
        let mut state = self.mark.encoding.clone();
        state.status = Some(status);
        let scope = scope(run, &self.config);
        let settings = encode::run_settings(&scope, &state);
        let mut records = Records::at(self.mark.bytes, self.mark.records);
        records.config(&settings.config);
        let runtime = state.summary().get("_runtime").and_then(Value::as_f64);
        records.exit(encode::exit_code(status), runtime.unwrap_or_default());
        let note = Note {
            run: run.run_id.clone(),
            finished_before: Some(next),
        };
        let written = folder.append(self.mark.bytes, &records.blocks.bytes);
        written
            .and_then(|()| folder.set_note(&note))
            .map_err(|error| disk(folder, error))?;
        let path = folder.path.display().to_string();
        Ok(Receipt {
            look_at: Some(path.clone()),
            details: json!({
                "project": settings.project,
                "run_id": settings.id,
                "upload": format!("wandb sync {path}"),
            }),
        })
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.mark).unwrap_or(Value::Null)
    }
}

/// Of lem's records alone: what the run has at W&B is not known here.
fn scope<'a>(run: &'a RunContext, config: &'a WandbConfig) -> Scope<'a> {
    Scope {
        run_id: &run.run_id,
        started: &run.started,
        started_at: run.started_at,
        config,
        base: Base::default(),
    }
}

/// An artifact with its content in the folder; or why it is not one to upload.
async fn keep(
    run: &RunContext,
    folder: &Folder,
    artifact: &Artifact,
) -> Result<Result<Kept, String>, ExportError> {
    let (of, from) = (artifact.clone(), run.folder.clone());
    let to = folder.clone();
    let work = tokio::task::spawn_blocking(move || {
        let file = match local::read(&from, &of) {
            Ok(file) => file,
            Err(why) => return Ok(Err(why)),
        };
        let path = to.keep(&file.path, &of.sha256)?;
        Ok(Ok(Kept {
            path: path.display().to_string(),
            bytes: file.bytes,
            md5: file.md5,
        }))
    });
    match work.await {
        Ok(kept) => kept.map_err(|error| disk(folder, error)),
        Err(_) => Err(ExportError::retry("the thread that reads files stopped")),
    }
}

#[derive(Debug)]
struct Kept {
    path: String,
    bytes: u64,
    md5: [u8; 16],
}

/// What is written together.
struct Batch<'a> {
    scope: &'a Scope<'a>,
    settings: &'a RunSettings,
    folder: &'a Folder,
    /// By the numbers of their records.
    kept: &'a [(u64, Kept)],
}

impl Batch<'_> {
    /// Returns when all of it is on the disk; says how many things that were.
    fn write(&self, before: &Mark, plan: &Plan<'_>, records: &mut Records) -> io::Result<u64> {
        let scope = self.scope;
        let mut accepted = 0;
        if before.bytes == 0 {
            // as it begins, whatever comes with it in the same batch
            let settings = encode::run_settings(scope, &State::default());
            records.run(&scope.started.producer, &settings, scope.started_at);
            let metadata = encode::metadata(scope).to_string();
            self.folder.put(METADATA, metadata.as_bytes())?;
            records.file(METADATA, FileKind::Wandb);
            accepted += 1;
        }
        if !plan.defined.is_empty() {
            records.config(&self.settings.config);
        }
        for definition in &plan.defined {
            records.definition(definition);
        }
        for item in &plan.items {
            accepted += 1;
            match item {
                Item::Row(row) => records.row(row),
                Item::Event(event) => records.event(event, scope.started_at),
                Item::Line(line) => records.line(line),
                Item::Table(table) => {
                    self.folder.put(&table.path, &table.bytes)?;
                    records.file(&table.path, FileKind::Media);
                }
                Item::Artifact(n, artifact) => {
                    let Some((_, kept)) = self.kept.iter().find(|(of, _)| of == n) else {
                        accepted -= 1;
                        continue;
                    };
                    let id = &self.settings.id;
                    let spec = ArtifactSpec::new(id, artifact, kept.bytes, kept.md5);
                    records.artifact(&spec, self.settings, kept.path.clone());
                }
            }
        }
        records.summary(&before.encoding.summary(), &plan.state.summary());
        self.folder.append(before.bytes, &records.blocks.bytes)?;
        Ok(accepted)
    }
}

/// Nothing is added to a folder that was uploaded: see the [module](super).
fn not_uploaded_before(folder: &Folder, n: u64) -> Result<(), ExportError> {
    if !folder.is_uploaded() {
        return Ok(());
    }
    let note = folder.note().map_err(|error| disk(folder, error))?;
    let known = note.and_then(|note| note.finished_before).unwrap_or(0);
    if n < known {
        return Ok(());
    }
    let shown = folder.path.display();
    Err(ExportError::give_up(
        format!(
            "{shown} was uploaded by `wandb sync` before the run was complete, and a second sync would double its history"
        ),
        "Deliver the rest online, which doubles nothing: set WANDB_MODE=online and WANDB_API_KEY, and export the run to wandb",
    ))
}

fn disk(folder: &Folder, error: io::Error) -> ExportError {
    let reason = format!("{}: {error}", folder.path.display());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            ExportError::give_up(reason, check::REMEDY)
        }
        _ => ExportError::retry(reason),
    }
}

fn not_open() -> ExportError {
    ExportError::retry("the run's folder is not open")
}
