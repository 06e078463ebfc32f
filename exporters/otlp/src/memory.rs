//! What is kept in the cursor file.

use std::collections::{BTreeMap, BTreeSet};

use lem_record::Rejected;
use serde::{Deserialize, Serialize};

use crate::Signal;
use crate::encode::State;
use crate::mlflow::Remote;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    pub encoding: State,
    /// The first record that was never delivered.
    pub next: u64,
    /// The batch of which something may have arrived without our knowing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// Records are there to be sent, or may be: a process that ends so may have had a
    /// batch on its way.
    pub unfinished: bool,
    pub counts: BTreeMap<Signal, Counts>,
    pub resent: Resent,
    /// What receivers said without rejecting anything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<Remote>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct InFlight {
    /// Its first record.
    pub n: u64,
    /// The messages of it that were acknowledged, by digest.
    pub answered: BTreeSet<String>,
    pub accepted: u64,
    pub rejected: Vec<Rejected>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    /// Messages that were acknowledged.
    pub requests: u64,
    /// Points, spans or log records.
    pub accepted: u64,
    pub rejected: u64,
}

/// OTLP has no key against doubles: how often they are possible is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resent {
    /// Batches that were sent again after an attempt that failed half-way, or after
    /// they had been delivered.
    pub batches: u64,
    /// Batches that a process which died may have sent before.
    pub possibly: u64,
}

impl Memory {
    pub const MOST_HINTS: usize = 5;
}

impl InFlight {
    /// More answers of one batch are not remembered: those messages come again.
    pub const MOST_ANSWERS: usize = 200;
}
