//! What came of an export, for a person.

use std::path::Path;

use lem_delivery::{DeliveryState, Outcome as Delivered};

use super::Report;
use crate::cli::Format;
use crate::command::{say, table};
use crate::results::markdown::state;

/// A table of all deliveries, what stands in the way of each that is not complete, and
/// the sum of it.
pub fn report(report: &Report<'_>) -> String {
    let mut parts = Vec::new();
    if report.deliveries > 0 {
        parts.push(deliveries(report));
    }
    let mut told = Vec::new();
    for run in &report.runs {
        if let Some(skipped) = &run.skipped {
            told.push(format!("{}: {skipped}", run.run));
        }
        for outcome in &run.exports {
            let lines = more(outcome);
            if !lines.is_empty() {
                told.push(format!(
                    "{} to {}:\n{}",
                    run.run,
                    outcome.sink,
                    lines.join("\n")
                ));
            }
        }
    }
    if !told.is_empty() {
        parts.push(told.join("\n"));
    }
    parts.push(verdict(report));
    parts.join("\n\n")
}

fn deliveries(report: &Report<'_>) -> String {
    let mut table = table(&["run", "sink", "state", "accepted", "refused", "owed", "see"]);
    for run in &report.runs {
        for outcome in &run.exports {
            table.add_row([
                run.run.clone(),
                outcome.sink.clone(),
                state(outcome.state).to_owned(),
                outcome.accepted.to_string(),
                outcome.rejected.to_string(),
                outcome.owed.to_string(),
                place(outcome).to_owned(),
            ]);
        }
    }
    let table = table.to_string();
    let lines = table.lines().map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}

fn verdict(report: &Report<'_>) -> String {
    let runs = |n: usize| match n {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    let mut told = match (report.deliveries, report.incomplete) {
        (0, _) if report.pending && report.looked_at == 0 => {
            "There are no runs here: nothing is owed.".to_owned()
        }
        (0, _) if report.pending && report.failed == 0 => {
            format!("Looked at {}: nothing is owed.", runs(report.looked_at))
        }
        (0, _) => "Nothing was delivered.".to_owned(),
        (1, 0) => "The delivery is complete.".to_owned(),
        (n, 0) => format!("All {n} deliveries are complete."),
        (n, late) => format!("{late} of {n} deliveries incomplete. Later: lem export --pending"),
    };
    if report.failed > 0 {
        told.push_str(&format!(
            " {} could not be delivered: see above.",
            runs(report.failed)
        ));
    }
    told
}

fn place(outcome: &Delivered) -> &str {
    let receipt = outcome.receipt.as_ref();
    let look_at = receipt.and_then(|receipt| receipt.look_at.as_deref());
    look_at.unwrap_or(&outcome.destination)
}

/// At a run's end, of the sinks that it delivered to: what those without everything lack, and
/// how they get it.
pub fn tell(delivered: &[Delivered], folder: &Path, format: Format) {
    for outcome in delivered {
        // The table tells of deliveries itself.
        if format == Format::Json || !outcome.complete() {
            say(&told(outcome));
        }
        if !outcome.complete() {
            say(&format!(
                "warning: {} did not get everything. Later: lem export {} --to {0}",
                outcome.sink,
                folder.display()
            ));
        }
    }
}

/// A sink's outcome in a few lines.
fn told(outcome: &Delivered) -> String {
    let state = match outcome.state {
        DeliveryState::Owing => "not delivered in time",
        other => state(other),
    };
    let mut lines = vec![format!("{}: {state}", outcome.sink)];
    let receipt = outcome.receipt.as_ref();
    lines.push(match receipt.and_then(|r| r.look_at.as_deref()) {
        Some(at) => format!("  look at {at}"),
        None => format!("  to {}", outcome.destination),
    });
    if outcome.owed > 0 {
        lines.push(format!("  {} records are owed", outcome.owed));
    }
    lines.extend(more(outcome));
    lines.join("\n")
}

/// Why it is not complete, what to do, and what else is worth knowing.
fn more(outcome: &Delivered) -> Vec<String> {
    let mut lines = Vec::new();
    let said = [&outcome.reason, &outcome.remedy];
    lines.extend(said.into_iter().flatten().map(|text| format!("  {text}")));
    if outcome.failures > 0 {
        let times = match outcome.failures {
            1 => "1 call".to_owned(),
            n => format!("{n} calls"),
        };
        lines.push(format!("  {times} failed so far"));
    }
    let refused = outcome.rejections_by_reason().into_iter();
    lines.extend(refused.map(|(reason, count)| format!("  {count} refused: {reason}")));
    lines.extend(outcome.notes.iter().map(|note| format!("  {note}")));
    lines
}
