use std::collections::BTreeMap;

use lem_record::{Receipt, Rejected};
use serde::{Deserialize, Serialize};

/// Where a sink stands with a run: for the result's `exports` and for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// As in `--to NAME`.
    pub sink: String,
    pub destination: String,
    pub state: DeliveryState,
    /// Every record up to this number is delivered or rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_through: Option<u64>,
    /// Committed records that are not delivered.
    pub owed: u64,
    /// Points, files and tags that the other end acknowledged.
    pub accepted: u64,
    pub rejected: u64,
    /// The first of them, with their reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejected>,
    /// Batches that were sent more than once.
    pub resends: u64,
    /// Calls that failed: refused, unanswered, broken off by the other end.
    #[serde(default)]
    pub failures: u64,
    /// Calls that a quiet window cancelled; they were made again afterwards.
    #[serde(default)]
    pub cancelled: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// Why it is not delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What is worth knowing though nothing is to be done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// The run still goes on.
    Delivering,
    /// All that the log holds has arrived, its end too.
    Delivered,
    /// Time was up. `lem export` delivers the rest.
    Owing,
    /// The sink will not take it as things are: see reason and remedy.
    GaveUp,
}

impl Outcome {
    pub(crate) fn new(sink: &str, destination: &str) -> Self {
        Self {
            sink: sink.to_owned(),
            destination: destination.to_owned(),
            state: DeliveryState::Delivering,
            delivered_through: None,
            owed: 0,
            accepted: 0,
            rejected: 0,
            rejections: Vec::new(),
            resends: 0,
            failures: 0,
            cancelled: 0,
            receipt: None,
            reason: None,
            remedy: None,
            notes: Vec::new(),
        }
    }

    /// Nothing is left to do for this sink.
    pub fn complete(&self) -> bool {
        self.state == DeliveryState::Delivered
    }

    /// Rejections by reason, the most frequent first, for a summary of few lines.
    pub fn rejections_by_reason(&self) -> Vec<(&str, u64)> {
        let mut counts = BTreeMap::new();
        for rejected in &self.rejections {
            *counts.entry(rejected.reason.as_str()).or_insert(0) += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(reason, count)| (std::cmp::Reverse(*count), *reason));
        counts
    }
}
