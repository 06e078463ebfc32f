//! `lem run`: the whole way from a configuration to a delivered result.
//!
//! Validate first and purely, touch the world second, measure third.

mod dry_run;
pub(super) mod flags;
mod interrupt;
pub(super) mod prepare;
mod profile;
mod progress;
pub(super) mod started;

use std::rc::Rc;
use std::time::{Duration, Instant};

use lem_delivery::{Delivery, Outcome as Delivered, Policy, Spool};
use lem_record::{Exporter, Record, Recorder as _, RunStatus, Table, Warning};

use super::{Exit, Failure, Outcome, close, export, results, say, show, summary};
use crate::cli::RunArgs;
use crate::config::Ecosystem;
use crate::engine::Cancel;
use crate::environment;
use crate::measurement::{self, Ended, IdleCache, MeasureError, Plan, Rounds, Session, Shown};
use crate::sinks;

use prepare::Prepared;
use progress::Progress;

/// The end of a run waits so long for its sinks, unless `integrations.deadline_s` says otherwise.
pub(super) const DEADLINE_S: f64 = 30.0;

/// Between two cycles, sinks get at most this long before the next cycle starts.
const BETWEEN: Duration = Duration::from_secs(2);

pub fn run(args: &RunArgs) -> Outcome {
    flags::refuse_unbuilt(args)?;
    let resolved = super::settings::resolve(Some(&args.config), &args.set, flags::values(args))?;
    let unbuilt = super::settings::require_built(&resolved)?;
    let exporters = exporters(&resolved)?;
    if args.dry_run {
        return dry_run::dry_run(args, &resolved, &exporters);
    }
    let cancel = Cancel::default();
    interrupt::watch(&cancel);

    let mut prepared = prepare::prepare(&resolved, &cancel)?;
    if cancel.is_cancelled() {
        say("Stopped before anything was measured; no run was recorded");
        return Ok(Exit::Interrupted);
    }
    prepared.notes.extend(
        resolved
            .notes
            .iter()
            .chain(&unbuilt)
            .map(crate::config::Finding::to_record),
    );
    let started = started::started(args, &resolved, &prepared)?;
    let run_id = started::new_run_id();
    let folder = started::folder(&resolved.config.io.results_dir, &run_id)?;
    let spool =
        Spool::create(&folder, &run_id, started).map_err(|e| Failure::failed(e.to_string()))?;
    started::write_config(&folder, &resolved)?;
    if let Err(error) = prepared.engine.run_folder(&folder) {
        say(&format!(
            "warning: the engine's log could not be put into the run's folder: {error}"
        ));
    }
    for warning in prepared.notes.drain(..) {
        spool.record(Record::Warning(warning));
    }
    for record in prepared.bare_baseline.drain(..) {
        spool.record(record);
    }
    spool
        .commit()
        .map_err(|e| Failure::failed(MeasureError::Log(e).to_string()))?;
    let delivery = Delivery::start(&spool, exporters, &Policy::default())
        .map_err(|error| Failure::failed(error.to_string()))?;
    let delivery = Rc::new(delivery);

    let idle_cache = prepared.idle_cache.take();
    let shared = prepared.shared.take();
    let outcome = measure(&resolved.config, prepared, &spool, &delivery, &cancel);
    if let Some(warning) = shared.and_then(|shared| shared.after()) {
        spool.record(Record::Warning(warning));
    }
    finish(args, &resolved, spool, delivery, outcome, idle_cache)
}

pub(super) fn exporters(
    resolved: &crate::config::Resolved,
) -> Result<Vec<Box<dyn Exporter>>, Failure> {
    let mut made = Vec::new();
    let mut wrong = Vec::new();
    for name in sinks::enabled(&resolved.config) {
        match sinks::make(name, &resolved.config, &resolved.ecosystem, None) {
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

fn measure(
    config: &crate::config::Config,
    mut prepared: Prepared,
    spool: &Spool,
    delivery: &Rc<Delivery>,
    cancel: &Cancel,
) -> Result<Ended, MeasureError> {
    let sending = Rc::clone(delivery);
    let mut progress = Progress::new(move || wait_for(&sending, BETWEEN));
    let board = spool.live().unwrap_or_default();
    prepared.probe.show(&board);
    let planned = prepared.workload.requests.len() as u64 * u64::from(config.num_cycles);
    let shown = Shown::new(&board, planned);
    let plan = Plan {
        work: prepared.workload.work(),
        cycles: config.num_cycles,
        first_cycle: 0,
        measurement: config.measurement.clone(),
        rounds: Rounds::needed(
            &config.measurement,
            &prepared.sources,
            prepared.engine.capabilities(),
        ),
    };
    let ended = measurement::measure(
        &mut Session {
            engine: prepared.engine.as_mut(),
            probe: &prepared.probe,
            recorder: spool,
            observer: &mut progress,
            cancel,
            shown: &shown,
        },
        &plan,
    );
    progress.end();
    if config.profiling.enabled && matches!(ended, Ok(Ended::Complete)) {
        profile::run(prepared.engine.as_mut(), &plan.work, spool, cancel);
    }
    ended
}

/// Gives the sinks time while nothing is measured.
fn wait_for(delivery: &Delivery, longest: Duration) {
    let end = Instant::now() + longest;
    let busy = |d: &Delivered| {
        d.owed > 0 && d.state == lem_delivery::DeliveryState::Delivering && d.reason.is_none()
    };
    while Instant::now() < end && delivery.outcomes().iter().any(busy) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn finish(
    args: &RunArgs,
    resolved: &crate::config::Resolved,
    spool: Spool,
    delivery: Rc<Delivery>,
    outcome: Result<Ended, MeasureError>,
    idle_cache: Option<IdleCache>,
) -> Outcome {
    let (status, reason) = match &outcome {
        Ok(Ended::Complete) => (RunStatus::Finished, None),
        Ok(Ended::Interrupted) => (
            RunStatus::Interrupted,
            Some("interrupted by a signal".to_owned()),
        ),
        Err(error) => (RunStatus::Failed, Some(error.to_string())),
    };
    if spool.disturbances() > 0 {
        spool.record(Record::Warning(Warning {
            code: "delivery.disturbed".into(),
            message: format!(
                "In {} quiet windows a sink was still busy on its thread",
                spool.disturbances()
            ),
            remedy: "Deliver after the run instead: leave the sink's flag out and use lem export"
                .into(),
        }));
    }
    spool.record(Record::Table(thermal_at_end()));
    let analysis = close::close(&spool, status, reason.clone())?;
    if let Some(cache) = idle_cache.filter(|_| resolved.config.measurement.baseline.enabled) {
        let now = jiff::Timestamp::now().as_second();
        if let Err(error) = cache.store(&analysis.idles, spool.run_id(), now) {
            say(&format!(
                "warning: the idle power could not be kept for later runs: {error}"
            ));
        }
    }
    let folder = spool.folder().to_owned();
    let deadline = resolved
        .config
        .integrations
        .deadline_s
        .unwrap_or(DEADLINE_S);
    let deadline = Duration::try_from_secs_f64(deadline).unwrap_or(Duration::MAX);
    let delivered = match Rc::try_unwrap(delivery) {
        Ok(delivery) => delivery.finish(status, deadline),
        // The observer that shared it is gone by now.
        Err(delivery) => delivery.outcomes(),
    };
    drop(spool);
    let result = close::write_result(&folder, &delivered)?;
    show(&results::text(&result, args.format)?);
    summary::of_run(&resolved.ecosystem, &result);
    export::tell(&delivered, &folder, args.format);
    if let Some(reason) = reason.filter(|_| status == RunStatus::Failed) {
        return Err(Failure::failed(format!(
            "{reason}. What was measured before is kept in {}",
            folder.display()
        )));
    }
    Ok(match status {
        RunStatus::Finished
            if args.sinks.strict_export && !delivered.iter().all(Delivered::complete) =>
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
