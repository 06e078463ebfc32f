//! SHA-256 of model files, remembered so that it is computed once.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::engine::EngineError;

use super::Progress;
use super::disk::{cannot, replace};

/// SHA-256 of a file, lower-case hexadecimal.
///
/// A hash is remembered in `<cache>/verified/` together with what changes whenever
/// the file does (size, inode, and the times of modification and of change, the
/// latter of which no program can set), and is believed only while all of these stay.
pub(crate) fn sha256(
    path: &Path,
    cache: Option<&Path>,
    progress: &mut dyn Progress,
) -> Result<String, EngineError> {
    let path = path
        .canonicalize()
        .map_err(|error| cannot("found", path, &error))?;
    let before = State::of(&path)?;
    let memory = cache.map(|cache| memory(cache, &path));
    if let Some(known) = memory.as_deref().and_then(recall)
        && known.state == before
        && known.path == path
    {
        return Ok(known.sha256);
    }
    progress.message(&format!("Checking {}", short(&path)));
    let sha256 = hash(&path, before.size, progress)?;
    remember(&path, before, &sha256, memory.as_deref());
    Ok(sha256)
}

/// Notes a hash that was computed on the way.
pub(crate) fn note(path: &Path, cache: Option<&Path>, sha256: &str) {
    if let Ok(path) = path.canonicalize()
        && let Ok(state) = State::of(&path)
    {
        let memory = cache.map(|cache| memory(cache, &path));
        remember(&path, state, sha256, memory.as_deref());
    }
}

/// Compares with what was expected. `again` is the next step where it differs.
pub(crate) fn compare(
    path: &Path,
    expected: &str,
    actual: &str,
    again: &str,
) -> Result<(), EngineError> {
    if expected.eq_ignore_ascii_case(actual) {
        return Ok(());
    }
    Err(EngineError::new(
        format!(
            "{} is not the file that was expected: its SHA-256 is {actual}, expected was {expected}",
            path.display()
        ),
        again,
    ))
}

pub(crate) fn hash(
    path: &Path,
    size: u64,
    progress: &mut dyn Progress,
) -> Result<String, EngineError> {
    let mut file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    progress.total(Some(size));
    loop {
        let n = file
            .read(&mut buffer)
            .map_err(|error| cannot("read", path, &error))?;
        let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
            return Ok(hex::encode(hasher.finalize()));
        };
        hasher.update(bytes);
        progress.advance(n as u64);
    }
}

/// Several ticks of the clock that file times are taken from.
const TICK_NS: i64 = 20_000_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    size: u64,
    device: u64,
    inode: u64,
    modified_ns: i64,
    changed_ns: i64,
}

impl State {
    fn of(path: &Path) -> Result<Self, EngineError> {
        let meta: Metadata = fs::metadata(path).map_err(|error| cannot("read", path, &error))?;
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Ok(Self {
            size: meta.len(),
            device: meta.dev(),
            inode: meta.ino(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// The clock of file times ticks every few milliseconds: a change within the
    /// same tick would not show.
    fn settled(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        now.saturating_sub(self.changed_ns) > TICK_NS
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    path: PathBuf,
    #[serde(flatten)]
    state: State,
    sha256: String,
}

fn memory(cache: &Path, path: &Path) -> PathBuf {
    let name = hex::encode(Sha256::digest(path.as_os_str().as_encoded_bytes()));
    cache.join("verified").join(format!("{name}.json"))
}

fn recall(memory: &Path) -> Option<Known> {
    let bytes = super::disk::read_small(memory, 1 << 16).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// What cannot be remembered is computed again: no reason to fail.
fn remember(path: &Path, state: State, sha256: &str, memory: Option<&Path>) {
    let Some(memory) = memory else { return };
    // changed while it was read, or just before: the hash may be of neither
    if !state.settled() || State::of(path).ok().as_ref() != Some(&state) {
        return;
    }
    let known = Known {
        path: path.to_owned(),
        state,
        sha256: sha256.to_owned(),
    };
    if let Ok(bytes) = serde_json::to_vec(&known) {
        let _ = replace(memory, &bytes);
    }
}

pub(crate) fn short(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::super::progress::Progress;
    use super::{compare, sha256};

    #[derive(Default)]
    struct Bytes(u64);

    impl Progress for Bytes {
        fn total(&mut self, _bytes: Option<u64>) {}
        fn advance(&mut self, bytes: u64) {
            self.0 += bytes;
        }
        fn message(&mut self, _text: &str) {}
    }

    #[test]
    fn a_file_is_read_once_and_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.gguf");
        let cache = folder.path().join("cache");
        let run = || {
            let mut seen = Bytes::default();
            let hash = sha256(&file, Some(&cache), &mut seen).unwrap();
            (hash, seen.0)
        };
        fs::write(&file, b"abc").unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(run(), (abc.to_owned(), 3));
        assert_eq!(
            run(),
            (abc.to_owned(), 0),
            "the second time it is remembered"
        );

        // same size, and the old modification time put back: only the change time tells
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, b"abd").unwrap();
        let opened = fs::File::options().write(true).open(&file).unwrap();
        opened.set_modified(modified).unwrap();
        let (hash, read) = run();
        assert_ne!(hash, abc);
        assert_eq!(read, 3);

        let error = compare(&file, abc, &hash, "Look again")
            .unwrap_err()
            .to_string();
        assert!(error.contains(abc) && error.contains(&hash) && error.ends_with("Look again"));
    }

    #[test]
    fn a_spoilt_memory_is_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.gguf");
        fs::write(&file, b"abc").unwrap();
        std::thread::sleep(Duration::from_millis(60));
        let cache = folder.path().join("cache");
        let first = sha256(&file, Some(&cache), &mut Bytes::default()).unwrap();
        for entry in fs::read_dir(cache.join("verified")).unwrap() {
            fs::write(entry.unwrap().path(), b"{\"sha256\":").unwrap();
        }
        assert_eq!(
            sha256(&file, Some(&cache), &mut Bytes::default()).unwrap(),
            first
        );
    }
}
