//! Copying one file so that the copy is whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

const PIECE: usize = 1 << 20;

/// The SHA-256 of a file, in lower-case hexadecimal.
pub(crate) async fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    pump(&mut file, u64::MAX, |piece| {
        hash.update(piece);
        Ok(())
    })
    .await?;
    Ok(hex::encode(hash.finalize()))
}

/// Copies beside the target, syncs, and renames over it. What is there already and
/// is the same stays. Says the digest of what was read.
pub(crate) async fn replace(from: &Path, to: &Path) -> io::Result<String> {
    let source = File::open(from)?;
    if !source.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let expected = digest(from).await?;
    if same_length(&source, to) && digest(to).await? == expected {
        return Ok(expected);
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let temporary = beside(to)?;
    let copied = async {
        let mut source = source;
        let mut out = File::create(&temporary)?;
        let mut hash = Sha256::new();
        pump(&mut source, u64::MAX, |piece| {
            hash.update(piece);
            out.write_all(piece)
        })
        .await?;
        out.sync_all()?;
        fs::rename(&temporary, to)?;
        sync_parent(to)?;
        Ok(hex::encode(hash.finalize()))
    }
    .await;
    if copied.is_err() {
        let _ = fs::remove_file(&temporary); // the first error is the one to tell
    }
    copied
}

/// Brings a copy of an append-only file up to the original's first `upto` bytes, by
/// appending what it lacks. A copy that is not a beginning of the original is made anew.
pub(crate) async fn follow(from: &Path, to: &Path, upto: u64) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(to)?;
    let mut have = copy.metadata()?.len();
    // a copy of another file, or one that a crash left longer than the log is now
    if have > upto || !same_tail(&mut source, &mut copy, have)? {
        copy.set_len(0)?;
        have = 0;
    }
    source.seek(SeekFrom::Start(have))?;
    pump(&mut source, upto - have, |piece| copy.write_all(piece)).await?;
    copy.sync_all()?;
    if have == 0 {
        sync_parent(to)?;
    }
    Ok(())
}

/// Whether the last bytes before `end` are the same: enough to know the run, its
/// numbers and its times.
fn same_tail(a: &mut File, b: &mut File, end: u64) -> io::Result<bool> {
    let length = end.min(1 << 16);
    let read = |file: &mut File| {
        file.seek(SeekFrom::Start(end - length))?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    Ok(read(a)? == read(b)?)
}

fn same_length(source: &File, to: &Path) -> bool {
    let length =
        |meta: io::Result<fs::Metadata>| meta.ok().filter(fs::Metadata::is_file).map(|m| m.len());
    let there = length(fs::symlink_metadata(to));
    there.is_some() && there == length(source.metadata())
}

/// Reads to the end, or so many bytes, in pieces; between two of them a delivery
/// that must be quiet can stop it.
async fn pump(
    from: &mut File,
    upto: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut from = from.take(upto);
    loop {
        let read = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        take(piece.get(..read).unwrap_or_default())?;
        tokio::task::yield_now().await;
    }
}

fn sync_parent(of: &Path) -> io::Result<()> {
    match of.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    Ok(path.with_file_name(hidden))
}
