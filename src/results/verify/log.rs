//! The log itself: read once, with everything that it says must be there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use lem_delivery::{Facts, LogReader, RECORDS_FILE};
use lem_record::{Artifact, Metric, Record, RunFinished, Seal, Stamp, Table};
use sha2::{Digest as _, Sha256};

use super::Check;
use super::clock::Times;
use crate::analysis::RunData;

/// What one pass over the log gives.
pub struct Read {
    pub data: RunData,
    pub facts: Facts,
    /// By path: the last word on each.
    pub artifacts: BTreeMap<String, Artifact>,
    /// With the byte at which each one's line begins.
    pub seals: Vec<(u64, Seal)>,
    pub metrics: Vec<Metric>,
    /// By name.
    pub tables: BTreeMap<String, Table>,
    /// The last.
    pub end: Option<RunFinished>,
    pub end_at: Option<Stamp>,
    pub times: Times,
}

impl Read {
    pub fn of(folder: &Path) -> Result<Self, String> {
        let refused =
            |error: io::Error| format!("the log in {} cannot be read: {error}", folder.display());
        let mut reader = LogReader::open(folder).map_err(|error| error.to_string())?;
        let mut builder = RunData::builder();
        let mut read = Self {
            data: RunData::default(),
            facts: Facts::default(),
            artifacts: BTreeMap::new(),
            seals: Vec::new(),
            metrics: Vec::new(),
            tables: BTreeMap::new(),
            end: None,
            end_at: None,
            times: Times::default(),
        };
        while let Some(entry) = reader.next_entry().map_err(refused)? {
            builder.push(&entry.envelope);
            read.times.push(&entry.envelope);
            let at = entry.envelope.at;
            match entry.envelope.record {
                Record::Artifact(artifact) => {
                    read.artifacts.insert(artifact.path.clone(), artifact);
                }
                Record::Seal(seal) => read.seals.push((entry.start, seal)),
                Record::Metric(metric) => read.metrics.push(metric),
                Record::Table(table) => {
                    read.tables.insert(table.name.clone(), table);
                }
                Record::Resumed(_) => {
                    read.metrics.clear();
                    read.tables.clear();
                    (read.end, read.end_at) = (None, None);
                }
                Record::RunFinished(end) => {
                    read.end = Some(end);
                    read.end_at = Some(at);
                }
                _ => {}
            }
        }
        read.facts = reader.facts().clone();
        read.data = builder.finish();
        if read.data.started.is_none() {
            return Err(format!(
                "the log in {} does not tell how its run started, so there is nothing to check it against. Restore {RECORDS_FILE} from a copy",
                folder.display()
            ));
        }
        // As `store::load`, so that the same warnings follow.
        let notes = read.facts.notes();
        read.data.notes.extend(notes);
        Ok(read)
    }
}

/// Numbering, torn ends, lines that are no records.
pub fn whole(read: &Read) -> Check {
    const NAME: &str = "log";
    let facts = &read.facts;
    let mut found: Vec<String> = facts
        .skips
        .iter()
        .map(|skip| {
            format!(
                "{RECORDS_FILE} line {} (byte {}): {}",
                skip.line, skip.offset, skip.why
            )
        })
        .collect();
    if facts.skipped > facts.skips.len() as u64 {
        found.push(format!("{} lines are no records", facts.skipped));
    }
    if let Some(torn) = facts.torn {
        found.push(format!(
            "{RECORDS_FILE}: its last {} bytes, from byte {}, are a record that was never finished",
            torn.bytes, torn.offset
        ));
    }
    for (count, what) in [
        (
            facts.missing,
            "records are missing: their numbers never come",
        ),
        (facts.duplicates, "records have a number that came before"),
        (facts.foreign, "records belong to another run"),
    ] {
        if count > 0 {
            found.push(format!("{RECORDS_FILE}: {count} {what}"));
        }
    }
    if read.end.is_none() {
        found.push(format!(
            "{RECORDS_FILE} does not say how the run ended: its process died. lem results rebuild closes the run"
        ));
    }
    if !found.is_empty() {
        return Check::failed(NAME, format!("{RECORDS_FILE} is not whole"), found);
    }
    let detail = format!("{} records, numbered without a gap", facts.records);
    match facts.unknown_kinds {
        0 => Check::passed(NAME, detail),
        n => Check::noted(
            NAME,
            detail,
            vec![format!(
                "{n} records are of a kind that this version does not know; a newer lem wrote them"
            )],
        ),
    }
}

/// The checksum over the log, as it was when the run was closed.
pub fn seal(folder: &Path, read: &Read) -> Check {
    const NAME: &str = "seal";
    if read.seals.is_empty() {
        return Check::skipped(
            NAME,
            "the log has no checksum of itself: an edit is seen only where it changes a number",
        );
    }
    let mut found = Vec::new();
    for (start, seal) in &read.seals {
        if *start != seal.bytes {
            found.push(format!(
                "{RECORDS_FILE}: {} bytes stand before the seal, which was made over {}",
                start, seal.bytes
            ));
            continue;
        }
        match hash_first(folder, seal.bytes) {
            Ok(sha256) if sha256 == seal.sha256 => {}
            Ok(sha256) => found.push(format!(
                "{RECORDS_FILE}: its first {} bytes have SHA-256 {sha256}, and had {} when the run was closed",
                seal.bytes, seal.sha256
            )),
            Err(error) => found.push(format!("{RECORDS_FILE} cannot be read: {error}")),
        }
    }
    match found.is_empty() {
        true => Check::passed(
            NAME,
            "the log is, byte for byte, what it was when the run was closed",
        ),
        false => Check::failed(NAME, "the log was changed after the run was closed", found),
    }
}

fn hash_first(folder: &Path, bytes: u64) -> io::Result<String> {
    let mut file = File::open(folder.join(RECORDS_FILE))?.take(bytes);
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}
