//! `lem export`: deliver runs, one or many, now or again, of this machine or of another.
//!
//! One run after the other, the sinks of each at the same time. A run that cannot be
//! delivered does not stop the others, and a destination that was silent for one run is
//! not waited for again.

mod one;
mod pending;
mod recorded;
mod told;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lem_delivery::Outcome as Delivered;
use serde::Serialize;

use super::run::flags;
use super::settings::resolve_sinks;
use super::{Exit, Failure, Outcome, json, say, show, summary};
use crate::cli::{ExportArgs, Format};
use crate::config::{FlagValue, Resolved};
use crate::sinks;

use one::{Exported, Round};
pub use told::tell;

pub fn export(args: &ExportArgs) -> Outcome {
    if !args.deadline.is_finite() || args.deadline < 0.0 {
        return Err(Failure::usage(
            "--deadline takes a number of seconds, 0 or more",
        ));
    }
    for name in &args.to {
        sinks::require(name).map_err(|errors| Failure::usage(errors.to_string()))?;
    }
    let waits = args.linger.map(|seconds| {
        let on = FlagValue::new("integrations.prometheus.enabled", true, "--linger");
        [on, flags::linger(seconds)]
    });
    let waits = waits.into_iter().flatten().collect();
    let resolved = resolve_sinks(args.config.as_deref(), &args.set, waits)?;
    let folders = match args.pending {
        true => pending::runs(&parents(args, &resolved), args.runs.is_empty())?,
        false => args.runs.clone(),
    };
    let mut round = Round::new(
        &resolved,
        &args.to,
        args.pending,
        Duration::try_from_secs_f64(args.deadline).unwrap_or(Duration::MAX),
    );
    let mut runs = Vec::new();
    for folder in &folders {
        let exported = round.export(folder);
        match exported.problem {
            // One run, and nothing came of it: that is all there is to say.
            Some(failure) if folders.len() == 1 => return Err(failure),
            Some(ref failure) => say(&format!("error: {failure}")),
            None => {}
        }
        runs.push(exported);
    }
    let report = Report::of(args.pending, &runs);
    show(&match args.format {
        Format::Json => json(&report)?,
        Format::Table => told::report(&report),
    });
    let delivered: Vec<(&str, &[Delivered])> = runs
        .iter()
        .filter(|run| !run.exports.is_empty())
        .map(|run| (run.run.as_str(), run.exports.as_slice()))
        .collect();
    if !delivered.is_empty() {
        summary::of_exports(&resolved.ecosystem, &delivered);
    }
    Ok(match &report {
        report if report.failed > 0 => Exit::Failed,
        report if report.incomplete > 0 => Exit::Owing,
        _ => Exit::Done,
    })
}

/// Where `--pending` looks for runs.
fn parents(args: &ExportArgs, resolved: &Resolved) -> Vec<PathBuf> {
    match args.runs.as_slice() {
        [] => vec![Path::new(&resolved.config.io.results_dir).to_owned()],
        given => given.to_vec(),
    }
}

/// What came of all of it.
#[derive(Serialize)]
pub struct Report<'a> {
    pending: bool,
    /// Runs that were looked at.
    looked_at: usize,
    /// Runs that could not be delivered at all.
    failed: usize,
    /// Deliveries that were tried or are owed.
    deliveries: usize,
    /// Of these, those where something is still owed.
    incomplete: usize,
    /// The runs that there is something to say of.
    runs: Vec<&'a Exported>,
}

impl<'a> Report<'a> {
    fn of(pending: bool, runs: &'a [Exported]) -> Self {
        let exports = || runs.iter().flat_map(|run| &run.exports);
        Self {
            pending,
            looked_at: runs.len(),
            failed: runs.iter().filter(|run| run.problem.is_some()).count(),
            deliveries: exports().count(),
            incomplete: exports().filter(|outcome| !outcome.complete()).count(),
            runs: runs.iter().filter(|run| run.is_worth_telling()).collect(),
        }
    }
}
