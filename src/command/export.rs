//! `lem export`: deliver a run, now or again.

use std::time::Duration;

use lem_delivery::{Log, Outcome as Delivered, Policy, Standing, deliver_once};

use super::run::flags;
use super::settings::resolve;
use super::{Exit, Failure, Outcome, close, results, show};
use crate::cli::{ExportArgs, Format};
use crate::config::{Config, Ecosystem, Environment, FlagValue};
use crate::sinks;

pub fn export(args: &ExportArgs) -> Outcome {
    if !args.deadline.is_finite() || args.deadline < 0.0 {
        return Err(Failure::usage(
            "--deadline takes a number of seconds, 0 or more",
        ));
    }
    let log = Log::read(&args.run).map_err(|error| Failure::usage(error.to_string()))?;
    let (config, ecosystem) = settings(args)?;
    let mut exporters = Vec::new();
    let mut wrong = Vec::new();
    for name in &args.to {
        let recorded = log.started.sinks.get(name);
        match sinks::make(name, &config, &ecosystem, recorded) {
            Ok(exporter) => exporters.push(exporter),
            Err(errors) => wrong.extend(errors.0),
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::usage(wrong.join("\n")));
    }
    match log.standing {
        Standing::Running { pid } => {
            let pid = pid
                .map(|pid| format!(" by process {pid}"))
                .unwrap_or_default();
            return Err(Failure::failed(format!(
                "the run in {} is still being measured{pid}. Wait for its end, then export it",
                args.run.display()
            )));
        }
        Standing::Killed => close::close_killed(&args.run)?,
        Standing::Ended(_) => {}
    }
    let deadline = Duration::try_from_secs_f64(args.deadline).unwrap_or(Duration::MAX);
    let outcomes = deliver_once(&args.run, exporters, &Policy::default(), deadline)
        .map_err(|error| Failure::failed(error.to_string()))?;
    remember(args, &outcomes)?;
    show(&match args.format {
        Format::Json => serde_json::to_string_pretty(&outcomes)
            .map_err(|error| Failure::failed(format!("the deliveries cannot be shown: {error}")))?,
        Format::Table => outcomes.iter().map(told).collect::<Vec<_>>().join("\n"),
    });
    let complete = outcomes.iter().all(Delivered::complete);
    Ok(if complete { Exit::Done } else { Exit::Owing })
}

/// The current configuration and environment go before what the run recorded.
fn settings(args: &ExportArgs) -> Result<(Config, Ecosystem), Failure> {
    // A configuration of sinks alone need not name a model.
    let mut sets = args.set.clone();
    if args.config.is_none() {
        sets.insert(0, "model_name=none".to_owned());
    }
    let waits = args.linger.map(|seconds| {
        let on = FlagValue::new("integrations.prometheus.enabled", true, "--linger");
        [on, flags::linger(seconds)]
    });
    let flags = waits.into_iter().flatten().collect();
    let resolved = resolve(args.config.as_deref(), &sets, flags)?;
    let ecosystem = Ecosystem::new(&Environment::of_process());
    Ok((resolved.config, ecosystem))
}

/// The result tells of the newest delivery to each sink.
fn remember(args: &ExportArgs, outcomes: &[Delivered]) -> Result<(), Failure> {
    let mut exports = results::exports_of(&args.run);
    exports.retain(|old| !outcomes.iter().any(|new| new.sink == old.sink));
    exports.extend(outcomes.iter().cloned());
    close::write_result(&args.run, &exports).map(|_| ())
}

/// A sink's outcome in a few lines.
pub fn told(outcome: &Delivered) -> String {
    use lem_delivery::DeliveryState::{Delivered, Delivering, GaveUp, Owing};
    let state = match outcome.state {
        Delivered => "delivered",
        Delivering => "still delivering",
        Owing => "not delivered in time",
        GaveUp => "refused",
    };
    let mut lines = vec![format!("{}: {state}", outcome.sink)];
    if let Some(at) = outcome
        .receipt
        .as_ref()
        .and_then(|receipt| receipt.look_at.as_deref())
    {
        lines.push(format!("  look at {at}"));
    } else {
        lines.push(format!("  to {}", outcome.destination));
    }
    if outcome.owed > 0 {
        lines.push(format!("  {} records are owed", outcome.owed));
    }
    if let Some(reason) = &outcome.reason {
        lines.push(format!("  {reason}"));
    }
    lines.extend(outcome.remedy.as_ref().map(|remedy| format!("  {remedy}")));
    for (reason, count) in outcome.rejections_by_reason() {
        lines.push(format!("  {count} refused: {reason}"));
    }
    lines.extend(outcome.notes.iter().map(|note| format!("  {note}")));
    lines.join("\n")
}
