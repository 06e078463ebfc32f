use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the encoding of a record depends on besides itself: a function of all the
/// records before `next`. It lives in the cursor file, so it is kept small.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The record that comes next.
    pub next: u64,
    /// With delta temporality, the last point of each sampled counter.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) last: BTreeMap<String, (u64, f64)>,
    /// Cycles whose spans wait for their joules, which the analysis gives at the end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) cycles: Vec<Cycle>,
    /// The joules of each cycle, and of the run under the empty name, by metric.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) joules: BTreeMap<String, BTreeMap<String, Joules>>,
    /// The last end of a span, monotonic.
    pub(super) last_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cycle {
    pub cycle: u32,
    pub start_ns: u64,
    pub end_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Joules {
    pub value: f64,
    pub how: lem_record::How,
}

impl State {
    /// Spans of more cycles are sent at once, without their joules.
    pub(super) const MOST_CYCLES: usize = 200;
    /// Sampled counters beyond these are sent as they are.
    pub(super) const MOST_COUNTERS: usize = 1000;
}
