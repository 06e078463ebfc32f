//! `result.json` in the run's folder: written whole or not at all, read, and made anew
//! from the log.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lem_delivery::{LogError, LogReader};
use serde_json::Value;

use super::{RunResult, build, parquet};
use crate::analysis::{RunData, analyse};

pub const RESULT_FILE: &str = "result.json";
pub const SERIES_FILE: &str = "timeseries.parquet";
/// No result is nearly as large; a larger file is not one.
const MAX_BYTES: u64 = 1 << 30;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} cannot be written: {source}. Free some space, or check your rights to the folder", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} cannot be read: {source}. {remedy}", path.display())]
    Read {
        path: PathBuf,
        source: io::Error,
        remedy: &'static str,
    },
    #[error("{} is not a result of version 3: {source}. Run lem results rebuild on its folder to make it anew from records.jsonl", path.display())]
    Format {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the result of {} cannot be put into JSON: {source}. Please report this as a fault of lem", path.display())]
    Encode {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(transparent)]
    Log(#[from] LogError),
}

const REBUILD: &str =
    "Run lem results rebuild on the run's folder to make it anew from records.jsonl";

/// Writes `result.json`; a crash leaves the old one or the new one.
pub fn write(run_dir: &Path, result: &RunResult) -> Result<PathBuf, StoreError> {
    let path = run_dir.join(RESULT_FILE);
    write_file(&path, result)?;
    Ok(path)
}

/// Writes a result under any name; a crash leaves the old one or the new one.
pub fn write_file(path: &Path, result: &RunResult) -> Result<(), StoreError> {
    let path = path.to_owned();
    let encode = |source| StoreError::Encode {
        path: path.clone(),
        source,
    };
    let mut bytes = serde_json::to_vec_pretty(result).map_err(encode)?;
    bytes.push(b'\n');
    let written = replace(&path, |file| file.write_all(&bytes));
    written.map_err(|source| StoreError::Write { path, source })
}

/// Writes `timeseries.parquet` likewise.
pub fn write_series(run_dir: &Path, data: &RunData) -> Result<PathBuf, StoreError> {
    let path = run_dir.join(SERIES_FILE);
    match replace(&path, |file| parquet::write(data, file)) {
        Ok(()) => Ok(path),
        Err(source) => Err(StoreError::Write { path, source }),
    }
}

/// Reads `result.json` of a run's folder.
pub fn read(run_dir: &Path) -> Result<RunResult, StoreError> {
    read_file(&run_dir.join(RESULT_FILE))
}

/// Reads a result that stands in a file of any name.
pub fn read_file(path: &Path) -> Result<RunResult, StoreError> {
    let refused = |source| StoreError::Read {
        path: path.to_owned(),
        source,
        remedy: REBUILD,
    };
    let bytes = fs::metadata(path).map_err(refused)?.len();
    if bytes > MAX_BYTES {
        return Err(refused(io::Error::other(format!(
            "it has {bytes} bytes, more than any result"
        ))));
    }
    let text = fs::read(path).map_err(refused)?;
    let path = path.to_owned();
    serde_json::from_slice(&text).map_err(|source| StoreError::Format { path, source })
}

/// Everything that the log of a run's folder says, whatever a crash has left of it.
pub fn load(run_dir: &Path) -> Result<RunData, StoreError> {
    let mut reader = LogReader::open(run_dir)?;
    let mut builder = RunData::builder();
    let refused = |source| LogError::Io {
        folder: run_dir.to_owned(),
        source,
    };
    while let Some(entry) = reader.next_entry().map_err(refused)? {
        builder.push(&entry.envelope);
    }
    let mut data = builder.finish();
    data.notes.extend(reader.facts().notes());
    Ok(data)
}

/// The result anew from the log, writing nothing. `exports` is what delivery says.
pub fn rebuild(run_dir: &Path, exports: Vec<Value>) -> Result<RunResult, StoreError> {
    let data = load(run_dir)?;
    let analysis = analyse(&data);
    Ok(build(&data, &analysis, exports, run_dir))
}

/// Writes beside the file, syncs, renames over it, and syncs the folder.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    let mut file = File::create(&temporary)?;
    let written = write(&mut file).and_then(|()| file.sync_all());
    if let Err(e) = written {
        // The half-written file is of no use, and its removal may fail as well.
        let _ = fs::remove_file(&temporary);
        return Err(e);
    }
    fs::rename(&temporary, path)?;
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
