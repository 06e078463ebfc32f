//! A folder of runs as a table, kept in a file beside them.
//!
//! The file is only a cache: without it, or where it cannot be written, everything is the
//! same but slower. It is brought up to date whenever it is opened: runs that are new or
//! changed are read, the lines of the others are copied. Two processes may do so at once:
//! each writes a file of its own and puts it in the place of the old one as a whole; what
//! the slower one knew less is read again next time.

mod entry;
mod file;
mod scan;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use serde_json::Value;

pub use entry::{Fields, fields, owing};
use file::{Line, Reader, Slots, Writer};
use scan::Found;
pub use scan::{RESULT_SUFFIX, is_current, is_sweep, of_folder};

/// The file in the folder of runs.
pub const FILE: &str = ".lem-index.jsonl";
/// A file beside it that is older is nobody's.
const ABANDONED: std::time::Duration = std::time::Duration::from_secs(600);
/// So many readers at once: more would only wait for the disk.
const MOST_READERS: usize = 8;

/// One run: where it stands, and the fields that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Below the index's folder.
    pub path: String,
    /// `null` where the run has no such field.
    pub values: Vec<Value>,
}

/// An index that is up to date.
#[derive(Debug)]
pub struct Index {
    pub root: PathBuf,
    /// Every path that some run has.
    pub keys: Vec<String>,
    pub runs: usize,
    store: Store,
}

#[derive(Debug)]
enum Store {
    File(File),
    /// Where the folder cannot be written to.
    Memory(Vec<u8>),
}

/// What an old index knows: its keys, and where the lines stand that are still true.
#[derive(Default)]
struct Old {
    file: Option<File>,
    keys: Vec<String>,
    lines: Vec<(u64, usize)>,
    /// Lines that are not true any more.
    stale: usize,
}

impl Index {
    /// Brings the index of a folder up to date. `many` is told how many runs have to be read
    /// before that begins.
    pub fn open(root: &Path, many: &mut dyn FnMut(usize)) -> io::Result<Self> {
        let found = scan::scan(root)?;
        let mut missing: HashMap<&str, &Found> =
            found.iter().map(|f| (f.path.as_str(), f)).collect();
        let old = Old::read(&root.join(FILE), &mut missing).unwrap_or_default();
        if old.file.is_none() {
            missing = found.iter().map(|f| (f.path.as_str(), f)).collect();
        }
        let mut missing: Vec<&Found> = missing.into_values().collect();
        missing.sort_by(|a, b| a.path.cmp(&b.path));
        if let (Some(file), true, 0) = (&old.file, missing.is_empty(), old.stale) {
            return Ok(Self {
                root: root.to_owned(),
                keys: old.keys,
                runs: found.len(),
                store: Store::File(file.try_clone()?),
            });
        }
        many(missing.len());
        renew(root, old, &missing, found.len())
    }

    /// Every run with the fields of these paths. The values of a path that the index leaves
    /// out are absent here.
    pub fn rows(&mut self, paths: &[String], each: &mut dyn FnMut(Row)) -> io::Result<()> {
        let by_key = self
            .keys
            .iter()
            .map(|key| paths.iter().position(|p| p == key))
            .collect();
        let slots = Slots {
            by_key,
            count: paths.len(),
        };
        let torn = |_| io::Error::other("the index changed while it was read; try again");
        let from: Box<dyn Read + '_> = match &mut self.store {
            Store::File(file) => {
                file.seek(SeekFrom::Start(0))?;
                Box::new(&*file)
            }
            Store::Memory(bytes) => Box::new(Cursor::new(bytes.as_slice())),
        };
        let mut reader = Reader::new(BufReader::with_capacity(1 << 18, from));
        loop {
            match reader.next(&slots).map_err(torn)? {
                Line::Run { path, values, .. } => each(Row { path, values }),
                Line::Key(_) => {}
                Line::End { .. } => return Ok(()),
            }
        }
    }
}

impl Old {
    /// Reads an index that is whole; takes what is still true out of `missing`.
    fn read(path: &Path, missing: &mut HashMap<&str, &Found>) -> Option<Self> {
        let file = File::open(path).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut old = Self::default();
        let mut reader = Reader::new(BufReader::with_capacity(1 << 18, file.try_clone().ok()?));
        let nothing = Slots::default();
        let (mut offset, mut runs) = (0u64, 0u64);
        loop {
            let begun = offset == 0;
            let line = reader.next(&nothing).ok()?;
            if begun {
                // The header is read with the first line.
                offset = header_bytes(&file)?;
            }
            let bytes = reader.raw().len();
            match line {
                Line::Key(key) => old.keys.push(key),
                Line::Run { path, stamp, .. } => {
                    runs += 1;
                    let same = missing.get(path.as_str()).is_some_and(|f| f.stamp == stamp);
                    if same && missing.remove(path.as_str()).is_some() {
                        old.lines.push((offset, bytes));
                    } else {
                        old.stale += 1;
                    }
                }
                Line::End { runs: told } => {
                    old.file = Some(file);
                    return (told == runs).then_some(old);
                }
            }
            offset += bytes as u64;
        }
    }
}

/// How long the first line is.
fn header_bytes(file: &File) -> Option<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut start = [0; 256];
    let read = file.read_at(&mut start, 0).ok()?;
    let newline = start.get(..read)?.iter().position(|byte| *byte == b'\n')?;
    Some(newline as u64 + 1)
}

/// Writes the index anew: beside the old one and over it, else into memory.
fn renew(root: &Path, mut old: Old, missing: &[&Found], runs: usize) -> io::Result<Index> {
    // Two threads of one process are two as well.
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let temporary = root.join(format!("{FILE}.{}-{number}.new", std::process::id()));
    sweep(root);
    let made = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&temporary);
    let index = |keys, store| Index {
        root: root.to_owned(),
        keys,
        runs,
        store,
    };
    let Ok(file) = made else {
        let (bytes, keys) = fill(root, &mut old, missing, Vec::new())?;
        return Ok(index(keys, Store::Memory(bytes)));
    };
    let filled = fill(
        root,
        &mut old,
        missing,
        BufWriter::with_capacity(1 << 18, file),
    );
    let placed = filled.and_then(|(writer, keys)| {
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        fs::rename(&temporary, root.join(FILE))?;
        Ok((file, keys))
    });
    match placed {
        Ok((file, keys)) => Ok(index(keys, Store::File(file))),
        Err(_) => {
            // A full disk, say: without a file then.
            let _ = fs::remove_file(&temporary);
            let (bytes, keys) = fill(root, &mut old, missing, Vec::new())?;
            Ok(index(keys, Store::Memory(bytes)))
        }
    }
}

/// Removes what processes left that died while they wrote: a living one takes seconds.
fn sweep(root: &Path) {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let ours = |name: &str| name.starts_with(FILE) && name.ends_with(".new");
    for entry in entries.filter(|e| e.file_name().to_str().is_some_and(ours)) {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified.ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Old lines, and the missing runs, which are read by several threads.
fn fill<W: Write>(
    root: &Path,
    old: &mut Old,
    missing: &[&Found],
    to: W,
) -> io::Result<(W, Vec<String>)> {
    let mut writer = Writer::new(to)?;
    let mut keys = old.keys.clone();
    let mut numbers: HashMap<String, usize> = HashMap::with_capacity(keys.len());
    for (number, key) in keys.iter().enumerate() {
        writer.key(key)?;
        numbers.insert(key.clone(), number);
    }
    if let Some(file) = &mut old.file {
        let mut line = Vec::new();
        let mut from = BufReader::with_capacity(1 << 18, &*file);
        let mut at = from.seek(SeekFrom::Start(0))?;
        for (offset, bytes) in &old.lines {
            from.seek_relative(i64::try_from(offset.saturating_sub(at)).unwrap_or(i64::MAX))?;
            line.resize(*bytes, 0);
            from.read_exact(&mut line)?;
            at = offset + *bytes as u64;
            writer.raw(&line)?;
        }
    }
    let next = AtomicUsize::new(0);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (send, receive) = sync_channel::<(&Found, Fields)>(64);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(MOST_READERS).min(missing.len()) {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some(found) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fields = entry::fields(&root.join(&found.path), true);
                    if send.send((found, fields)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        while let Ok((found, fields)) = receive.recv() {
            let mut numbered = Vec::with_capacity(fields.all.len());
            for (path, value) in fields.all {
                let number = match numbers.get(&path) {
                    Some(number) => *number,
                    None => {
                        writer.key(&path)?;
                        numbers.insert(path.clone(), keys.len());
                        keys.push(path);
                        keys.len() - 1
                    }
                };
                numbered.push((number, value));
            }
            // A run that goes on is read again each time.
            let stamp = if fields.lasting {
                found.stamp
            } else {
                scan::Stamp::default()
            };
            writer.run(&found.path, stamp, &numbered)?;
        }
        Ok::<(), io::Error>(())
    })?;
    Ok((writer.end()?, keys))
}
