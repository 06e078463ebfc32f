//! Whether two runs were measured by the same sensors: the gain of a sensor is common to
//! both then, and cancels in a ratio.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::results::{PowerSource, RunResult};

/// The sensors that the total of a run sums, each so that no other is called alike; `None`
/// where the result does not tell them.
pub fn of(result: &RunResult) -> Option<BTreeSet<String>> {
    let summed = result.sources.iter().filter(|s| s.in_total);
    let boards: BTreeSet<String> = summed
        .map(|source| board(source, result))
        .collect::<Option<_>>()?;
    (!boards.is_empty()).then_some(boards)
}

/// `None` where its machine is not known: two that are not known are not the same.
fn board(source: &PowerSource, result: &RunResult) -> Option<String> {
    let device = source.device.as_deref().unwrap_or(&source.id);
    // A GPU's UUID is one in the world; a path in `/sys` is one on its machine.
    if device.starts_with("GPU-") || device.starts_with("MIG-") {
        return Some(device.to_owned());
    }
    let host = result
        .environment
        .pointer("/host/hostname")
        .and_then(Value::as_str);
    Some(format!("{}/{device}/{}", host?, source.name))
}

/// What is to be said of the gain in the comparison of two runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// The same sensors: it cancels.
    Cancels,
    /// Others: it is part of the interval.
    Counts,
}

pub fn gain(a: &RunResult, b: &RunResult) -> Gain {
    match (of(a), of(b)) {
        (Some(a), Some(b)) if a == b => Gain::Cancels,
        _ => Gain::Counts,
    }
}
