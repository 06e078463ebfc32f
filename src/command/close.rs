//! The end of a run: analysis into the log, and the files made of it.
//!
//! The same for a run that ends and for one that was killed and is closed by
//! whoever looks at it next.

use std::io::Read as _;
use std::path::Path;

use lem_delivery::{Outcome, RECORDS_FILE, Spool};
use lem_record::{Artifact, ArtifactKind, Record, Recorder as _, RunFinished, RunStatus, Seal};
use sha2::{Digest as _, Sha256};

use super::Failure;
use crate::analysis::{self, Analysis, RunData};
use crate::results::{self, RunResult, store};

/// Appends metrics, tables, artifacts and the end to the log. The configuration and
/// the series are files by then; `artifacts/result.json` is the result without its
/// deliveries, which nobody can know before they happen. Gives the analysis.
pub fn close(
    spool: &Spool,
    status: RunStatus,
    reason: Option<String>,
) -> Result<Analysis, Failure> {
    let folder = spool.folder();
    let data = read(folder)?.with_status(status, reason.clone());
    let analysis = analysis::analyse(&data);
    let records = analysis::records(&data, &analysis);
    for record in records {
        spool.record(record);
    }
    let mut artifacts = Vec::new();
    if folder.join(CONFIG).exists() {
        artifacts.push((CONFIG, ArtifactKind::Config));
    }
    if folder.join(crate::engine::server::LOG).exists() {
        artifacts.push((crate::engine::server::LOG, ArtifactKind::Log));
    }
    store::write_series(folder, &data).map_err(|e| Failure::failed(e.to_string()))?;
    artifacts.push((store::SERIES_FILE, ArtifactKind::Series));
    let result = results::build(&data, &analysis, Vec::new(), folder);
    write_snapshot(folder, &result)?;
    artifacts.push((RESULT, ArtifactKind::Result));
    for (path, kind) in artifacts {
        let (sha256, bytes) =
            hash(&folder.join(path)).map_err(|error| cannot(folder, path, &error))?;
        spool.record(Record::Artifact(Artifact {
            path: path.to_owned(),
            artifact: kind,
            sha256,
            bytes,
        }));
    }
    let log = |error| cannot(folder, RECORDS_FILE, &error);
    // Everything but the seal itself and the end is under the seal.
    spool.commit().map_err(log)?;
    let (sha256, bytes) = hash(&folder.join(RECORDS_FILE)).map_err(log)?;
    spool.record(Record::Seal(Seal { sha256, bytes }));
    spool.record(Record::RunFinished(RunFinished {
        status,
        reason,
        analysis: analysis::VERSION,
    }));
    spool.commit().map_err(log)?;
    Ok(analysis)
}

/// The configuration as it was resolved.
pub const CONFIG: &str = "artifacts/config.yaml";
/// The result as the sinks get it.
const RESULT: &str = "artifacts/result.json";

/// Closes a run whose process died: reads the rest, marks it as killed.
pub fn close_killed(folder: &Path) -> Result<(), Failure> {
    let (spool, _) = Spool::reopen(folder).map_err(|e| Failure::failed(e.to_string()))?;
    let reason = "the process ended without closing the run".to_owned();
    close(&spool, RunStatus::Killed, Some(reason)).map(|_| ())
}

/// Writes `result.json`, with what each sink received.
pub fn write_result(folder: &Path, exports: &[Outcome]) -> Result<RunResult, Failure> {
    let exports = exports
        .iter()
        .filter_map(|outcome| serde_json::to_value(outcome).ok());
    let result =
        store::rebuild(folder, exports.collect()).map_err(|e| Failure::failed(e.to_string()))?;
    store::write(folder, &result).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(result)
}

fn read(folder: &Path) -> Result<RunData, Failure> {
    store::load(folder).map_err(|error| Failure::failed(error.to_string()))
}

fn write_snapshot(folder: &Path, result: &RunResult) -> Result<(), Failure> {
    let path = folder.join(RESULT);
    let parent = path.parent().unwrap_or(folder);
    let text = serde_json::to_vec_pretty(result)
        .map_err(|error| Failure::failed(format!("the result cannot be written: {error}")))?;
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(&path, text))
        .map_err(|error| cannot(folder, RESULT, &error))
}

fn cannot(folder: &Path, path: &str, error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "{} cannot be written: {error}. Free some space, then run lem results rebuild {}",
        folder.join(path).display(),
        folder.display()
    ))
}

pub(super) fn hash(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok((hex::encode(hasher.finalize()), bytes));
        }
        hasher.update(buffer.get(..n).unwrap_or_default());
        bytes += n as u64;
    }
}
