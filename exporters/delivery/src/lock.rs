//! One process owns a run's folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file that is locked. It stays when the lock is gone: only the lock counts.
pub const LOCK_FILE: &str = "lock";

/// How long a look by another process ([`holder`]) may keep us from the lock.
const PATIENCE: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "the run in {} is in use by {}. Wait until that process has ended, or stop it, and try again",
        folder.display(), who(*pid)
    )]
    Locked { folder: PathBuf, pid: Option<u32> },
    #[error(
        "{} cannot be locked: {source}. Give a folder that you may write to, on a file system that knows locks",
        path.display()
    )]
    Io { path: PathBuf, source: io::Error },
}

fn who(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

/// An advisory lock on a run's folder. The kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunLock {
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(LOCK_FILE);
        let io = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        let mut waited = Duration::ZERO;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if waited < PATIENCE => {
                    let pause = Duration::from_millis(20);
                    std::thread::sleep(pause);
                    waited += pause;
                }
                Err(TryLockError::WouldBlock) => {
                    let folder = folder.to_owned();
                    return Err(LockError::Locked {
                        folder,
                        pid: read_pid(&mut file),
                    });
                }
                Err(TryLockError::Error(source)) => return Err(io(source)),
            }
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

/// Who owns a run's folder at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Nobody,
    /// A process, by its id where the lock file tells it.
    Process(Option<u32>),
}

/// Looks whether the lock is held, without keeping it.
pub fn holder(folder: &Path) -> Holder {
    // no lock file, or none that we may read: nobody here could have taken it
    let Ok(mut file) = File::open(folder.join(LOCK_FILE)) else {
        return Holder::Nobody;
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Holder::Process(read_pid(&mut file)),
        Ok(()) | Err(TryLockError::Error(_)) => Holder::Nobody,
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_owner_at_a_time_and_the_error_names_it() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(holder(folder.path()), Holder::Nobody);
        let lock = RunLock::acquire(folder.path()).unwrap();
        let pid = std::process::id();
        assert_eq!(holder(folder.path()), Holder::Process(Some(pid)));
        let error = RunLock::acquire(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {pid}")) && error.contains("try again"),
            "{error}"
        );
        drop(lock);
        assert_eq!(holder(folder.path()), Holder::Nobody);
        RunLock::acquire(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = RunLock::acquire(&folder.path().join("no"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("lock") && error.contains("Give a folder"),
            "{error}"
        );
    }
}
