use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_record::{
    Check, CheckOutcome, Envelope, ExportError, Exporter, Receipt, Rejected, RunContext, RunStatus,
    Written,
};
use serde_json::{Value, json};

use crate::copy;
use crate::encode::{folder_name, is_private, wanted};

const LOG: &str = "records.jsonl";

/// The exporter. While the run goes on it copies the log and the artifacts, at the
/// end everything that is in the run's folder by then.
#[derive(Clone, Debug)]
pub struct Files {
    path: PathBuf,
    run: Option<Run>,
}

#[derive(Clone, Debug)]
struct Run {
    from: PathBuf,
    to: PathBuf,
}

impl Files {
    /// Copies to subfolders of this folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            run: None,
        }
    }

    fn run(&self) -> Result<&Run, ExportError> {
        self.run.as_ref().ok_or_else(|| {
            ExportError::give_up(
                "the files sink was not opened",
                "This is a bug in lem: report it",
            )
        })
    }
}

#[async_trait]
impl Exporter for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    fn destination(&self) -> String {
        std::path::absolute(&self.path)
            .unwrap_or_else(|_| self.path.clone())
            .display()
            .to_string()
    }

    async fn check(&self) -> Check {
        let mut check = Check::default();
        // the folder itself, or the one that it will be made in
        let there = self
            .path
            .ancestors()
            .find(|path| path.exists() && !path.as_os_str().is_empty());
        let there = there.unwrap_or(Path::new("."));
        let outcome = match fs::metadata(there) {
            Ok(meta) if !meta.is_dir() => CheckOutcome::Failed {
                why: format!("{} is a file", there.display()),
                remedy: "Set integrations.files.path to a folder".to_owned(),
            },
            Ok(meta) if meta.permissions().readonly() => CheckOutcome::Failed {
                why: format!("{} may not be written to", there.display()),
                remedy: "Change its permissions, or set integrations.files.path".to_owned(),
            },
            Ok(_) => CheckOutcome::Ok {
                detail: format!("{} is there", there.display()),
            },
            Err(error) => CheckOutcome::Failed {
                why: format!("{}: {error}", there.display()),
                remedy: "Set integrations.files.path to a folder that you may write to".to_owned(),
            },
        };
        check.push("folder", outcome);
        check.push(
            "space",
            CheckOutcome::Unknown {
                why: "how large a run becomes is not known before".to_owned(),
            },
        );
        check
    }

    async fn open(&mut self, run: &RunContext, _state: &Value) -> Result<(), ExportError> {
        let name = folder_name(&run.run_id).ok_or_else(|| {
            let id = &run.run_id;
            ExportError::give_up(
                format!("the run id {id:?} cannot be the name of a folder"),
                "Give the run another --name",
            )
        })?;
        let to = self.path.join(name);
        fs::create_dir_all(&to).map_err(|error| trouble("made", &to, &error))?;
        let real =
            |path: &Path| fs::canonicalize(path).map_err(|error| trouble("found", path, &error));
        let (from, to) = (real(&run.folder)?, real(&to)?);
        if to.starts_with(&from) || from.starts_with(&to) {
            return Err(ExportError::give_up(
                format!("{} and its copy would lie in one another", from.display()),
                "Set integrations.files.path to a folder other than that of the runs",
            ));
        }
        self.run = Some(Run { from, to });
        Ok(())
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let run = self.run()?;
        let (wanted, mut rejected) = wanted(batch.iter().map(|envelope| &**envelope));
        let mut accepted = 0;
        for file in wanted {
            let (from, to) = (run.from.join(&file.path), run.to.join(&file.path));
            let mut reject = |why: String| {
                let reason = format!("artifact {}: {why}", file.path.display());
                rejected.push(Rejected { n: file.n, reason });
            };
            match copy::digest(&from).await {
                Err(error) => reject(format!("cannot be read: {error}")),
                Ok(found) if found != file.sha256 => {
                    reject("the file was changed since the record was written".to_owned());
                }
                Ok(expected) => {
                    let copied = copy::replace(&from, &to).await;
                    let copied = copied.map_err(|error| trouble("written", &to, &error))?;
                    if copied != expected {
                        return Err(ExportError::retry(format!(
                            "{} changed while it was copied",
                            from.display()
                        )));
                    }
                    accepted += 1;
                }
            }
        }
        let last = batch.last().map_or(0, |envelope| envelope.n);
        self.follow_log().await?;
        Ok(Written {
            through: last,
            rejected,
            accepted: accepted + batch.len() as u64,
        })
    }

    async fn finish(&mut self, _: RunStatus, _: Duration) -> Result<Receipt, ExportError> {
        let run = self.run()?;
        let mut files = 0;
        for path in listed(&run.from).map_err(|error| trouble("listed", &run.from, &error))? {
            let (from, to) = (run.from.join(&path), run.to.join(&path));
            match copy::replace(&from, &to).await {
                Ok(_) => files += 1,
                // removed since it was listed
                Err(error) if error.kind() == ErrorKind::NotFound && !from.exists() => {}
                Err(error) => return Err(trouble("written", &to, &error)),
            }
        }
        Ok(Receipt {
            look_at: Some(run.to.display().to_string()),
            details: json!({"files": files}),
        })
    }

    fn state(&self) -> Value {
        Value::Null // the folder itself says what is there
    }
}

impl Files {
    /// Copies the log as far as it consists of whole lines.
    async fn follow_log(&self) -> Result<(), ExportError> {
        let run = self.run()?;
        let (from, to) = (run.from.join(LOG), run.to.join(LOG));
        let upto = whole_lines(&from).map_err(|error| trouble("read", &from, &error))?;
        copy::follow(&from, &to, upto)
            .await
            .map_err(|error| trouble("written", &to, &error))
    }
}

/// Where the last whole line of a file ends.
fn whole_lines(path: &Path) -> io::Result<u64> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs::File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(1 << 16);
        file.seek(SeekFrom::Start(start))?;
        piece.clear();
        file.by_ref().take(end - start).read_to_end(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Regular files of a run's folder that belong to the run, in order. Links are not
/// followed: they may lead anywhere.
fn listed(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        for entry in fs::read_dir(folder.join(&inner))? {
            let entry = entry?;
            let path = inner.join(entry.file_name());
            let kind = entry.file_type()?;
            if is_private(&path) {
                continue;
            }
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// What to do about a failed operation: some pass, some need a person.
fn trouble(doing: &str, path: &Path, error: &io::Error) -> ExportError {
    let reason = format!("{} cannot be {doing}: {error}", path.display());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ExportError::give_up(
            reason,
            "Allow writing there, or set integrations.files.path to another folder",
        ),
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
            ExportError::give_up(
                reason,
                "Move what is in the way, or set integrations.files.path",
            )
        }
        // a full disk, a network file system that is away
        _ => ExportError::retry(reason),
    }
}
