use lem_record::{ClockPairs, Samples};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was sampled from edge to edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// One batch a source, in time order; a source without a row is left out.
    pub samples: Vec<Samples>,
    /// Both clocks at the edges, and once a second between.
    pub clock: ClockPairs,
    pub stats: WindowStats,
}

/// How well the sampler kept its rhythm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowStats {
    /// Ticks at which the sensors were read, late ones included; the edges are not counted.
    pub taken: u64,
    /// Ticks that came more than half an interval after their time.
    pub late: u64,
    /// Ticks that did not come at all: the next one was due already.
    pub missed: u64,
    /// Longest time between two readings, edges included, nanoseconds.
    pub max_gap_ns: u64,
    /// Processor time of the sampler's thread, nanoseconds.
    pub cpu_ns: u64,
    /// Readings that a sensor did not give, for sources that missed any.
    pub missed_by_source: Vec<SourceMissed>,
    /// Meters that are read no more, since the run's start.
    pub dropped: Vec<DroppedMeter>,
    /// Why there is no sampler any more, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceMissed {
    pub source: String,
    pub count: u64,
    pub reasons: Vec<MissedReason>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissedReason {
    pub why: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DroppedMeter {
    pub meter: String,
    pub sources: Vec<String>,
    pub reason: String,
}

impl WindowStats {
    /// Takes in the statistics of the next segment of the same cycle.
    pub fn add(&mut self, next: &Self) {
        self.taken += next.taken;
        self.late += next.late;
        self.missed += next.missed;
        self.max_gap_ns = self.max_gap_ns.max(next.max_gap_ns);
        self.cpu_ns += next.cpu_ns;
        for theirs in &next.missed_by_source {
            match self
                .missed_by_source
                .iter_mut()
                .find(|ours| ours.source == theirs.source)
            {
                Some(ours) => ours.add(theirs),
                None => self.missed_by_source.push(theirs.clone()),
            }
        }
        self.dropped.clone_from(&next.dropped);
        self.failure.clone_from(&next.failure);
    }

    /// Ticks that came late or not at all: `samples_missed` of a finished cycle.
    pub fn late_or_missed(&self) -> u64 {
        self.late + self.missed
    }
}

impl SourceMissed {
    fn add(&mut self, theirs: &Self) {
        self.count += theirs.count;
        for reason in &theirs.reasons {
            match self.reasons.iter_mut().find(|r| r.why == reason.why) {
                Some(ours) => ours.count += reason.count,
                None => self.reasons.push(reason.clone()),
            }
        }
    }
}
