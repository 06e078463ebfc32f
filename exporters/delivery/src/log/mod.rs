//! Reading a run's log, whatever a crash has left of it.

mod facts;
mod lines;
mod reader;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lem_record::{CycleFinished, Record, RunContext, RunFinished, RunStarted, RunStatus, Stamp};

pub use facts::{Facts, Skip, Torn};
pub use reader::{Entry, LogReader};

use crate::lock::{Holder, holder};

/// The log's name in a run's folder.
pub const RECORDS_FILE: &str = "records.jsonl";

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "{} holds no run: there is no {RECORDS_FILE} in it. Give the folder of one run, such as lem-runs/<run id>",
        folder.display()
    )]
    NoLog { folder: PathBuf },
    #[error("the log of the run in {} cannot be read: {source}. Check the disk and your rights to the file", folder.display())]
    Io { folder: PathBuf, source: io::Error },
    #[error(
        "the log in {} does not tell how its run started{}. Restore {RECORDS_FILE} from a copy; what is left of it is not enough",
        folder.display(), hint(notes)
    )]
    NoStart { folder: PathBuf, notes: Vec<String> },
    #[error(
        "the log in {} has format {format}, and this version reads format 1. Use the version of lem that wrote it ({producer})",
        folder.display()
    )]
    Format {
        folder: PathBuf,
        format: u32,
        producer: String,
    },
}

fn hint(notes: &[String]) -> String {
    if notes.is_empty() {
        String::new()
    } else {
        format!(" ({})", notes.join("; "))
    }
}

impl LogError {
    fn open(folder: &Path, source: io::Error) -> Self {
        let folder = folder.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::NoLog { folder },
            _ => Self::Io { folder, source },
        }
    }
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A process owns the folder.
    Running { pid: Option<u32> },
    /// The log says how it ended.
    Ended(RunStatus),
    /// Nobody owns the folder and nothing says how it ended: the process died.
    Killed,
}

/// What a log says of its run as a whole, from one pass over it.
#[derive(Clone, Debug)]
pub struct Log {
    pub folder: PathBuf,
    pub run: String,
    pub started: Arc<RunStarted>,
    pub started_at: Stamp,
    /// In order, without repetition of a cycle.
    pub cycles: Vec<CycleFinished>,
    /// When its last record was made.
    pub last_at: Stamp,
    /// Of the last boot in which it was written, where that is known.
    pub boot_id: Option<String>,
    /// How many cycles the run is to have, where it was resumed.
    pub wanted: Option<u32>,
    /// Parts of long cycles that reached the disk.
    pub segments: u64,
    /// The last one, where there are several.
    pub finished: Option<RunFinished>,
    pub standing: Standing,
    /// The number after the last good record's.
    pub next: u64,
    /// Where the last whole line ends.
    pub bytes: u64,
    pub facts: Facts,
}

impl Log {
    pub fn read(folder: &Path) -> Result<Self, LogError> {
        // before the log, lest a run that ends meanwhile looks killed
        let owner = holder(folder);
        let mut log = Self::read_unowned(folder)?;
        if let (Holder::Process(pid), None) = (owner, &log.finished) {
            log.standing = Standing::Running { pid };
        }
        Ok(log)
    }

    /// As [`Log::read`], by the owner of the folder.
    pub(crate) fn read_unowned(folder: &Path) -> Result<Self, LogError> {
        let mut reader = LogReader::open(folder)?;
        let mut start = None;
        let (mut cycles, mut segments, mut finished) = (Vec::<CycleFinished>::new(), 0, None);
        let (mut next, mut last_at, mut boot_id) = (0, None, None);
        let mut wanted = None;
        let io = |source| LogError::Io {
            folder: folder.to_owned(),
            source,
        };
        while let Some(Entry { envelope, .. }) = reader.next_entry().map_err(io)? {
            next = envelope.n + 1;
            last_at = Some(envelope.at);
            match envelope.record {
                Record::RunStarted(record) if start.is_none() => {
                    start = Some((envelope.run, record, envelope.at));
                }
                Record::CycleFinished(cycle)
                    if cycles.last().is_none_or(|last| last.cycle < cycle.cycle) =>
                {
                    cycles.push(cycle);
                }
                Record::SegmentWritten(_) => segments += 1,
                Record::RunFinished(record) => finished = Some(record),
                Record::Resumed(resumed) => {
                    finished = None;
                    boot_id = resumed.boot_id;
                    wanted = Some(resumed.cycles);
                }
                _ => {}
            }
        }
        let facts = reader.facts().clone();
        let folder = folder.to_owned();
        let Some((run, started, started_at)) = start else {
            return Err(LogError::NoStart {
                folder,
                notes: facts.notes(),
            });
        };
        if started.format != 1 {
            let (format, producer) = (started.format, started.producer);
            return Err(LogError::Format {
                folder,
                format,
                producer,
            });
        }
        let standing = match &finished {
            Some(record) => Standing::Ended(record.status),
            None => Standing::Killed,
        };
        Ok(Self {
            folder,
            run,
            boot_id: boot_id.or_else(|| started.boot_id.clone()),
            started: Arc::from(started),
            started_at,
            wanted,
            last_at: last_at.unwrap_or(started_at),
            cycles,
            segments,
            finished,
            standing,
            next,
            bytes: facts.torn.map_or(reader.offset(), |torn| torn.offset),
            facts,
        })
    }

    /// Cycles that are finished, counted from the first without a gap: what stands behind a
    /// gap belongs to no run that could go on.
    pub fn done(&self) -> u32 {
        let in_order = (0u32..).zip(&self.cycles);
        let done = in_order.take_while(|(place, cycle)| cycle.cycle == *place);
        u32::try_from(done.count()).unwrap_or(u32::MAX)
    }

    /// What sinks need to know of the run.
    pub fn context(&self) -> RunContext {
        RunContext {
            run_id: self.run.clone(),
            folder: self.folder.clone(),
            started: Arc::clone(&self.started),
            started_at: self.started_at,
            live: None,
        }
    }
}
