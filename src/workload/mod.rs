//! What is asked of the engine: prompts, lengths, requests.
//!
//! The same configuration and seed give the same workload, token for token. The
//! text of a prompt goes to the engine and nowhere else: what is told of it is a
//! digest and counts.

mod arrivals;
mod cut;
mod dataset;
mod lengths;
mod plan;
mod prompts;
mod sampling;
mod seed;
mod synthetic;
mod words;

use std::fmt;

use lem_record::Warning;
use serde::{Deserialize, Serialize};

use crate::engine::{Request, Sampling, Work};

pub use plan::{build, build_from};
pub use prompts::{Gathered, gather};

/// What a cycle asks, all of it.
#[derive(Clone, PartialEq)]
pub struct Workload {
    /// In the order in which they are taken up. Ids count the prompts before sorting.
    pub requests: Vec<Request>,
    pub dataset: DatasetInfo,
    pub sampling: Sampling,
    /// Sequences that run together, or requests under way at one time.
    pub batch_size: usize,
    /// When each request is due, nanoseconds after a cycle's start; empty without a schedule.
    pub due_ns: Vec<u64>,
    pub warnings: Vec<Warning>,
}

impl Workload {
    /// What a cycle asks of the engine.
    pub fn work(&self) -> Work {
        Work {
            requests: self.requests.clone(),
            batch_size: self.batch_size,
            sampling: self.sampling.clone(),
            due_ns: self.due_ns.clone(),
        }
    }

    pub fn input_tokens(&self) -> u64 {
        self.requests
            .iter()
            .map(|request| request.tokens.len() as u64)
            .sum()
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload")
            .field("requests", &self.requests.len())
            .field("input_tokens", &self.input_tokens())
            .field("dataset", &self.dataset)
            .field("sampling", &self.sampling)
            .field("batch_size", &self.batch_size)
            .field("warnings", &self.warnings)
            .finish()
    }
}

/// Where the prompts came from and which they were, without the prompts.
/// The last three are JSON in the forms that MLflow knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    pub name: String,
    /// 32 hexadecimal digits of the SHA-256 of the prompts in order: of their texts,
    /// so that it is the same for every model, or of their tokens where they have no text.
    pub digest: String,
    /// `hf`, `local` or `code`.
    pub source_type: String,
    pub source: String,
    pub schema: String,
    /// Counts of rows and tokens.
    pub profile: String,
}
