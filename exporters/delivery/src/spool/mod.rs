//! The run log: what a run appends to, and what its sinks are fed from.
//!
//! # Format of `records.jsonl` (format 1)
//!
//! UTF-8 text. One record a line, each line one JSON object ended by one `\n`, at
//! most 64 MiB long:
//!
//! ```text
//! {"run":"<run id>","n":0,"mono_ns":…,"unix_ns":…,"kind":"run_started","data":{…}}
//! {"run":"<run id>","n":1,"mono_ns":…,"unix_ns":…,"kind":"samples","data":{…}}
//! ```
//!
//! - `run` is the same in every line, `n` counts from 0 without gaps, `mono_ns`
//!   and `unix_ns` are when the record was made, on both clocks.
//! - Record 0 is `run_started`; its `format` is that of the file. The file appears
//!   under its name only with this record written and synced.
//! - A reader passes over a `kind` that it does not know. New kinds and new members
//!   of `data` do not change the format.
//! - The file only grows. A commit writes whole lines and syncs them. After a failed
//!   commit the file is cut back to its last whole line; where that fails too, the
//!   half line is ended with `\n` before the next one, and readers pass over it.
//! - A crash can leave a last line without `\n`. It was never acknowledged to
//!   anyone: readers leave it out, and the next writer cuts it off.
//! - JSON has no infinities and no NaN. A metric whose value is none of the finite
//!   numbers is written as absent, with that for its reason; a sample as missed.
//! - A `seal` is the SHA-256 of all bytes before its own line, written when the run is
//!   closed. Readers do not look at it (`lem verify` does): damage that leaves a line
//!   valid JSON is not seen by them.
//!
//! # Who writes
//!
//! One process at a time, the holder of the folder's `lock` ([`crate::RunLock`]).
//! [`Recorder::record`] appends to memory only; [`Recorder::commit`] writes.

mod writable;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lem_record::{Board, Envelope, Record, Recorder, RunContext, RunStarted, Stamp};

use crate::disk;
use crate::gate::{Gate, Position};
use crate::lock::{LockError, RunLock};
use crate::log::{Log, LogError, RECORDS_FILE};
use writer::Writer;

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error(
        "{} already holds a run. Choose another name or another --output folder; a run is never overwritten",
        folder.display()
    )]
    Exists { folder: PathBuf },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(
        "the run's log {} cannot be {doing}: {source}. Free some space, or choose a folder that you may write to with --output",
        path.display()
    )]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// The log of the run that this process measures, and the lock on its folder.
#[derive(Debug)]
pub struct Spool {
    context: RunContext,
    /// Apart from the writer, so that a slow disk never holds up a measurement.
    pending: Mutex<Pending>,
    writer: Mutex<Writer>,
    gate: Arc<Gate>,
    lock: Arc<RunLock>,
    disturbances: AtomicU64,
}

#[derive(Debug)]
struct Pending {
    records: Vec<Envelope>,
    next: u64,
}

impl Spool {
    /// Starts a run. The folder may be there already, but not hold a run; where it
    /// is not there yet, it appears together with its log.
    pub fn create(folder: &Path, run_id: &str, started: RunStarted) -> Result<Self, SpoolError> {
        let path = folder.join(RECORDS_FILE);
        if path.exists() {
            return Err(SpoolError::Exists {
                folder: folder.to_owned(),
            });
        }
        let io = |doing, source| SpoolError::Io {
            doing,
            path: path.clone(),
            source,
        };
        let started_at = Stamp::now();
        let first = Envelope {
            run: run_id.to_owned(),
            n: 0,
            at: started_at,
            record: Record::RunStarted(Box::new(started.clone())),
        };
        let mut line = first
            .encode()
            .map_err(|error| io("encoded", error.into()))?;
        line.push('\n');

        let lock = match staging(folder) {
            Some(staging) if !folder.exists() => {
                fs::create_dir_all(&staging).map_err(|e| io("created", e))?;
                let lock = RunLock::acquire(&staging)?;
                let written = disk::replace(&staging.join(RECORDS_FILE), line.as_bytes())
                    .and_then(|()| fs::rename(&staging, folder))
                    .and_then(|()| disk::sync_folder(folder));
                if let Err(error) = written {
                    let _ = fs::remove_dir_all(&staging); // the first error is the one to tell
                    return Err(io("created", error));
                }
                lock
            }
            _ => {
                fs::create_dir_all(folder).map_err(|e| io("created", e))?;
                let lock = RunLock::acquire(folder)?;
                disk::replace(&path, line.as_bytes()).map_err(|e| io("created", e))?;
                lock
            }
        };
        let context = RunContext {
            run_id: run_id.to_owned(),
            folder: folder.to_owned(),
            started: Arc::new(started),
            started_at,
            live: Some(Arc::default()),
        };
        Self::on(
            context,
            lock,
            Position {
                bytes: line.len() as u64,
                next: 1,
            },
        )
    }

    /// Takes over a run whose process has ended: cuts off a torn last line and
    /// numbers on. For the end that a killed run lacks, and for a later analysis.
    pub fn reopen(folder: &Path) -> Result<(Self, Log), SpoolError> {
        if !folder.join(RECORDS_FILE).exists() {
            return Err(LogError::NoLog {
                folder: folder.to_owned(),
            }
            .into());
        }
        let lock = RunLock::acquire(folder)?;
        let log = Log::read_unowned(folder)?;
        let position = Position {
            bytes: log.bytes,
            next: log.next,
        };
        Ok((Self::on(log.context(), lock, position)?, log))
    }

    fn on(context: RunContext, lock: RunLock, position: Position) -> Result<Self, SpoolError> {
        let path = context.folder.join(RECORDS_FILE);
        let writer = Writer::open(&path, position).map_err(|source| SpoolError::Io {
            doing: "opened",
            path,
            source,
        })?;
        Ok(Self {
            context,
            pending: Mutex::new(Pending {
                records: Vec::new(),
                next: position.next,
            }),
            writer: Mutex::new(writer),
            gate: Arc::new(Gate::new(position)),
            lock: Arc::new(lock),
            disturbances: AtomicU64::new(0),
        })
    }

    pub fn folder(&self) -> &Path {
        &self.context.folder
    }

    pub fn run_id(&self) -> &str {
        &self.context.run_id
    }

    /// What sinks need to know of the run.
    pub fn context(&self) -> RunContext {
        self.context.clone()
    }

    /// Present values, for sinks that show the run while it goes on.
    pub fn live(&self) -> Option<Arc<Board>> {
        self.context.live.clone()
    }

    /// The number that the next record will have.
    pub fn next_number(&self) -> u64 {
        self.pending().next
    }

    /// How many quiet windows began while a sink blocked its thread and could not be
    /// stopped: their measurements may be disturbed, which deserves a warning.
    pub fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::Relaxed)
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.gate)
    }

    pub(crate) fn lock(&self) -> Arc<RunLock> {
        Arc::clone(&self.lock)
    }

    // a panic elsewhere must not lose the records: they are whole at every step
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a folder that is not there yet is made, to be renamed when its log stands.
fn staging(folder: &Path) -> Option<PathBuf> {
    let name = folder.file_name()?.to_str()?;
    Some(folder.with_file_name(format!(".{name}.{}.new", std::process::id())))
}

impl Recorder for Spool {
    fn record(&self, record: Record) {
        let run = self.context.run_id.clone();
        let mut pending = self.pending();
        // stamped under the lock, so that times rise with numbers
        let envelope = Envelope {
            run,
            n: pending.next,
            at: Stamp::now(),
            record,
        };
        pending.next += 1;
        pending.records.push(envelope);
    }

    fn commit(&self) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let records = std::mem::take(&mut self.pending().records);
        let done = writer.append(records);
        self.gate.committed(writer.position());
        done
    }

    fn quiet(&self, on: bool) {
        if !self.gate.quiet(on) {
            self.disturbances.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
