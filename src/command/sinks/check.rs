//! `lem sinks check`: what can be known of a sink without leaving anything behind.

use std::time::Duration;

use lem_record::{Check, CheckOutcome, Exporter};
use serde::Serialize;
use tokio::task::{LocalSet, spawn_local};

use super::is_on;
use crate::cli::{Format, SinksCheckArgs};
use crate::command::settings::resolve_sinks;
use crate::command::{Exit, Failure, Outcome, json, show};
use crate::config::Resolved;
use crate::sinks;

/// What was found out of one sink.
#[derive(Serialize)]
struct Report {
    sink: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    failed: bool,
    #[serde(flatten)]
    check: Check,
}

impl Report {
    fn new(sink: &str, destination: Option<String>, check: Check) -> Self {
        Self {
            sink: sink.to_owned(),
            destination,
            failed: check.failed(),
            check,
        }
    }
}

pub fn check(args: &SinksCheckArgs) -> Outcome {
    if !args.timeout.is_finite() || args.timeout <= 0.0 {
        return Err(Failure::usage(
            "--timeout takes a number of seconds, more than 0",
        ));
    }
    let resolved = resolve_sinks(args.config.as_deref(), &args.set, Vec::new())?;
    let names = names(args, &resolved)?;
    let limit = Duration::try_from_secs_f64(args.timeout).unwrap_or(Duration::MAX);
    let reports = all(&names, &resolved, limit)?;
    show(&match args.format {
        Format::Json => json(&reports)?,
        Format::Table => told(&reports),
    });
    let failed = reports.iter().any(|report| report.failed);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// The sinks that were named, else those that are turned on.
fn names(args: &SinksCheckArgs, resolved: &Resolved) -> Result<Vec<String>, Failure> {
    let built = sinks::built();
    let mut names: Vec<String> = args.to.clone();
    for name in &names {
        sinks::require(name).map_err(|errors| Failure::usage(errors.to_string()))?;
    }
    if names.is_empty() {
        let all = built.iter().chain(sinks::ABSENT);
        let on = all.filter(|name| is_on(resolved, name));
        names.extend(on.map(|name| (*name).to_owned()));
    }
    names.dedup();
    if names.is_empty() {
        return Err(Failure::usage(format!(
            "no sink is turned on, so there is nothing to check. Give a configuration that turns one on, or name one: lem sinks check --to {}",
            built.first().copied().unwrap_or("files")
        )));
    }
    Ok(names)
}

/// All at once, so that several that are dead cost the time of one.
fn all(names: &[String], resolved: &Resolved, limit: Duration) -> Result<Vec<Report>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::failed(format!("no runtime for the checks: {e}. Raise ulimit -n")))?;
    let reports = runtime.block_on(LocalSet::new().run_until(async {
        let mut asked = Vec::new();
        for name in names {
            let made = sinks::make(name, &resolved.config, &resolved.ecosystem, None);
            asked.push(match made {
                Ok(sink) => {
                    let place = Some(sink.destination());
                    Ok((name, place, spawn_local(asked_within(sink, limit))))
                }
                Err(errors) => Err(Report::new(name, None, wrong_settings(&errors.0))),
            });
        }
        let mut reports = Vec::new();
        for one in asked {
            reports.push(match one {
                Err(report) => report,
                Ok((name, place, check)) => {
                    let check = check.await.unwrap_or_else(|_| broke_down());
                    Report::new(name, place, check)
                }
            });
        }
        reports
    }));
    // A look-up of a name may still block a thread of it.
    runtime.shutdown_background();
    Ok(reports)
}

async fn asked_within(sink: Box<dyn Exporter>, limit: Duration) -> Check {
    let answer = tokio::time::timeout(limit, sink.check()).await;
    answer.unwrap_or_else(|_| {
        failed(
            "reachable",
            format!("no answer within {} s", limit.as_secs_f64()),
            "Look whether the address is right and the service runs, or allow more by --timeout",
        )
    })
}

fn wrong_settings(errors: &[String]) -> Check {
    let mut check = Check::default();
    for error in errors {
        // The error says the remedy itself.
        let (why, remedy) = error.split_once(". ").unwrap_or((error, ""));
        check
            .items
            .extend(failed("settings", why.to_owned(), remedy).items);
    }
    check
}

fn broke_down() -> Check {
    failed(
        "check",
        "the sink broke down: this is a bug in lem".to_owned(),
        "Please report it",
    )
}

fn failed(what: &str, why: String, remedy: &str) -> Check {
    let mut check = Check::default();
    let remedy = remedy.to_owned();
    check.push(what, CheckOutcome::Failed { why, remedy });
    check
}

fn told(reports: &[Report]) -> String {
    let mut lines = Vec::new();
    for report in reports {
        let place = report.destination.as_ref();
        let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
        let verdict = if report.failed { "NO" } else { "ok" };
        lines.push(format!("{}{place}: {verdict}", report.sink));
        for item in &report.check.items {
            lines.push(match &item.outcome {
                CheckOutcome::Ok { detail } => format!("  ok       {}: {detail}", item.what),
                CheckOutcome::Failed { why, remedy } => {
                    let remedy = match remedy.is_empty() {
                        true => String::new(),
                        false => format!(". {remedy}"),
                    };
                    format!("  NO       {}: {why}{remedy}", item.what)
                }
                CheckOutcome::Unknown { why } => {
                    format!("  unknown  {}: {why}", item.what)
                }
            });
        }
    }
    lines.join("\n")
}
