use std::sync::{Mutex, MutexGuard, PoisonError};

use lem_record::{Record, Samples, Warning};

use crate::meter::sampler::{self, Sampler};

/// The meters' sampler, as the measurement sees it.
pub trait Probe: Sync {
    /// Reads every sensor and starts to keep what is sampled.
    fn begin_window(&self);

    /// What was sampled since the window began or the last segment.
    fn take_segment(&self) -> Window;

    /// Reads every sensor and stops keeping.
    fn end_window(&self) -> Window;
}

/// What a window, or a segment of it, brought.
#[derive(Clone, Debug, Default)]
pub struct Window {
    pub samples: Vec<Samples>,
    /// Clock pairs and warnings (a source that fell away), ready for the log.
    pub notes: Vec<Record>,
    /// Readings that came late or not at all.
    pub missed: u64,
}

/// The sampler, shared between the measuring thread and the one that writes segments.
#[derive(Debug)]
pub struct Sampling(Mutex<Sampler>);

impl Sampling {
    pub fn new(sampler: Sampler) -> Self {
        Self(Mutex::new(sampler))
    }

    /// Shows every reading on the board.
    pub fn show(&self, board: &lem_record::Board) {
        self.lock().show(board);
    }

    fn lock(&self) -> MutexGuard<'_, Sampler> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe for Sampling {
    fn begin_window(&self) {
        self.lock().begin_window();
    }

    fn take_segment(&self) -> Window {
        self.lock().take_segment().into()
    }

    fn end_window(&self) -> Window {
        self.lock().end_window().into()
    }
}

impl From<sampler::Window> for Window {
    fn from(window: sampler::Window) -> Self {
        let stats = &window.stats;
        let mut notes = Vec::new();
        for meter in &stats.dropped {
            notes.push(warning(
                "meter.dropped",
                format!(
                    "The {} meter is read no more ({}): {}",
                    meter.meter,
                    meter.sources.join(", "),
                    meter.reason
                ),
                "Its numbers are absent from here on. lem env says what can be measured",
            ));
        }
        for source in &stats.missed_by_source {
            let reasons: Vec<_> = source.reasons.iter().map(|r| r.why.as_str()).collect();
            notes.push(warning(
                "meter.missed",
                format!(
                    "{} missed {} readings: {}",
                    source.source,
                    source.count,
                    reasons.join("; ")
                ),
                "Look whether another program holds the sensor, or raise measurement.interval_ms",
            ));
        }
        if let Some(failure) = &stats.failure {
            notes.push(warning(
                "meter.failed",
                format!("The sampler has ended: {failure}"),
                "Energy is absent from here on. Please report it",
            ));
        }
        let missed = stats.late_or_missed();
        notes.push(Record::Clock(window.clock));
        Self {
            samples: window.samples,
            notes,
            missed,
        }
    }
}

fn warning(code: &str, message: String, remedy: &str) -> Record {
    Record::Warning(Warning {
        code: code.into(),
        message,
        remedy: remedy.into(),
    })
}
