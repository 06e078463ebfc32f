use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lem_record::{How, RunStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Row;
use crate::limits;

/// The step metric of a history key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Seconds from the run's start.
    Time,
    /// Number of the measured cycle, from 0.
    Cycle,
}

impl Axis {
    pub const ALL: [Self; 2] = [Self::Time, Self::Cycle];

    /// The history key that holds it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Time => "t_s",
            Self::Cycle => "cycle",
        }
    }
}

/// What the encoding of a record depends on besides itself: a function of all the
/// records before `next`. It lives in the cursor file, so it is kept small.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The record that comes next.
    pub next: u64,
    /// History rows so far.
    pub rows: u64,
    /// System-metric events so far.
    pub events: u64,
    /// Console lines so far.
    pub lines: u64,
    pub(super) pending: Option<Pending>,
    /// Without the entries that begin with `_`.
    pub(super) summary: Map<String, Value>,
    /// Step, timestamp and runtime of the last row.
    pub(super) last: Option<(u64, f64, f64)>,
    /// Every history key that has a step metric.
    pub(super) keys: BTreeMap<Axis, BTreeSet<String>>,
    /// How the numbers of each key were obtained.
    pub(super) how: BTreeMap<String, How>,
    /// Keys that have no value, with the reason.
    pub(super) absent: BTreeMap<String, String>,
    /// Attributes of `run.info`.
    pub(super) info: BTreeMap<String, String>,
    /// How the run ended.
    pub status: Option<RunStatus>,
}

/// The row of a cycle's metrics, which more may join.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The last record in it.
    pub n: u64,
    pub cycle: u32,
    pub t_ns: u64,
    pub values: Map<String, Value>,
}

impl State {
    /// More keys than these are not listed; the result file has them all.
    const MOST: usize = 1000;

    pub(super) fn last_row(&mut self, row: &Row) {
        self.last = Some((row.step, row.timestamp, row.runtime));
    }

    /// Whether it is new.
    pub(super) fn define(&mut self, key: &Arc<str>, axis: Axis) -> bool {
        let keys = self.keys.entry(axis).or_default();
        if keys.contains(key.as_ref()) || keys.len() >= Self::MOST {
            return false;
        }
        keys.insert(key.to_string())
    }

    /// Whether there is room for it.
    pub(super) fn summarise(&mut self, key: String, value: Value) -> bool {
        let room = self.summary.len() < limits::METRICS || self.summary.contains_key(&key);
        if room {
            self.summary.insert(key, value);
        }
        room
    }

    pub(super) fn obtained(&mut self, key: &str, how: How) {
        self.absent.remove(key);
        if self.how.len() < Self::MOST && self.how.get(key) != Some(&how) {
            self.how.insert(key.to_owned(), how);
        }
    }

    pub(super) fn is_absent(&mut self, key: String, reason: &str) {
        if self.absent.len() < Self::MOST && !self.how.contains_key(&key) {
            let reason = super::text::clean(reason);
            self.absent.insert(key, reason.chars().take(300).collect());
        }
    }
}
