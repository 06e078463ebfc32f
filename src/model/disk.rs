//! Files that appear whole or not at all, and locks between processes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::EngineError;

use super::Progress;

/// What could not be done to which path, and why.
pub(crate) fn cannot(what: &str, path: &Path, error: &io::Error) -> EngineError {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "Check the path",
        io::ErrorKind::PermissionDenied => "Check who may read and write there",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "Free some space, or put the cache elsewhere with LEM_CACHE and HF_HOME"
        }
        _ => "Check the disk and the path",
    };
    EngineError::new(
        format!("{} cannot be {what}: {error}", path.display()),
        remedy,
    )
}

pub(crate) fn make_folder(path: &Path) -> Result<(), EngineError> {
    fs::create_dir_all(path).map_err(|error| cannot("made", path, &error))
}

pub(crate) fn make_parent(path: &Path) -> Result<(), EngineError> {
    path.parent().map_or(Ok(()), make_folder)
}

/// Replaces a small file atomically.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    make_parent(path)?;
    let beside = beside(path);
    let written = File::create(&beside)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&beside); // best effort: the error that matters is the first
        cannot("written", path, &error)
    })
}

/// A name that no other process or thread uses, for what is renamed to `path` when it is whole.
pub(crate) fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (pid, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    path.with_file_name(format!(".{name}.{pid}.{count}"))
}

/// Reads a file that has no business being larger than `most` bytes.
pub(crate) fn read_small(path: &Path, most: u64) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    io::Read::read_to_end(&mut io::Read::take(file, most + 1), &mut bytes)
        .map_err(|error| cannot("read", path, &error))?;
    if bytes.len() as u64 > most {
        return Err(EngineError::new(
            format!(
                "{} is larger than {most} bytes, which no such file is",
                path.display()
            ),
            "Check that this is the file you mean",
        ));
    }
    Ok(bytes)
}

/// Held until dropped; the system lets go of it when the process dies.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing it unlocks")] File);

/// Takes the lock, waiting for another process where it must. `flock`, as the hub's own client uses.
pub(crate) fn lock(path: &Path, progress: &mut dyn Progress) -> Result<Lock, EngineError> {
    make_parent(path)?;
    let open = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path);
    let file = open.map_err(|error| cannot("opened", path, &error))?;
    match file.try_lock() {
        Ok(()) => return Ok(Lock(file)),
        Err(fs::TryLockError::WouldBlock) => {
            progress.message("Another process is fetching the same files: waiting for it");
        }
        // a file system without locks: the worst that follows is a second download
        Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            return Ok(Lock(file));
        }
        Err(fs::TryLockError::Error(error)) => return Err(cannot("locked", path, &error)),
    }
    file.lock()
        .map_err(|error| cannot("locked", path, &error))?;
    Ok(Lock(file))
}

/// Refuses what cannot fit before it is begun.
pub(crate) fn need_space(folder: &Path, bytes: u64) -> Result<(), EngineError> {
    // where the system does not tell, writing will
    let Ok(stat) = rustix::fs::statvfs(folder) else {
        return Ok(());
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if bytes <= free {
        return Ok(());
    }
    Err(EngineError::new(
        format!(
            "{} has {:.1} GB free, and {:.1} GB are needed",
            folder.display(),
            free as f64 / 1e9,
            bytes as f64 / 1e9
        ),
        "Free some space, or put the cache elsewhere with LEM_CACHE and HF_HOME",
    ))
}
