//! The pipe that a command sends its marks through.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};
use tokio::net::unix::pipe::{OpenOptions, Receiver};

/// A named pipe in a folder of its own, which only this user can enter. It goes when dropped.
///
/// It lies outside the run's folder: whoever reads a whole folder (`grep -r`, a copy) would
/// wait in it, and take marks away.
#[derive(Debug)]
pub struct Pipe {
    folder: PathBuf,
    path: PathBuf,
}

impl Pipe {
    /// In the system's folder for temporary files, else in the run's.
    pub fn create(run_id: &str, run_folder: &Path) -> io::Result<Self> {
        let name = format!("lem-{run_id}");
        Self::create_in(&std::env::temp_dir().join(&name))
            .or_else(|_| Self::create_in(&run_folder.join(&name)))
    }

    fn create_in(folder: &Path) -> io::Result<Self> {
        fs::DirBuilder::new().mode(0o700).create(folder)?;
        let pipe = Self {
            folder: folder.to_owned(),
            path: folder.join("phases"),
        };
        mkfifoat(CWD, &pipe.path, Mode::RUSR | Mode::WUSR)?;
        Ok(pipe)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Both ends are held, so that a sender never waits for a reader, and no end is seen
    /// when one sender closes. Needs a runtime.
    pub fn open(&self) -> io::Result<Receiver> {
        OpenOptions::new()
            .read_write(true)
            .open_receiver(&self.path)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // What cannot be removed is an empty folder among temporary files.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.folder);
    }
}
