//! What an aggregated result says of how it was made.

use lem_record::RunStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meter::Component;

/// How several runs became one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Aggregation {
    /// In words: what a cycle, the energy and the rates of this result are.
    pub method: String,
    /// The runs that it is made of.
    pub processes: Vec<Process>,
    /// Every device once, however many processes it served.
    pub devices: Vec<Device>,
    /// When the processes worked together.
    pub overlap: Overlap,
    /// Whether everything that was expected is there.
    pub completeness: Completeness,
}

/// One run of those.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Of the run.
    pub run_id: String,
    /// What a person calls it.
    pub name: String,
    /// The machine's name.
    pub host: Option<String>,
    /// Kernel boot id: times of one boot are on one clock.
    pub boot_id: Option<String>,
    /// Of the process.
    pub pid: u32,
    /// How it ended.
    pub status: RunStatus,
    /// Who generated the tokens.
    pub backend: Option<String>,
    /// As its configuration names it.
    pub model_name: Option<String>,
    /// Finished cycles.
    pub cycles: u32,
    /// Of its answered requests.
    pub output_tokens: u64,
    /// Start of its first cycle, RFC 3339, UTC.
    pub start: Option<String>,
    /// End of its last cycle, RFC 3339, UTC.
    pub end: Option<String>,
}

/// One device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Device {
    /// Its source in this result.
    pub id: String,
    /// As people know it.
    pub name: String,
    /// UUID or path.
    pub device: Option<String>,
    /// The machine that it is in.
    pub host: Option<String>,
    /// `gpu`, `cpu`, `memory`, `module`.
    pub component: Component,
    /// The runs whose processes it served.
    pub runs: Vec<String>,
    /// Time in which at least one of them was in a cycle, seconds: its energy is of this time.
    pub seconds: f64,
    /// Largest difference between two processes' readings of it at the same time, as a share;
    /// `null` where no two read it together.
    pub difference: Option<f64>,
}

/// When the processes worked together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overlap {
    /// By which clock their times were joined.
    pub clock: String,
    /// How far the wall clock moved against the monotonic one in a run, seconds, at most; of
    /// one boot `null`. How far two hosts' clocks are apart besides, no log tells.
    pub clock_moved_s: Option<f64>,
    /// Time in which at least one process was in a cycle, seconds.
    pub some_s: f64,
    /// Time in which all were, seconds.
    pub all_s: f64,
}

/// Whether everything that was expected is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Completeness {
    /// Nothing is missing, as far as is known.
    pub complete: bool,
    /// Processes that there must be, where it was told.
    pub expected: Option<u32>,
    /// Processes that there are.
    pub found: u32,
    /// What is missing.
    pub missing: Vec<String>,
}
