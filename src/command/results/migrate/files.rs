//! Which files are meant.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::super::super::Failure;

pub struct Found {
    /// Absolute, each once, sorted.
    pub files: BTreeSet<PathBuf>,
    /// The folder that all the given ones have in common.
    pub common: PathBuf,
    /// Files in the folders that are no JSON: markers of version 2, and anything else.
    pub ignored: u64,
    /// Folders that could not be searched.
    pub unreadable: Vec<(PathBuf, io::Error)>,
}

/// Files as they are given, and below folders all that end in `.json`. The folder that
/// migrated files go to is left out.
pub fn find(given: &[PathBuf], out: &Path) -> Result<Found, Failure> {
    let mut found = Found {
        files: BTreeSet::new(),
        common: PathBuf::new(),
        ignored: 0,
        unreadable: Vec::new(),
    };
    let out = out.canonicalize().ok();
    let mut common: Option<PathBuf> = None;
    let mut folders = Vec::new();
    for path in given {
        let whole = path.canonicalize().map_err(|error| {
            Failure::usage(format!(
                "{} cannot be read: {error}. Name files or folders of results of version 2",
                path.display()
            ))
        })?;
        let folder = if whole.is_dir() {
            folders.push(whole.clone());
            whole
        } else {
            let parent = whole.parent().unwrap_or(Path::new("/")).to_owned();
            found.files.insert(whole);
            parent
        };
        common = Some(match common {
            None => folder,
            Some(common) => shared(&common, &folder),
        });
    }
    found.common = common.unwrap_or_default();
    let mut seen: BTreeSet<PathBuf> = folders.iter().cloned().collect();
    let given = seen.clone();
    while let Some(folder) = folders.pop() {
        // What was written before is no input; a folder that was named is, whatever else it is.
        if out.as_ref() == Some(&folder) && !given.contains(&folder) {
            continue;
        }
        if let Err(error) = search(&folder, &mut found, &mut folders, &mut seen) {
            found.unreadable.push((folder, error));
        }
    }
    Ok(found)
}

/// Links to folders are not followed: they may lead in a circle.
fn search(
    folder: &Path,
    found: &mut Found,
    folders: &mut Vec<PathBuf>,
    seen: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if seen.insert(path.clone()) {
                folders.push(path);
            }
        } else if path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("json"))
        {
            found.files.insert(path);
        } else if !found.files.contains(&path) {
            found.ignored += 1;
        }
    }
    Ok(())
}

fn shared(a: &Path, b: &Path) -> PathBuf {
    let both = a.components().zip(b.components());
    both.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}
