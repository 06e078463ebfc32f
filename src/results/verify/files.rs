//! The files that the log names, by their checksums.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::Check;
use super::log::Read;
use crate::results::store::SERIES_FILE;

pub struct Artifacts {
    pub check: Check,
    /// The series file has the checksum that the log has for it.
    pub series_is_as_written: bool,
}

pub fn artifacts(folder: &Path, read: &Read) -> Artifacts {
    const NAME: &str = "artifacts";
    let mut found = Vec::new();
    let mut series_is_as_written = false;
    for (path, artifact) in &read.artifacts {
        // A log from elsewhere must not make lem read files elsewhere.
        if !inside(path) {
            found.push(format!(
                "{path:?} does not lie in the run's folder; it was not read"
            ));
            continue;
        }
        match hash(&folder.join(path)) {
            Ok((sha256, bytes)) if sha256 == artifact.sha256 && bytes == artifact.bytes => {
                series_is_as_written |= path == SERIES_FILE;
            }
            Ok((_, bytes)) if bytes != artifact.bytes => found.push(format!(
                "{path} has {bytes} bytes, and had {} when it was written",
                artifact.bytes
            )),
            Ok((sha256, _)) => found.push(format!(
                "{path} has SHA-256 {sha256}, and had {} when it was written",
                artifact.sha256
            )),
            Err(error) => found.push(format!("{path} cannot be read: {error}")),
        }
    }
    let count = read.artifacts.len();
    let check = match (count, found.is_empty()) {
        (0, _) => Check::skipped(NAME, "the log names no file"),
        (_, true) => Check::passed(NAME, format!("{count} files have their SHA-256")),
        (_, false) => Check::failed(
            NAME,
            format!(
                "{} of {count} files are not as they were written",
                found.len()
            ),
            found,
        ),
    };
    Artifacts {
        check,
        series_is_as_written,
    }
}

fn inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    !path.is_empty() && parts.all(|part| matches!(part, std::path::Component::Normal(_)))
}

pub fn hash(path: &Path) -> io::Result<(String, u64)> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut hasher = Sha256::new();
    let bytes = io::copy(&mut &file, &mut hasher)?;
    Ok((hex::encode(hasher.finalize()), bytes))
}
