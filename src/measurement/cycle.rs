//! One measured cycle, and one round of warm-up.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lem_record::{
    Attributes, CycleFinished, How, Record, Recorder, SegmentWritten, Span, SpanKind, Stamp,
};

use super::beside::{lock, written_beside};
use super::collect::Collector;
use super::{MeasureError, Plan, Probe, Session, Shown, Window};
use crate::engine::{Event, EventSink, Work};

/// A cycle, as told to the observer.
#[derive(Clone, Debug, PartialEq)]
pub struct CycleDone {
    pub cycle: u32,
    pub seconds: f64,
    pub requests: u64,
    pub failed: u64,
    pub output_tokens: u64,
    /// False where it was interrupted: its records stand, but it is not counted.
    pub complete: bool,
}

pub(super) fn run(
    session: &mut Session<'_>,
    plan: &Plan,
    cycle: u32,
) -> Result<CycleDone, MeasureError> {
    let capabilities = session.engine.capabilities();
    let events = Events::new(expected_events(&plan.work), session.shown, true);
    let collector = Mutex::new(Collector::new(
        Some(cycle),
        &plan.work.requests,
        capabilities.true_token_times,
    ));
    let missed_before = AtomicU64::new(0);
    let segments_before = AtomicU32::new(0);
    session.engine.before_cycle(cycle);
    session.probe.begin_window();
    let start_ns = Stamp::mono_ns();
    let outcome = {
        let segments = Segments {
            cycle,
            every: Duration::from_secs_f64(plan.measurement.segment_s),
            probe: session.probe,
            recorder: session.recorder,
            events: &events,
            collector: &collector,
            start_ns,
            missed: &missed_before,
            written: &segments_before,
        };
        segments.written_beside(|| {
            session
                .engine
                .generate(&plan.work, &mut &events, session.cancel)
        })
    };
    // The engine's end is the cycle's end; the meter's edge read comes right after it.
    let end_ns = Stamp::mono_ns();
    let Window {
        samples,
        notes,
        missed,
    } = session.probe.end_window();

    let mut collector = collector
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    let mut spans = collector.take(events.drain());
    spans.extend(collector.end(end_ns));
    spans.push(Span {
        span: SpanKind::Cycle,
        name: format!("cycle-{cycle}"),
        cycle: Some(cycle),
        start_ns,
        end_ns,
        attributes: Attributes::new(),
        request: None,
    });
    for record in samples.into_iter().map(Record::Samples).chain(notes) {
        session.recorder.record(record);
    }
    for span in spans {
        session.recorder.record(Record::Span(span));
    }
    for record in session.engine.after_cycle(cycle) {
        session.recorder.record(record);
    }
    let refused = collector.refused();
    let complete = outcome.is_ok() && refused.is_none() && !session.cancel.is_cancelled();
    if complete {
        session
            .recorder
            .record(Record::CycleFinished(CycleFinished {
                cycle,
                start_ns,
                end_ns,
                requests: collector.finished + collector.failed,
                failed: collector.failed,
                samples_missed: missed + missed_before.into_inner(),
            }));
    }
    if !complete {
        // So that a reader shows what there is of it, as a part.
        session
            .recorder
            .record(Record::SegmentWritten(SegmentWritten {
                cycle,
                segment: segments_before.into_inner(),
                start_ns,
                end_ns,
            }));
    }
    session.recorder.commit()?;
    outcome?;
    if let Some(refused) = refused {
        return Err(refused.into());
    }
    Ok(CycleDone {
        cycle,
        seconds: seconds(start_ns, end_ns),
        requests: collector.finished,
        failed: collector.failed,
        output_tokens: collector.output_tokens,
        complete,
    })
}

/// What a round of warm-up showed.
pub(super) struct WarmupRound {
    pub seconds_per_token: f64,
    /// Mean power by the sensors, where they were read often enough in it.
    pub watts: Option<f64>,
}

/// A mean of fewer samples is no mean.
const FEWEST_SAMPLES: usize = 5;

/// The sum of what the power sensors read on average.
fn mean_watts(window: &Window) -> Option<f64> {
    let mut sum = None;
    for column in window.samples.iter().flat_map(|s| &s.columns) {
        if column.metric != "sample.power" || column.how != How::Measured {
            continue;
        }
        let values: Vec<f64> = column.values.iter().flatten().copied().collect();
        if values.len() >= FEWEST_SAMPLES {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            sum = Some(sum.unwrap_or(0.0) + mean);
        }
    }
    sum
}

/// Answers one batch, which counts for nothing.
pub(super) fn warmup_round(
    session: &mut Session<'_>,
    plan: &Plan,
    round: u32,
) -> Result<WarmupRound, MeasureError> {
    // The same batch each time, so that the rounds compare.
    let mut work = plan.work.clone();
    work.requests.truncate(work.batch_size.max(1));
    work.due_ns.clear();
    let events = Events::new(expected_events(&work), session.shown, false);
    session.probe.begin_window();
    let start_ns = Stamp::mono_ns();
    let outcome = session.engine.generate(&work, &mut &events, session.cancel);
    let end_ns = Stamp::mono_ns();
    let window = session.probe.end_window();
    outcome?;
    let mut collector = Collector::new(None, &work.requests, true);
    collector.take(events.drain());
    if let Some(refused) = collector.refused() {
        return Err(refused.into());
    }
    session.recorder.record(Record::Span(Span {
        span: SpanKind::Warmup,
        name: format!("round-{round}"),
        cycle: None,
        start_ns,
        end_ns,
        attributes: Attributes::new(),
        request: None,
    }));
    let watts = mean_watts(&window);
    for note in window.notes {
        session.recorder.record(note);
    }
    Ok(WarmupRound {
        seconds_per_token: seconds(start_ns, end_ns) / collector.output_tokens.max(1) as f64,
        watts,
    })
}

fn seconds(start_ns: u64, end_ns: u64) -> f64 {
    end_ns.saturating_sub(start_ns) as f64 / 1e9
}

/// Room for every event of the work, so that the hot path does not allocate.
fn expected_events(work: &Work) -> usize {
    let tokens: u64 = work
        .requests
        .iter()
        .map(|r| u64::from(r.max_output_tokens) + 4)
        .sum();
    usize::try_from(tokens).unwrap_or(usize::MAX).min(1 << 22)
}

/// The engine's events in memory. The lock is contended once a segment, if ever.
pub(super) struct Events<'a> {
    kept: Mutex<Vec<Event>>,
    shown: &'a Shown,
    measured: bool,
}

impl<'a> Events<'a> {
    fn new(expected: usize, shown: &'a Shown, measured: bool) -> Self {
        Self {
            kept: Mutex::new(Vec::with_capacity(expected)),
            shown,
            measured,
        }
    }

    /// Of work that is measured, but is no cycle: it makes no progress.
    pub(super) fn of(work: &Work, shown: &'a Shown) -> Self {
        Self::new(expected_events(work), shown, false)
    }

    pub(super) fn drain(&self) -> Vec<Event> {
        let mut events = lock(&self.kept);
        let room = events.capacity();
        std::mem::replace(&mut *events, Vec::with_capacity(room.min(1 << 16)))
    }
}

impl EventSink for &Events<'_> {
    fn event(&mut self, event: Event) {
        self.shown.event(&event, self.measured);
        lock(&self.kept).push(event);
    }
}

/// Writes a long cycle in parts while it runs.
struct Segments<'a> {
    cycle: u32,
    every: Duration,
    probe: &'a dyn Probe,
    recorder: &'a dyn Recorder,
    events: &'a Events<'a>,
    collector: &'a Mutex<Collector>,
    start_ns: u64,
    missed: &'a AtomicU64,
    written: &'a AtomicU32,
}

impl Segments<'_> {
    fn written_beside<T>(&self, work: impl FnOnce() -> T) -> T {
        written_beside(self.every, self.start_ns, |since| self.write(since), work)
    }

    fn write(&self, start_ns: u64) -> u64 {
        let Window {
            samples,
            notes,
            missed,
        } = self.probe.take_segment();
        self.missed.fetch_add(missed, Ordering::Relaxed);
        let spans = lock(self.collector).take(self.events.drain());
        let end_ns = Stamp::mono_ns();
        for record in samples.into_iter().map(Record::Samples).chain(notes) {
            self.recorder.record(record);
        }
        for span in spans {
            self.recorder.record(Record::Span(span));
        }
        let mark = SegmentWritten {
            cycle: self.cycle,
            segment: self.written.fetch_add(1, Ordering::Relaxed),
            start_ns,
            end_ns,
        };
        self.recorder.record(Record::SegmentWritten(mark));
        // A disk that fails now is met again, and reported, at the cycle's end:
        // the recorder keeps what it could not write.
        let _ = self.recorder.commit();
        end_ns
    }
}
