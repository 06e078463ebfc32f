//! One result of several processes, GPUs or hosts that worked together, made late, from
//! their logs, which stay as they are.
//!
//! ```text
//! logs ─► parts ─► checks ─► one clock ─► devices, each once ─► one run ─► analysis ─► result
//! ```
//!
//! The parts become one [`RunData`], and the analysis of single runs computes the rest:
//! latencies from all requests, rates from all tokens over the time in which the processes
//! worked, energies with their uncertainty from each device's one series.

mod checks;
mod clock;
mod devices;
mod merge;
mod part;
pub mod sweep;
mod types;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

pub use part::Part;
pub use types::{Aggregation, Completeness, Device, Overlap, Process};

use super::index::RESULT_SUFFIX;
use super::{RunResult, build};
use crate::analysis::analyse;

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Processes that there must be.
    pub expect: Option<usize>,
    pub allow_mixed: bool,
}

const METHOD: &str = "A cycle is a stretch of time in which at least one process was in a cycle. Each device's energy counts once, in the time in which at least one of its processes was in a cycle. Latencies are those of all requests; rates are all tokens over the stretch.";
const APART: &str = "the phases of processes that work together lie across each other; each run's own result has them";
const IDLE: &str = "no idle power is known of every device: one that several processes share has none that is common to them";

/// Reads the runs of these folders, and makes one result of them.
pub fn aggregate(folders: &[PathBuf], options: &Options) -> Result<RunResult, String> {
    let parts = folders
        .iter()
        .map(|folder| Part::read(folder))
        .collect::<Result<Vec<_>, _>>()?;
    of_parts(parts, options)
}

pub fn of_parts(mut parts: Vec<Part>, options: &Options) -> Result<RunResult, String> {
    if parts.is_empty() {
        return Err("there is no run to aggregate".into());
    }
    let mixed = checks::alike(&parts, options.allow_mixed)?;
    // In an order of their own: the same runs give the same result.
    parts.sort_by(|a, b| a.id().cmp(b.id()));
    let processes = parts.iter().map(Part::process).collect();
    let joined = clock::join(&mut parts)?;
    let merged = devices::merge(&parts);
    let completeness = checks::completeness(&parts, options);
    let overlap = checks::overlap(&parts, &joined);
    let mut warnings = mixed;
    warnings.extend(checks::warnings(
        &parts,
        &completeness,
        &overlap,
        &merged.devices,
    ));
    let id = id(&parts);
    let data = merge::merge(&id, &parts, &merged, warnings);
    let mut analysis = analyse(&data);
    let better = |id: &str, why: &str| {
        if why.starts_with("the engine does not tell where prefill and decode begin") {
            return Some(APART.to_owned());
        }
        let idle =
            id.contains("_corrected") || id.contains("above_bare") || id.starts_with("baseline.");
        (idle && why.starts_with("no idle baseline")).then(|| IDLE.to_owned())
    };
    analysis.run.reasons(better);
    for cycle in &mut analysis.cycles {
        cycle.sheet.reasons(better);
    }
    let folder = parts
        .first()
        .and_then(|p| p.folder.parent())
        .unwrap_or(Path::new("."));
    let mut result = build(&data, &analysis, Vec::new(), folder);
    result.aggregation = Some(Aggregation {
        method: METHOD.into(),
        processes,
        devices: merged.devices,
        overlap,
        completeness,
    });
    Ok(result)
}

/// The same for the same runs.
fn id(parts: &[Part]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.id().as_bytes());
        hasher.update([0]);
    }
    let hash = hex::encode(hasher.finalize());
    format!("aggregate-{}", hash.get(..12).unwrap_or(&hash))
}

/// The file of an aggregate, which a folder of runs lists among them.
pub fn file_name(result: &RunResult) -> String {
    format!("{}{RESULT_SUFFIX}", result.run_id)
}
