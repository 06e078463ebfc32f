//! `lem run`: the whole way from a configuration to a delivered result.
//!
//! Validate first and purely, touch the world second, measure third.

mod dry_run;
mod enough;
pub(super) mod experiment;
pub(super) mod flags;
pub(super) mod interrupt;
pub(super) mod prepare;
mod profile;
mod progress;
pub(super) mod resume;
pub(super) mod started;

use lem_delivery::Outcome as Delivered;
use lem_record::{Exporter, RunStatus, Table};

use super::{Exit, Failure, Outcome, export, results, say, show, summary};
use crate::cli::RunArgs;
use crate::config::{Ecosystem, Resolved};
use crate::engine::Cancel;
use crate::environment;
use crate::measurement::{Ended, MeasureError};
use crate::sinks;

use experiment::{Experiment, Place, status_of};
use prepare::Prepared;

/// The end of a run waits so long for its sinks, unless `integrations.deadline_s` says otherwise.
pub(super) const DEADLINE_S: f64 = 30.0;

pub fn run(args: &RunArgs) -> Outcome {
    flags::refuse_unbuilt_sinks(&args.sinks)?;
    if let Some(id) = &args.resume {
        let (run, resolved) = resume::find(args, id)?;
        return go_on(args, &run, &resolved);
    }
    let resolved =
        super::settings::resolve(args.config.as_deref(), &args.set, flags::values(args))?;
    let unbuilt = super::settings::require_built(&resolved)?;
    let exporters = exporters(&resolved, None)?;
    if args.dry_run {
        return dry_run::dry_run(args, &resolved, &exporters);
    }
    let cancel = Cancel::default();
    interrupt::watch(&cancel);

    let mut prepared = prepare::prepare(&resolved, &cancel)?;
    if cancel.is_cancelled() {
        return stopped_early("no run was recorded");
    }
    prepared.note(resolved.notes.iter().chain(&unbuilt));
    let name = started::name(args.name.as_deref(), &resolved.config);
    let started = started::started(name, &resolved, &prepared)?;
    let run_id = started::new_run_id();
    let folder = started::folder(&resolved.config.io.results_dir, &run_id)?;
    let place = Place { run_id, folder };
    let run = Experiment::begin(&resolved, &mut prepared, &place, started, exporters)?;
    let cycles = resolved.config.num_cycles;
    to_the_end(args, &resolved, prepared, run, cycles, &cancel)
}

/// Goes on with a run that was broken off.
fn go_on(args: &RunArgs, run: &resume::Resumable, resolved: &Resolved) -> Outcome {
    super::settings::refuse_unbuilt(resolved)?;
    let exporters = exporters(resolved, Some(&run.log.started))?;
    let done = run.log.done();
    let told = format!(
        "{} has {done} of {} cycles",
        run.folder.display(),
        run.cycles
    );
    if args.dry_run {
        say(&format!("{told}; the rest would be measured"));
        return Ok(Exit::Done);
    }
    say(&format!("{told}; going on"));
    let cancel = Cancel::default();
    interrupt::watch(&cancel);
    run.join_clock(&prepare::surroundings(resolved));
    let mut prepared = prepare::prepare(resolved, &cancel)?;
    if cancel.is_cancelled() {
        return stopped_early("the run is as it was");
    }
    let now = started::started(run.log.started.name.clone(), resolved, &prepared)?;
    run.same_machine(&now)?;
    let taken = Experiment::resume(&mut prepared, &run.folder, run.cycles, exporters)?;
    to_the_end(args, resolved, prepared, taken, run.cycles, &cancel)
}

fn stopped_early(what: &str) -> Outcome {
    say(&format!("Stopped before anything was measured; {what}"));
    Ok(Exit::Interrupted)
}

/// Measures what is left, ends the run and tells of it.
fn to_the_end(
    args: &RunArgs,
    resolved: &Resolved,
    mut prepared: Prepared,
    mut run: Experiment,
    cycles: u32,
    cancel: &Cancel,
) -> Outcome {
    let config = &resolved.config;
    let outcome = run.measure(config, &mut prepared, cycles, true, cancel);
    finish(args, resolved, prepared, run, &outcome)
}

/// The sinks that are on. What their settings leave open is taken from what a run recorded of
/// them, where it goes on.
pub(super) fn exporters(
    resolved: &Resolved,
    recorded: Option<&lem_record::RunStarted>,
) -> Result<Vec<Box<dyn Exporter>>, Failure> {
    let mut made = Vec::new();
    let mut wrong = Vec::new();
    for name in sinks::enabled(&resolved.config) {
        let before = recorded.and_then(|started| started.sinks.get(name));
        match sinks::make(name, &resolved.config, &resolved.ecosystem, before) {
            Ok(sink) => made.push(sink),
            Err(errors) => wrong.extend(errors.0),
        }
    }
    if wrong.is_empty() {
        Ok(made)
    } else {
        Err(Failure::usage(wrong.join("\n")))
    }
}

fn finish(
    args: &RunArgs,
    resolved: &Resolved,
    prepared: Prepared,
    run: Experiment,
    outcome: &Result<Ended, MeasureError>,
) -> Outcome {
    let (status, reason) = status_of(outcome);
    // The engine's memory is free before the sinks are waited for.
    let idle_cache = prepared.idle_cache.clone();
    drop(prepared);
    let closed = run.end(
        &resolved.config,
        status,
        reason.clone(),
        idle_cache.as_ref(),
    )?;
    show(&results::text(&closed.result, args.format)?);
    summary::of_run(&resolved.ecosystem, &closed.result);
    export::tell(&closed.delivered, &closed.folder, args.format);
    if let Some(reason) = reason.filter(|_| status == RunStatus::Failed) {
        return Err(Failure::failed(format!(
            "{reason}. What was measured before is kept in {}; lem run --resume {} goes on with it",
            closed.folder.display(),
            closed.folder.display()
        )));
    }
    Ok(match status {
        RunStatus::Finished
            if args.sinks.strict_export && !closed.delivered.iter().all(Delivered::complete) =>
        {
            Exit::Owing
        }
        RunStatus::Finished => Exit::Done,
        _ => Exit::Interrupted,
    })
}

/// The thermal state at the end; that at the start is in the environment.
pub(super) fn thermal_at_end() -> Table {
    let thermal = serde_json::to_value(environment::thermal()).unwrap_or_default();
    let rows = thermal.as_object().into_iter().flatten();
    let rows = rows
        .map(|(what, state)| vec![what.clone().into(), state.clone()])
        .collect();
    Table {
        name: "thermal".into(),
        columns: vec!["what".into(), "at the end".into()],
        rows,
    }
}

/// What the log keeps of who and where.
pub(super) fn user(ecosystem: &Ecosystem) -> Option<&str> {
    ecosystem.get("USER").or_else(|| ecosystem.get("LOGNAME"))
}
