//! Which runs stand below a folder, and whether they changed since they were looked at.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use lem_delivery::{DELIVERY_FOLDER, RECORDS_FILE};
use serde::{Deserialize, Serialize};

use crate::results::store::RESULT_FILE;
use crate::sweep::plan::{PLAN_FILE, POINTS_FOLDER};

/// No deeper is looked, but for the points of a sweep that lies there.
const MOST_DEPTH: usize = 3;
/// So much of a log's end is looked at for whether the run ended there.
const TAIL: u64 = 64 << 10;
/// What a result that is no run's folder ends in: one that was migrated, an aggregate.
pub const RESULT_SUFFIX: &str = ".v3.json";

/// What a file looked like when it was read: any change to it changes this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp(i64, u64, u64, i64, i64, u64);

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
                let stamp = meta.map(|meta| stamp(&meta, None, None));
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
            // A sweep is a run, and its points are runs below it. Points are no sweeps.
            if depth < MOST_DEPTH && is_sweep(&full) {
                folders.push((path.join(POINTS_FOLDER), MOST_DEPTH));
            }
            match of_folder(&full) {
                Some(stamp) => found.extend(text(&path).map(|path| Found { path, stamp })),
                None if depth + 1 < MOST_DEPTH => folders.push((path, depth + 1)),
                None => {}
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    // The points of a sweep without a log of its own are come upon twice.
    found.dedup_by(|a, b| a.path == b.path);
    Ok(found)
}

/// Whether a folder is that of a sweep, whose points lie below it.
pub fn is_sweep(folder: &Path) -> bool {
    folder.join(PLAN_FILE).is_file()
}

/// The stamp of a run's folder; `None` where it is none.
pub fn of_folder(folder: &Path) -> Option<Stamp> {
    let log = fs::metadata(folder.join(RECORDS_FILE))
        .ok()
        .filter(Metadata::is_file)?;
    let result = fs::metadata(folder.join(RESULT_FILE)).ok();
    // Cursors are replaced by renaming, which is a change to their folder.
    let delivery = fs::metadata(folder.join(DELIVERY_FOLDER)).ok();
    // The log of a run that is resumed grows beside the result that stands there.
    Some(stamp(
        result.as_ref().unwrap_or(&log),
        delivery.as_ref(),
        Some(&log),
    ))
}

fn stamp(meta: &Metadata, delivery: Option<&Metadata>, log: Option<&Metadata>) -> Stamp {
    Stamp(
        modified(meta),
        meta.len(),
        meta.ino(),
        delivery.map_or(0, modified),
        log.map_or(0, modified),
        log.map_or(0, Metadata::len),
    )
}

fn modified(meta: &Metadata) -> i64 {
    meta.mtime()
        .saturating_mul(1_000_000_000)
        .saturating_add(meta.mtime_nsec())
}

/// Whether the result in a run's folder tells of all that its log holds: the run was not
/// resumed since. The last end or resumption near the end of the log decides; where there
/// is neither, the times of the files.
pub fn is_current(folder: &Path) -> bool {
    let Ok(result) = fs::metadata(folder.join(RESULT_FILE)) else {
        return false;
    };
    let Ok(mut log) = File::open(folder.join(RECORDS_FILE)) else {
        // Only the result was kept.
        return true;
    };
    match last_mark(&mut log) {
        Some(ended) => ended,
        None => log
            .metadata()
            .is_ok_and(|log| modified(&log) <= modified(&result)),
    }
}

/// Of the last record that ends a run or resumes it: whether it ends it.
fn last_mark(log: &mut File) -> Option<bool> {
    let end = log.seek(SeekFrom::End(0)).ok()?;
    log.seek(SeekFrom::Start(end.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    log.take(TAIL).read_to_end(&mut tail).ok()?;
    tail.rsplit(|byte| *byte == b'\n').find_map(|line| {
        // Before its data, where any text may stand.
        let line = String::from_utf8_lossy(line);
        let head = line
            .starts_with('{')
            .then(|| line.split("\"data\":").next())??;
        if head.contains("\"kind\":\"run_finished\"") {
            Some(true)
        } else {
            head.contains("\"kind\":\"resumed\"").then_some(false)
        }
    })
}

fn text(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}
