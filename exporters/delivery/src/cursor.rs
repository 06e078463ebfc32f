//! How far a sink has come: `delivery/<sink>.json` in the run's folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use lem_record::{Receipt, Rejected};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::disk;

/// The folder of the cursors in a run's folder.
pub const DELIVERY_FOLDER: &str = "delivery";

/// A larger file is not of our making.
const MAX_BYTES: u64 = 16 << 20;

/// As many rejections are kept one by one; the rest only counts.
const REJECTIONS_KEPT: usize = 100;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Format of this file: 1.
    pub format: u32,
    pub run: String,
    /// A cursor belongs to one destination.
    pub destination: String,
    /// The first record that is not delivered.
    pub next: u64,
    /// Where its line begins. A hint: a wrong one only costs time.
    #[serde(default)]
    pub offset: u64,
    /// Samples of each source in the records before `next`: what thinning goes on from.
    #[serde(default)]
    pub samples: BTreeMap<String, u64>,
    /// The sink's own: remote ids.
    #[serde(default)]
    pub state: Value,
    #[serde(default)]
    pub receipt: Option<Receipt>,
    /// The other end has acknowledged the end of the run.
    #[serde(default)]
    pub finished: bool,
    /// Points, files and tags that the other end acknowledged.
    #[serde(default)]
    pub accepted: u64,
    #[serde(default)]
    pub rejected_count: u64,
    /// The first of them.
    #[serde(default)]
    pub rejected: Vec<Rejected>,
    /// Batches that were sent more than once.
    #[serde(default)]
    pub resends: u64,
    /// Calls that failed, over all attempts to deliver this run here.
    #[serde(default)]
    pub failures: u64,
    #[serde(default)]
    pub last_error: Option<LastError>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    pub unix_ms: i64,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Cursor {
    pub fn new(run: &str, destination: &str) -> Self {
        Self {
            format: 1,
            run: run.to_owned(),
            destination: destination.to_owned(),
            ..Self::default()
        }
    }

    pub fn path(folder: &Path, sink: &str) -> PathBuf {
        folder.join(DELIVERY_FOLDER).join(format!("{sink}.json"))
    }

    /// The cursor as saved. Where there is none that fits, a new one, and in the
    /// second place why: what was delivered before is then sent again, which sinks allow.
    pub fn load(folder: &Path, sink: &str, run: &str, destination: &str) -> (Self, Option<String>) {
        let path = Self::path(folder, sink);
        let anew = |why: String| {
            let note =
                format!("{why}; everything is sent again, which changes nothing that has arrived");
            (Self::new(run, destination), Some(note))
        };
        let cursor = match Self::read(&path) {
            Ok(cursor) => cursor,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return (Self::new(run, destination), None);
            }
            Err(error) => return anew(format!("{} cannot be used: {error}", path.display())),
        };
        if cursor.format != 1 {
            return anew(format!(
                "{} has format {}, not 1",
                path.display(),
                cursor.format
            ));
        }
        if cursor.run != run {
            return anew(format!("{} belongs to run {}", path.display(), cursor.run));
        }
        if cursor.destination != destination {
            return anew(format!("this run went to {} before", cursor.destination));
        }
        (cursor, None)
    }

    /// Reads whatever cursor is there, for showing.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Replaces the saved cursor atomically.
    pub fn save(&self, folder: &Path, sink: &str) -> io::Result<()> {
        let path = Self::path(folder, sink);
        let parent = folder.join(DELIVERY_FOLDER);
        if !parent.is_dir() {
            fs::create_dir_all(&parent)?;
            disk::sync_folder(&parent)?;
        }
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        disk::replace(&path, &text)
    }

    pub(crate) fn reject(&mut self, rejected: Vec<Rejected>) {
        self.rejected_count += rejected.len() as u64;
        let room = REJECTIONS_KEPT.saturating_sub(self.rejected.len());
        self.rejected.extend(rejected.into_iter().take(room));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_reads_back_as_saved() {
        let folder = tempfile::tempdir().unwrap();
        let mut cursor = Cursor::new("r1", "http://x");
        cursor.next = 7;
        cursor.state = serde_json::json!({"id": "abc"});
        cursor.save(folder.path(), "s").unwrap();
        assert_eq!(
            Cursor::load(folder.path(), "s", "r1", "http://x"),
            (cursor, None)
        );
        assert_eq!(
            fs::read_dir(folder.path().join(DELIVERY_FOLDER))
                .unwrap()
                .count(),
            1
        );
    }

    #[test]
    fn one_that_does_not_fit_starts_anew_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let mut cursor = Cursor::new("r1", "http://x");
        cursor.next = 7;
        cursor.save(folder.path(), "s").unwrap();
        let path = Cursor::path(folder.path(), "s");
        let text = fs::read_to_string(&path).unwrap();

        let load = |run, to| Cursor::load(folder.path(), "s", run, to);
        let (other_place, note) = load("r1", "http://y");
        assert_eq!(other_place, Cursor::new("r1", "http://y"));
        assert!(note.unwrap().contains("http://x"));
        assert!(
            load("r2", "http://x")
                .1
                .unwrap()
                .contains("belongs to run r1")
        );
        for torn in [
            &text.as_bytes()[..text.len() / 2],
            b"",
            b"\0\xff",
            b"[1]",
            b"{}",
        ] {
            fs::write(&path, torn).unwrap();
            let (cursor, note) = load("r1", "http://x");
            assert_eq!(cursor.next, 0);
            assert!(note.unwrap().contains("s.json"));
        }
        fs::write(&path, text.replace("\"format\": 1", "\"format\": 9")).unwrap();
        assert!(load("r1", "http://x").1.unwrap().contains("format 9"));
    }
}
