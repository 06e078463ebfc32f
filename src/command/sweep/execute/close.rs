//! Ending points without an engine: those that are stopped, broken off, or never began.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lem_delivery::{Log, Outcome as Delivered, Policy, RECORDS_FILE, Spool, deliver_once};
use lem_record::{RunStarted, RunStatus};
use serde_json::Value;

use crate::command::run::{DEADLINE_S, exporters, prepare, started};
use crate::command::{Failure, close};
use crate::config::Resolved;
use crate::sinks;
use crate::sweep::plan::{Plan, Point};

/// Ends a point's run; says whether a delivery is owed.
pub fn end(
    folder: &Path,
    resolved: &Resolved,
    status: RunStatus,
    reason: Option<String>,
) -> Result<bool, Failure> {
    let (spool, log) = Spool::reopen(folder).map_err(|e| Failure::failed(e.to_string()))?;
    close::close(&spool, status, reason)?;
    drop(spool);
    deliver(folder, resolved, Some(&log.started))
}

/// Records a point that failed, with the log that it has or one of nothing but the failure.
pub fn fail(
    folder: &Path,
    run_id: &str,
    first: RunStarted,
    resolved: &Resolved,
    reason: &str,
) -> Result<bool, Failure> {
    if folder.join(RECORDS_FILE).exists() {
        return end(folder, resolved, RunStatus::Failed, Some(reason.to_owned()));
    }
    let spool = Spool::create(folder, run_id, first).map_err(|e| Failure::failed(e.to_string()))?;
    started::write_config(folder, resolved)?;
    close::close(&spool, RunStatus::Failed, Some(reason.to_owned()))?;
    drop(spool);
    deliver(folder, resolved, None)
}

/// Whether a point's log holds nothing but that its engine did not load: there is nothing to go
/// on with, not even sensors.
pub fn never_began(folder: &Path) -> Result<bool, Failure> {
    let log = Log::read(folder).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(log.cycles.is_empty() && log.started.model.is_null())
}

/// Moves such a run away, into the sweep's folder `failed`, so that the point can be begun.
pub fn set_aside(sweep: &Path, folder: &Path) -> Result<(), Failure> {
    let failed = sweep.join("failed");
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let free = (1..1000)
        .map(|n| failed.join(format!("{name}-{n}")))
        .find(|place| !place.exists());
    let Some(place) = free else {
        return Err(Failure::failed(format!(
            "{} has a thousand failed attempts. Remove some",
            failed.display()
        )));
    };
    let moved = fs::create_dir_all(&failed).and_then(|()| fs::rename(folder, &place));
    moved.map_err(|error| {
        Failure::failed(format!(
            "the failed attempt {} cannot be moved to {}: {error}. Move or remove it by hand",
            folder.display(),
            place.display()
        ))
    })
}

fn deliver(
    folder: &Path,
    resolved: &Resolved,
    recorded: Option<&RunStarted>,
) -> Result<bool, Failure> {
    let deadline = resolved
        .config
        .integrations
        .deadline_s
        .unwrap_or(DEADLINE_S);
    let deadline = Duration::try_from_secs_f64(deadline).unwrap_or(Duration::MAX);
    let sinks = exporters(resolved, recorded)?;
    let delivered = deliver_once(folder, sinks, &Policy::default(), deadline)
        .map_err(|error| Failure::failed(error.to_string()))?;
    close::write_result(folder, &delivered)?;
    Ok(!delivered.iter().all(Delivered::complete))
}

/// The first record of a point whose engine did not load.
pub fn of_failed(plan: &Plan, point: &Point, resolved: &Resolved) -> Result<RunStarted, Failure> {
    let environment = prepare::surroundings(resolved);
    let mut tags = started::tags(resolved, &environment);
    tags.extend(super::tags(plan, point));
    let environment = serde_json::to_value(&environment).map_err(|error| {
        Failure::failed(format!(
            "the point cannot be described: {error}. Please report it"
        ))
    })?;
    let boot_id = environment.pointer("/host/boot_id").and_then(Value::as_str);
    let name = format!("{} {}", plan.name, point.told());
    Ok(RunStarted {
        format: 1,
        producer: started::producer(),
        name: name.trim().to_owned(),
        config: resolved.tree.clone(),
        provenance: resolved.origins.clone(),
        tags,
        boot_id: boot_id.map(str::to_owned),
        environment,
        pid: std::process::id(),
        sinks: sinks::to_record(&resolved.config, &resolved.ecosystem)
            .map_err(|e| Failure::usage(e.to_string()))?,
        varying: Vec::new(),
        sources: Value::Array(Vec::new()),
        model: Value::Null,
    })
}
