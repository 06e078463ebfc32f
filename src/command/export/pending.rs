//! What runs owe to their sinks: from the logs and the cursors beside them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use lem_delivery::{Cursor, DELIVERY_FOLDER, Log, RECORDS_FILE};
use serde::Serialize;

use crate::command::Failure;

/// A sink to which a run owes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Owed {
    pub sink: String,
    /// Where an earlier attempt went; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// 0: only the run's end.
    pub records: u64,
    /// The first record that is owed.
    pub next: u64,
    /// Why the last attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// What a run owes: to the sinks that it was measured for, and to those that an export
/// has begun with.
pub fn owed(log: &Log) -> Vec<Owed> {
    let mut sinks: BTreeSet<String> = log.started.sinks.keys().cloned().collect();
    sinks.extend(begun(&log.folder));
    sinks
        .into_iter()
        .filter_map(|sink| of_sink(log, sink))
        .collect()
}

fn of_sink(log: &Log, sink: String) -> Option<Owed> {
    let cursor = Cursor::read(&Cursor::path(&log.folder, &sink)).ok();
    // One of another run says nothing of this one, nor does one that cannot be read.
    let cursor = cursor.filter(|cursor| cursor.format == 1 && cursor.run == log.run);
    let Some(cursor) = cursor else {
        return Some(Owed {
            sink,
            destination: None,
            records: log.next,
            next: 0,
            last_error: None,
        });
    };
    let records = log.next.saturating_sub(cursor.next);
    (!cursor.finished || records > 0).then(|| Owed {
        sink,
        destination: Some(cursor.destination),
        records,
        next: cursor.next,
        last_error: cursor.last_error.map(|error| error.reason),
    })
}

/// The sinks that have a cursor.
fn begun(run: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(run.join(DELIVERY_FOLDER)) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
        .filter(|sink| !sink.starts_with('.'))
        .collect()
}

/// The runs in these folders, each of them a run itself or the parent of some. A parent
/// that nobody named (`unasked`) may be missing.
pub fn runs(parents: &[PathBuf], unasked: bool) -> Result<Vec<PathBuf>, Failure> {
    let is_run = |path: &Path| path.join(RECORDS_FILE).exists();
    let mut runs = Vec::new();
    for parent in parents {
        if is_run(parent) {
            runs.push(parent.clone());
            continue;
        }
        let entries = match fs::read_dir(parent) {
            Ok(entries) => entries,
            Err(error) if unasked && error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Failure::usage(format!(
                    "the folder of runs {} cannot be read: {error}. Give the parent folder of runs, such as lem-runs",
                    parent.display()
                )));
            }
        };
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| is_run(path))
            .collect();
        found.sort();
        runs.extend(found);
    }
    Ok(runs)
}
