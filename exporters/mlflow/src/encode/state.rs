use std::collections::{BTreeMap, BTreeSet};

use lem_record::How;
use serde::{Deserialize, Serialize};

use super::note::Note;

/// What the encoding of a record depends on besides itself: a function of all the
/// records before `next`. It lives in the cursor file, so it is kept small.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The record that comes next.
    pub next: u64,
    /// The last step of each sampled series.
    pub(super) steps: BTreeMap<String, i64>,
    /// How many cycles have been seen: the step of the run's own metrics.
    pub(super) cycles: u32,
    /// Keys that have no value, with the reason.
    pub(super) absent: BTreeMap<String, String>,
    /// How the numbers of each key were obtained.
    pub(super) how: BTreeMap<String, How>,
    /// Artifact paths of the tables.
    pub(super) tables: BTreeSet<String>,
    pub(super) note: Note,
    /// When the run ended, Unix ms, as its last record says.
    pub end_ms: Option<i64>,
    /// When it was last seen alive, Unix ms.
    pub last_ms: i64,
}

impl State {
    /// More keys than these are not listed; the result file has them all.
    const MOST: usize = 500;

    pub(super) fn saw_cycle(&mut self, cycle: u32) {
        self.cycles = self.cycles.max(cycle.saturating_add(1));
    }

    pub(super) fn obtained(&mut self, key: &str, how: How) {
        self.absent.remove(key);
        if self.how.len() < Self::MOST && self.how.get(key) != Some(&how) {
            self.how.insert(key.to_owned(), how);
        }
    }

    pub(super) fn is_absent(&mut self, key: String, reason: &str) {
        if self.absent.len() < Self::MOST && !self.how.contains_key(&key) {
            self.absent.insert(key, reason.chars().take(300).collect());
        }
    }
}
