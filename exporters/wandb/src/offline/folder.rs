//! The folder of one run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use lem_record::Stamp;
use serde::{Deserialize, Serialize};

/// Where one run is written.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// Absolute, so that it means the same to `wandb sync` wherever that is called.
    pub path: PathBuf,
    /// The run's id at W&B.
    id: String,
}

/// What `lem.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Lem's own id of the run.
    pub run: String,
    /// The record that came next when the run was finished.
    #[serde(default)]
    pub finished_before: Option<u64>,
}

const NOTE: &str = "lem.json";

impl Folder {
    /// Its name has the time in UTC, so that it is the same wherever it is written from.
    pub fn of(root: &Path, start: Stamp, id: &str) -> Self {
        let at = Timestamp::from_nanosecond(i128::from(start.unix_ns)).unwrap_or_default();
        let name = format!("offline-run-{}-{id}", at.strftime("%Y%m%d_%H%M%S"));
        Self {
            path: root.join(name),
            id: id.to_owned(),
        }
    }

    pub fn data(&self) -> PathBuf {
        self.path.join(format!("run-{}.wandb", self.id))
    }

    /// Whether `wandb sync` was here.
    pub fn is_uploaded(&self) -> bool {
        self.path
            .join(format!("run-{}.wandb.synced", self.id))
            .exists()
    }

    /// None where the folder is nobody's yet.
    pub fn note(&self) -> io::Result<Option<Note>> {
        match fs::read(self.path.join(NOTE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_default())),
            Err(error) if error.kind() == ErrorKind::NotFound => match self.data().exists() {
                // somebody else's
                true => Ok(Some(Note::default())),
                false => Ok(None),
            },
            Err(error) => Err(error),
        }
    }

    pub fn set_note(&self, note: &Note) -> io::Result<()> {
        let text = serde_json::to_vec(note)?;
        self.put_at(&self.path.join(NOTE), &text)
    }

    /// A file under `files/`. What is there already and is the same stays.
    pub fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.put_at(&self.path.join("files").join(path), bytes)
    }

    fn put_at(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if fs::read(path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        replace(path, |new| {
            let mut file = File::create(new)?;
            file.write_all(bytes)?;
            file.sync_all()
        })
    }

    /// The content of an artifact, by its SHA-256; says where it lies. A link where the
    /// file system allows it: the file is one that does not change any more.
    pub fn keep(&self, from: &Path, sha256: &str) -> io::Result<PathBuf> {
        let to = self.path.join("artifacts").join(sha256);
        let length = |path: &Path| fs::metadata(path).map(|meta| meta.len());
        if length(&to).ok() == Some(length(from)?) {
            return Ok(to);
        }
        replace(&to, |new| {
            if fs::hard_link(from, new).is_err() {
                fs::copy(from, new)?;
            }
            File::open(new)?.sync_all()
        })?;
        Ok(to)
    }

    /// Length of the data; none where there is no file.
    pub fn length(&self) -> io::Result<Option<u64>> {
        match fs::metadata(self.data()) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Cuts off what stands after the first `length` bytes of the data.
    pub fn cut(&self, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.data())?;
        file.set_len(length)?;
        file.sync_all()
    }

    /// Puts bytes after the first `length` of the data, in place of all that is there,
    /// and returns when they are on the disk.
    pub fn append(&self, length: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.data();
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        if file.metadata()?.len() != length {
            file.set_len(length)?;
        }
        file.seek(SeekFrom::Start(length))?;
        if let Err(error) = file.write_all(bytes) {
            // a disk that is full: what is there stays readable
            let _ = file.set_len(length);
            return Err(error);
        }
        file.sync_all()?;
        match length {
            0 => sync_folder(&path),
            _ => Ok(()),
        }
    }
}

/// Makes a file beside its place, and then puts it there.
fn replace(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("the path names no file"));
    };
    fs::create_dir_all(parent)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let new = parent.join(hidden);
    // what a crash left there
    let _ = fs::remove_file(&new);
    let made = make(&new).and_then(|()| fs::rename(&new, path));
    if made.is_err() {
        let _ = fs::remove_file(&new);
    }
    made?;
    sync_folder(path)
}

fn sync_folder(of: &Path) -> io::Result<()> {
    match of.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
