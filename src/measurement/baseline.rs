//! The idle power: before the engine, with the weights loaded, and after the run.

use std::time::Duration;

use lem_record::{Attributes, Record, Span, SpanKind, Stamp};

use super::{Probe, pause};
use crate::config;
use crate::engine::Cancel;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaselineKind {
    /// B0: before the engine is loaded.
    Bare,
    /// B1: loaded and warm, idle.
    Loaded,
    /// B1': the same after the last cycle.
    After,
}

impl BaselineKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Loaded => "loaded",
            Self::After => "after",
        }
    }

    pub const fn told(self) -> &'static str {
        match self {
            Self::Bare => "Measuring the idle power before loading",
            Self::Loaded => "Measuring the idle power with the model loaded",
            Self::After => "Measuring the idle power after the run",
        }
    }
}

/// Lets the machine settle, watches it idle, and gives the records.
pub fn observe(
    probe: &dyn Probe,
    rule: &config::Baseline,
    kind: BaselineKind,
    cancel: &Cancel,
) -> Vec<Record> {
    pause(Duration::from_secs_f64(rule.settle_s), cancel);
    let start_ns = Stamp::mono_ns();
    probe.begin_window();
    pause(Duration::from_secs_f64(rule.duration_s), cancel);
    let window = probe.end_window();
    let end_ns = Stamp::mono_ns();
    let span = Span {
        span: SpanKind::Baseline,
        name: kind.as_str().into(),
        cycle: None,
        start_ns,
        end_ns,
        attributes: Attributes::new(),
        request: None,
    };
    let mut records: Vec<Record> = window.samples.into_iter().map(Record::Samples).collect();
    records.extend(window.notes);
    records.push(Record::Span(span));
    records
}
