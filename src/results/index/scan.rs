//! Which runs stand below a folder, and whether they changed since they were looked at.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use lem_delivery::{DELIVERY_FOLDER, RECORDS_FILE};
use serde::{Deserialize, Serialize};

use crate::results::store::RESULT_FILE;

/// A sweep's points lie in `<sweep>/points/<run>`: no deeper is looked.
const MOST_DEPTH: usize = 3;
/// What a result that is no run's folder ends in: one that was migrated, an aggregate.
pub const RESULT_SUFFIX: &str = ".v3.json";

/// What a file looked like when it was read: any change to it changes this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(i64, u64, u64, i64);

/// A run that stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Below the folder that was searched, with `/`.
    pub path: String,
    pub stamp: Stamp,
}

/// Every run below a folder, in order of its path. What cannot be entered is passed over:
/// it holds nothing that could be shown.
pub fn scan(root: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = folders.pop() {
        let entries = match fs::read_dir(root.join(&below)) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let path = below.join(name);
            let full = root.join(&path);
            if name.ends_with(RESULT_SUFFIX) {
                let meta = fs::metadata(&full).ok().filter(Metadata::is_file);
                let stamp = meta.map(|meta| stamp(&meta, None));
                found.extend(stamp.and_then(|stamp| {
                    Some(Found {
                        path: text(&path)?,
                        stamp,
                    })
                }));
                continue;
            }
            // A link to a folder is a folder; the depth keeps a circle from being one.
            if !entry
                .file_type()
                .is_ok_and(|kind| kind.is_dir() || kind.is_symlink())
            {
                continue;
            }
            match of_folder(&full) {
                Some(stamp) => found.extend(text(&path).map(|path| Found { path, stamp })),
                None if depth + 1 < MOST_DEPTH => folders.push((path, depth + 1)),
                None => {}
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The stamp of a run's folder; `None` where it is none.
pub fn of_folder(folder: &Path) -> Option<Stamp> {
    let log = fs::metadata(folder.join(RECORDS_FILE))
        .ok()
        .filter(Metadata::is_file)?;
    let result = fs::metadata(folder.join(RESULT_FILE)).ok();
    // Cursors are replaced by renaming, which is a change to their folder.
    let delivery = fs::metadata(folder.join(DELIVERY_FOLDER)).ok();
    Some(stamp(result.as_ref().unwrap_or(&log), delivery.as_ref()))
}

fn stamp(meta: &Metadata, delivery: Option<&Metadata>) -> Stamp {
    let at = |meta: &Metadata| {
        meta.mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(meta.mtime_nsec())
    };
    Stamp(at(meta), meta.len(), meta.ino(), delivery.map_or(0, at))
}

fn text(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}
