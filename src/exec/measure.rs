//! The measured window: the command's life.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lem_record::{CycleFinished, Record, Recorder, SegmentWritten, Span, SpanKind, Stamp, Warning};

use super::VARIABLE;
use super::child::{self, Exit, Program};
use super::marks::{Faults, Marks};
use super::pipe::Pipe;
use super::told::Told;
use crate::engine::{Event, TokenIds};
use crate::measurement::{Probe, Shown, Window, lock, written_beside};

/// A command, and what it is measured with.
pub struct Job<'a> {
    pub program: &'a Program,
    pub place: Place<'a>,
    pub probe: &'a dyn Probe,
    pub recorder: &'a dyn Recorder,
    pub shown: &'a Shown,
    /// A longer life is written to disk in parts.
    pub segment: Duration,
}

/// Where the pipe for marks is made.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub run_id: &'a str,
    pub run_folder: &'a std::path::Path,
}

#[derive(Debug)]
pub struct Measured {
    pub exit: Exit,
    /// A signal that we were sent, passed on, and that asks to end.
    pub asked: Option<&'static str>,
}

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("{program} cannot be started: {source}. {remedy}")]
    Start {
        program: String,
        source: io::Error,
        remedy: &'static str,
    },
    #[error(
        "the pipe for phase marks cannot be made: {0}. Set TMPDIR to a folder on a local disk that you may write to"
    )]
    Pipe(io::Error),
    #[error("the command could not be followed to its end: {0}. Please report it")]
    Lost(io::Error),
    #[error(
        "the run's log could not be written: {0}. Free some space or choose another folder with --output; what was written before is kept"
    )]
    Log(io::Error),
}

/// Runs the command and measures it. The recorder's log must have been started.
pub fn measure(job: &Job<'_>) -> Result<(Measured, Option<ExecError>), ExecError> {
    let pipe = Pipe::create(job.place.run_id, job.place.run_folder).map_err(ExecError::Pipe)?;
    job.recorder.quiet(true);
    let measured = measure_quietly(job, &pipe);
    job.shown.phase("ended");
    job.recorder.quiet(false);
    let log = job.recorder.commit().map_err(ExecError::Log);
    // A command that has run has an exit code, which must not be lost for a full disk.
    measured.map(|measured| (measured, log.err()))
}

fn measure_quietly(job: &Job<'_>, pipe: &Pipe) -> Result<Measured, ExecError> {
    let marks = Mutex::new(Marks::new(0));
    let life = Life {
        job,
        marks: &marks,
        start_ns: AtomicU64::new(0),
        missed: AtomicU64::new(0),
        segments: AtomicU64::new(0),
    };
    job.probe.begin_window();
    let begun = || {
        job.shown.cycle(0);
        let now = Stamp::mono_ns();
        *lock(&marks) = Marks::new(now);
        life.start_ns.store(now, Ordering::Relaxed);
    };
    let took = |bytes: &[u8], now_ns: u64| {
        let mut marks = lock(&marks);
        let tokens = marks.output_tokens();
        marks.feed(bytes, now_ns);
        show(job.shown, &marks, marks.output_tokens() - tokens, now_ns);
    };
    let ended = life.written_beside(|| child::supervise(job.program, pipe, begun, took));
    let Window {
        samples,
        notes,
        missed,
    } = job.probe.end_window();
    for record in samples.into_iter().map(Record::Samples).chain(notes) {
        job.recorder.record(record);
    }
    let ended = ended.map_err(|error| lost(job.program, error))?;
    let (start_ns, end_ns) = (life.start_ns.into_inner(), ended.end_ns);
    let missed = missed + life.missed.into_inner();
    let mut told = Told {
        cpu_seconds: Some(ended.cpu_seconds),
        peak_memory_bytes: ended.peak_memory_bytes,
        ..Told::default()
    };
    match ended.exit {
        Exit::Code(code) => told.exit_code = Some(code),
        Exit::Signal(signal) => told.signal = Some(signal),
    }
    let mut marks = marks.into_inner().unwrap_or_else(PoisonError::into_inner);
    let faults = marks.finish(end_ns, &mut told);
    for span in marks.drain() {
        job.recorder.record(Record::Span(span));
    }
    job.recorder.record(Record::Span(Span {
        span: SpanKind::Cycle,
        name: "cycle-0".into(),
        cycle: Some(0),
        start_ns,
        end_ns,
        attributes: told.attributes(),
        request: None,
    }));
    job.recorder.record(Record::CycleFinished(CycleFinished {
        cycle: 0,
        start_ns,
        end_ns,
        requests: 0,
        failed: 0,
        samples_missed: missed,
    }));
    for warning in warnings(&faults) {
        job.recorder.record(Record::Warning(warning));
    }
    Ok(Measured {
        exit: ended.exit,
        asked: ended.asked,
    })
}

fn lost(program: &Program, source: io::Error) -> ExecError {
    let remedy = match source.kind() {
        io::ErrorKind::NotFound => {
            "Check its spelling, or give its path; a builtin of a shell needs the shell: bash -c '…'"
        }
        io::ErrorKind::PermissionDenied => {
            "Make it executable (chmod +x), or start its interpreter"
        }
        _ => return ExecError::Lost(source),
    };
    ExecError::Start {
        program: program.program.to_string_lossy().into_owned(),
        source,
        remedy,
    }
}

/// What the board shows of the marks.
fn show(shown: &Shown, marks: &Marks, tokens: u64, now_ns: u64) {
    let known = |name: &&str| matches!(*name, "prefill" | "decode");
    shown.phase(marks.now().filter(known).unwrap_or("other"));
    if tokens > 0 {
        let event = Event::Tokens {
            request: 0,
            ids: TokenIds::Count(u32::try_from(tokens).unwrap_or(u32::MAX)),
            at_ns: now_ns,
        };
        shown.event(&event, true);
    }
}

fn warnings(faults: &Faults) -> Vec<Warning> {
    let mut told = Vec::new();
    for (why, (count, first)) in &faults.by_reason {
        told.push(Warning {
            code: "marks.refused".into(),
            message: match count {
                1 => format!("Line {first} of the phase marks was not taken: {}", why.as_str()),
                _ => format!(
                    "{count} lines of the phase marks were not taken, the first of them line {first}: {}",
                    why.as_str()
                ),
            },
            remedy: format!("Correct what the command writes to ${VARIABLE}; docs/exec.md has the protocol"),
        });
    }
    if !faults.left_open.is_empty() {
        told.push(Warning {
            code: "marks.open".into(),
            message: format!(
                "Open when the command ended, and closed there: {}",
                faults.left_open.join(", ")
            ),
            remedy: "Send an `end` for every `begin`".into(),
        });
    }
    told
}

/// Writes a long life in parts while it lasts.
struct Life<'a> {
    job: &'a Job<'a>,
    marks: &'a Mutex<Marks>,
    start_ns: AtomicU64,
    missed: AtomicU64,
    segments: AtomicU64,
}

impl Life<'_> {
    fn written_beside<T>(&self, work: impl FnOnce() -> T) -> T {
        written_beside(self.job.segment, 0, |since| self.write(since), work)
    }

    fn write(&self, since: u64) -> u64 {
        let job = self.job;
        let Window {
            samples,
            notes,
            missed,
        } = job.probe.take_segment();
        self.missed.fetch_add(missed, Ordering::Relaxed);
        let spans = lock(self.marks).drain();
        let end_ns = Stamp::mono_ns();
        for record in samples.into_iter().map(Record::Samples).chain(notes) {
            job.recorder.record(record);
        }
        for span in spans {
            job.recorder.record(Record::Span(span));
        }
        let segment = self.segments.fetch_add(1, Ordering::Relaxed);
        job.recorder.record(Record::SegmentWritten(SegmentWritten {
            cycle: 0,
            segment: u32::try_from(segment).unwrap_or(u32::MAX),
            start_ns: since.max(self.start_ns.load(Ordering::Relaxed)),
            end_ns,
        }));
        // A disk that fails now is met again, and reported, at the command's end.
        let _ = job.recorder.commit();
        end_ns
    }
}
