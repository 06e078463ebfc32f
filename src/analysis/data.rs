//! A run as the analysis sees it, built from its log record by record.

use std::collections::{BTreeMap, BTreeSet};

use lem_record::{
    ClockPairs, CycleFinished, Envelope, Record, RequestTimeline, Resumed, RoundsFinished,
    RunStarted, RunStatus, Samples, SegmentWritten, Span, SpanKind, Stamp, Table, Warning,
};
use serde_json::Value;

use super::ledger::Step;
use super::samples::SourceSamples;
use super::served::EngineSaid;
use crate::engine::ModelDescription;
use crate::exec::{CommandCycle, Marked, Told};
use crate::meter::Source;

/// The table of idle powers that an earlier run measured.
pub const CACHED_BASELINES: &str = "cached_baselines";
/// The table of a profiled round: what, and its value.
pub const PROFILE: &str = "profile";
/// More sources or columns than any machine has; what is above is noted and left out.
const MAX_SERIES: usize = 4096;
/// Notes about contradictions are for people: a damaged log must not make thousands.
const MAX_NOTES: usize = 50;

/// A stretch of CLOCK_MONOTONIC time, nanoseconds; never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    pub start_ns: u64,
    pub end_ns: u64,
}

impl Window {
    pub fn new(start_ns: u64, end_ns: u64) -> Self {
        Self {
            start_ns,
            end_ns: end_ns.max(start_ns),
        }
    }

    pub fn len_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    pub fn seconds(&self) -> f64 {
        self.len_ns() as f64 / 1e9
    }

    pub fn middle_ns(&self) -> u64 {
        self.start_ns + self.len_ns() / 2
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.start_ns <= other.start_ns && other.end_ns <= self.end_ns
    }

    /// The part that lies in both.
    pub fn clip(&self, to: &Self) -> Option<Self> {
        let start_ns = self.start_ns.max(to.start_ns);
        let end_ns = self.end_ns.min(to.end_ns);
        (start_ns < end_ns).then_some(Self { start_ns, end_ns })
    }
}

/// One request of a cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestData {
    /// From the start of its work to its end.
    pub window: Window,
    pub timeline: RequestTimeline,
}

/// One measured cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct CycleData {
    pub index: u32,
    pub window: Window,
    /// False where the run ended within it: it is shown, but counts for nothing.
    pub complete: bool,
    /// Phase spans by their name, in order of time.
    pub phases: Vec<(String, Window)>,
    pub requests: Vec<RequestData>,
    pub failed: u64,
    pub samples_missed: u64,
    /// What it has besides, where it is the life of a command.
    pub command: CommandCycle,
}

/// An idle baseline: `bare`, `loaded` or `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineWindow {
    pub kind: String,
    pub window: Window,
}

/// Extra rounds of one length: see [`RoundsFinished`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundsData {
    pub window: Window,
    pub record: RoundsFinished,
}

impl RoundsData {
    /// How often the requests of a cycle were answered; above 0.
    pub fn rounds(&self) -> f64 {
        self.record.round_ends_ns.len() as f64
    }

    /// Rest of one round, seconds.
    pub fn rest_s(&self) -> f64 {
        self.record.rest_ns.unwrap_or(0) as f64 / 1e9 / self.rounds()
    }

    /// Without its rests, nanoseconds; above 0.
    pub fn busy_ns(&self) -> u64 {
        self.window.len_ns() - self.record.rest_ns.unwrap_or(0)
    }
}

/// Everything that a log says about what was measured.
#[derive(Clone, Debug, Default)]
pub struct RunData {
    pub run_id: String,
    pub started: Option<Box<RunStarted>>,
    pub started_at: Option<Stamp>,
    /// Of the last record read.
    pub last_at: Option<Stamp>,
    pub model: Option<ModelDescription>,
    /// As the meter described them.
    pub sources: Vec<Source>,
    /// By source id.
    pub samples: BTreeMap<String, SourceSamples>,
    /// By index, complete and incomplete.
    pub cycles: Vec<CycleData>,
    pub baselines: Vec<BaselineWindow>,
    /// In order of time.
    pub rounds: Vec<RoundsData>,
    pub warmups: Vec<Window>,
    /// Pairs of monotonic and wall time, in order of monotonic time.
    pub clock: Vec<(u64, i64)>,
    /// As recorded while measuring.
    pub warnings: Vec<Warning>,
    /// Contradictions in the log.
    pub notes: Vec<String>,
    /// The table `thermal`, where one was recorded.
    pub thermal: Option<Table>,
    /// The table `cached_baselines`: idle power that an earlier run measured on this board.
    pub cached_baselines: Option<Table>,
    /// What the engine, and the client that asks it, say of each cycle beside its requests.
    pub engine: Vec<EngineSaid>,
    /// The engine's ledger of its steps, by cycle.
    pub steps: Vec<(u32, Step)>,
    /// The table `profile`: what the engine's profiler saw.
    pub profile: Option<Table>,
    /// From `RunFinished`; set it for a run that is about to end. Without it the process died.
    pub status: Option<RunStatus>,
    pub status_reason: Option<String>,
    /// Where several processes make one run: when each source was read, in order and
    /// disjoint. A source that is not in it was read throughout.
    pub read_in: BTreeMap<String, Vec<Window>>,
    /// Metric records that the log already has: an analysis was written, perhaps in part.
    pub metrics_seen: u64,
}

impl RunData {
    pub fn builder() -> RunDataBuilder {
        RunDataBuilder::default()
    }

    pub fn from_log<I>(envelopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: std::borrow::Borrow<Envelope>,
    {
        let mut builder = Self::builder();
        for envelope in envelopes {
            builder.push(std::borrow::Borrow::borrow(&envelope));
        }
        builder.finish()
    }

    #[must_use]
    pub fn with_status(mut self, status: RunStatus, reason: Option<String>) -> Self {
        self.status = Some(status);
        self.status_reason = reason;
        self
    }

    pub fn complete_cycles(&self) -> impl Iterator<Item = &CycleData> {
        self.cycles.iter().filter(|cycle| cycle.complete)
    }

    /// Whether the run measured a command, and no engine of lem's own.
    pub fn is_command(&self) -> bool {
        let started = self.started.as_ref();
        started.is_some_and(|s| s.environment.get(crate::exec::DESCRIBED).is_some())
    }

    /// A value of the resolved configuration, by JSON pointer (`/carbon/pue`).
    pub fn config(&self, pointer: &str) -> Option<&Value> {
        self.started
            .as_ref()?
            .config
            .pointer(pointer)
            .filter(|v| !v.is_null())
    }

    /// A finite number of the configuration.
    pub fn config_f64(&self, pointer: &str) -> Option<f64> {
        self.config(pointer)?.as_f64().filter(|v| v.is_finite())
    }

    pub fn config_str(&self, pointer: &str) -> Option<&str> {
        self.config(pointer)?.as_str()
    }

    /// The wall time of a monotonic one, by the nearest pair of both clocks.
    pub fn unix_ns(&self, mono_ns: u64) -> Option<i64> {
        let after = self.clock.partition_point(|(mono, _)| *mono <= mono_ns);
        let (mono, unix) = after
            .checked_sub(1)
            .and_then(|i| self.clock.get(i))
            .or_else(|| self.clock.first())
            .copied()
            .or_else(|| self.started_at.map(|at| (at.mono_ns, at.unix_ns)))?;
        let delta = i128::from(mono_ns) - i128::from(mono);
        i64::try_from(i128::from(unix) + delta).ok()
    }
}

/// Takes records in as they come; see [`RunData::builder`].
#[derive(Debug, Default)]
pub struct RunDataBuilder {
    data: RunData,
    finished: BTreeMap<u32, CycleFinished>,
    segments: BTreeMap<u32, Window>,
    phases: Vec<(u32, String, Window)>,
    requests: Vec<(u32, RequestData)>,
    marked: Vec<(u32, Marked)>,
    told: BTreeMap<u32, Told>,
    series: usize,
    unknown_sources: BTreeSet<String>,
}

impl RunDataBuilder {
    pub fn push(&mut self, envelope: &Envelope) {
        if self.data.run_id.is_empty() {
            self.data.run_id.clone_from(&envelope.run);
        } else if self.data.run_id != envelope.run {
            let note = format!("a record of another run ({}) was left out", envelope.run);
            return self.note(note);
        }
        self.data.last_at = Some(envelope.at);
        match &envelope.record {
            Record::RunStarted(started) => self.started(started, envelope.at),
            Record::Clock(ClockPairs { pairs }) => self.data.clock.extend(pairs),
            Record::Samples(samples) => self.samples(samples),
            Record::Span(span) => self.span(span),
            Record::Warning(warning) => self.data.warnings.push(warning.clone()),
            Record::SegmentWritten(segment) => self.segment(segment),
            Record::CycleFinished(cycle) => self.cycle(cycle),
            Record::RoundsFinished(rounds) => self.rounds(rounds),
            Record::Resumed(resumed) => self.resumed(resumed),
            Record::RunFinished(end) => {
                self.data.status = Some(end.status);
                self.data.status_reason.clone_from(&end.reason);
            }
            Record::Table(table) if table.name == super::ledger::TABLE => {
                self.data.steps.extend(super::ledger::read(table));
            }
            Record::Table(table) if table.name == super::served::TABLE => {
                self.data.engine.extend(super::served::read(table));
            }
            Record::Table(table) if table.name == "thermal" => {
                self.data.thermal = Some(table.clone());
            }
            Record::Table(table) if table.name == CACHED_BASELINES => {
                self.data.cached_baselines = Some(table.clone());
            }
            Record::Table(table) if table.name == PROFILE => {
                self.data.profile = Some(table.clone());
            }
            Record::Metric(_) => self.data.metrics_seen += 1,
            Record::Table(_) | Record::Artifact(_) | Record::Seal(_) | Record::Unknown(_) => {}
        }
    }

    pub fn finish(mut self) -> RunData {
        for id in std::mem::take(&mut self.unknown_sources) {
            self.note(format!(
                "samples of {id}, a source that the run did not describe, are kept but not counted"
            ));
        }
        let Self {
            mut data,
            finished,
            segments,
            phases,
            requests,
            marked,
            told,
            ..
        } = self;
        data.clock.sort_unstable();
        data.clock.dedup();
        data.rounds.sort_by_key(|rounds| rounds.window);
        for samples in data.samples.values_mut() {
            samples.sort();
        }
        let mut cycles: BTreeMap<u32, CycleData> = BTreeMap::new();
        for (index, end) in finished {
            let mut cycle = empty_cycle(index, Window::new(end.start_ns, end.end_ns), true);
            cycle.failed = end.failed;
            cycle.samples_missed = end.samples_missed;
            cycles.insert(index, cycle);
        }
        for (index, window) in segments {
            cycles
                .entry(index)
                .or_insert_with(|| empty_cycle(index, window, false));
        }
        // An attempt that was cut short and repeated left spans of the same index behind:
        // the cycle's own window tells them apart.
        for (index, name, window) in phases {
            if let Some(cycle) = cycles.get_mut(&index)
                && let Some(window) = window.clip(&cycle.window)
            {
                cycle.phases.push((name, window));
            }
        }
        for (index, request) in requests {
            if let Some(cycle) = cycles.get_mut(&index)
                && cycle.window.contains(&request.window)
            {
                cycle.requests.push(request);
            }
        }
        for (index, marked) in marked {
            if let Some(cycle) = cycles.get_mut(&index)
                && cycle.window.contains(&marked.window)
            {
                cycle.command.marked.push(marked);
            }
        }
        for (index, told) in told {
            if let Some(cycle) = cycles.get_mut(&index) {
                cycle.command.told = Some(told);
            }
        }
        for cycle in cycles.values_mut() {
            cycle.command.marked.sort_by_key(|m| m.window);
            cycle.phases.sort_by_key(|(_, window)| *window);
            cycle
                .requests
                .sort_by_key(|r| (r.window.start_ns, r.timeline.id));
        }
        data.cycles = cycles.into_values().collect();
        data
    }

    fn started(&mut self, started: &RunStarted, at: Stamp) {
        if self.data.started.is_some() {
            return self.note("the run says twice that it started; the first counts".into());
        }
        let sources = serde_json::from_value::<Option<Vec<Source>>>(started.sources.clone());
        match sources {
            Ok(sources) => self.data.sources = sources.unwrap_or_default(),
            Err(e) => self.note(format!("the description of the sources does not read: {e}")),
        }
        let model = serde_json::from_value::<Option<ModelDescription>>(started.model.clone());
        match model {
            Ok(model) => self.data.model = model,
            Err(e) => self.note(format!("the description of the model does not read: {e}")),
        }
        self.data.started = Some(Box::new(started.clone()));
        self.data.started_at = Some(at);
    }

    fn samples(&mut self, samples: &Samples) {
        if let Err(why) = samples.check() {
            return self.note(why);
        }
        if !self.data.sources.iter().any(|s| s.id == samples.source)
            && self.unknown_sources.len() < MAX_NOTES
        {
            self.unknown_sources.insert(samples.source.clone());
        }
        if self.series >= MAX_SERIES {
            return self.note(format!(
                "more than {MAX_SERIES} series; the rest is left out"
            ));
        }
        let kept = self.data.samples.entry(samples.source.clone()).or_default();
        self.series += kept.append(samples);
    }

    fn span(&mut self, span: &Span) {
        if span.end_ns < span.start_ns {
            return self.note(format!("the span {} ends before it starts", span.name));
        }
        let window = Window::new(span.start_ns, span.end_ns);
        match (span.span, span.cycle) {
            (SpanKind::Baseline, _) => self.data.baselines.push(BaselineWindow {
                kind: span.name.clone(),
                window,
            }),
            (SpanKind::Warmup, _) => self.data.warmups.push(window),
            (SpanKind::Phase, Some(cycle)) => {
                let command = self.data.is_command();
                // A command names its phases as it likes.
                if !command || matches!(span.name.as_str(), "prefill" | "decode") {
                    self.phases.push((cycle, span.name.clone(), window));
                }
                if command {
                    let marked = Marked::of(&span.name, window, &span.attributes);
                    self.marked.push((cycle, marked));
                }
            }
            (SpanKind::Request, Some(cycle)) => self.request(cycle, window, span),
            (SpanKind::Cycle, Some(cycle)) => {
                self.told
                    .extend(Told::of(&span.attributes).map(|told| (cycle, told)));
            }
            // CycleFinished and SegmentWritten tell the same, and say that it is whole.
            (SpanKind::Cycle | SpanKind::Phase | SpanKind::Request, _) => {}
        }
    }

    fn request(&mut self, cycle: u32, window: Window, span: &Span) {
        let Some(timeline) = &span.request else {
            return self.note(format!("the request {} has no timeline", span.name));
        };
        let ordered = timeline.token_ns.is_sorted()
            && timeline
                .token_ns
                .first()
                .is_none_or(|first| *first >= window.start_ns);
        let chunks = &timeline.chunk_tokens;
        if !ordered || !(chunks.is_empty() || chunks.len() == timeline.token_ns.len()) {
            return self.note(format!(
                "the timeline of request {} in cycle {cycle} contradicts itself and is left out",
                timeline.id
            ));
        }
        let timeline = timeline.clone();
        self.requests
            .push((cycle, RequestData { window, timeline }));
    }

    fn segment(&mut self, segment: &SegmentWritten) {
        let new = Window::new(segment.start_ns, segment.end_ns);
        self.segments
            .entry(segment.cycle)
            // Segment 0 begins a new attempt at the cycle.
            .and_modify(|known| {
                *known = if segment.segment == 0 {
                    new
                } else {
                    Window::new(
                        known.start_ns.min(new.start_ns),
                        known.end_ns.max(new.end_ns),
                    )
                }
            })
            .or_insert(new);
    }

    fn cycle(&mut self, cycle: &CycleFinished) {
        if cycle.end_ns <= cycle.start_ns {
            return self.note(format!(
                "cycle {} has no duration and is left out",
                cycle.cycle
            ));
        }
        if self.finished.contains_key(&cycle.cycle) {
            return self.note(format!(
                "cycle {} says twice that it finished; the first counts",
                cycle.cycle
            ));
        }
        self.finished.insert(cycle.cycle, cycle.clone());
    }

    /// Forgets the attempt that was broken off, and what was said of the run as a whole.
    fn resumed(&mut self, resumed: &Resumed) {
        let kept = |cycle: &u32| *cycle < resumed.from_cycle;
        self.finished.retain(|cycle, _| kept(cycle));
        self.segments.retain(|cycle, _| kept(cycle));
        self.told.retain(|cycle, _| kept(cycle));
        self.phases.retain(|(cycle, ..)| kept(cycle));
        self.requests.retain(|(cycle, _)| kept(cycle));
        self.marked.retain(|(cycle, _)| kept(cycle));
        let data = &mut self.data;
        data.engine.retain(|said| kept(&said.cycle));
        data.steps.retain(|(cycle, _)| kept(cycle));
        data.rounds.clear();
        (data.status, data.status_reason) = (None, None);
        data.metrics_seen = 0;
        // Said of an end that is none any more.
        let of_end = |code: &str| code.starts_with("until.") || code == "phases.rounds_failed";
        let over = |w: &Warning| super::CODES.contains(&w.code.as_str()) || of_end(&w.code);
        data.warnings.retain(|w| !over(w));
        let config = data.started.as_mut().map(|s| &mut s.config);
        if let Some(cycles) = config.and_then(|c| c.get_mut("num_cycles")) {
            *cycles = resumed.cycles.into();
        }
    }

    fn rounds(&mut self, record: &RoundsFinished) {
        let ends = &record.round_ends_ns;
        let within = |t: &u64| record.start_ns <= *t && *t <= record.end_ns;
        if record.end_ns <= record.start_ns
            || ends.is_empty()
            || !ends.is_sorted()
            || !ends.iter().all(within)
            || record.rest_ns.unwrap_or(0) >= record.end_ns - record.start_ns
        {
            return self.note(format!(
                "the extra rounds {} ({}) contradict themselves and are left out",
                record.window, record.method
            ));
        }
        self.data.rounds.push(RoundsData {
            window: Window::new(record.start_ns, record.end_ns),
            record: record.clone(),
        });
    }

    fn note(&mut self, note: String) {
        if self.data.notes.len() < MAX_NOTES && !self.data.notes.contains(&note) {
            self.data.notes.push(note);
        }
    }
}

fn empty_cycle(index: u32, window: Window, complete: bool) -> CycleData {
    CycleData {
        index,
        window,
        complete,
        phases: Vec::new(),
        requests: Vec::new(),
        failed: 0,
        samples_missed: 0,
        command: CommandCycle::default(),
    }
}
