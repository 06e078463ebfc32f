use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the encoding of a record depends on besides itself: a function of all the
/// records before `next`. It lives in the cursor file, so it is kept small: it knows
/// the sampled series only. Those of metrics have one point and end with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The record that comes next.
    pub next: u64,
    /// When the newest sample was, Unix ms.
    pub(super) newest: i64,
    /// When the last sample of each series that has not ended was, Unix ms. The key
    /// is JSON of the labels without those that all series share.
    pub(super) open: BTreeMap<String, i64>,
}

/// More series than these get no end of their own; Prometheus ends them after five minutes.
pub(super) const MOST_OPEN: usize = 5_000;
