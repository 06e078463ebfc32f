//! `lem sinks list`: every sink of lem, with and without this build.

use serde::Serialize;

use super::is_on;
use crate::cli::{Format, SinksListArgs};
use crate::command::settings::resolve_sinks;
use crate::command::{Exit, Outcome, json, show, table};
use crate::config::Resolved;
use crate::sinks::{self, Kind};

#[derive(Serialize)]
struct Row {
    sink: &'static str,
    /// This build has it.
    built: bool,
    /// This configuration turns it on.
    enabled: bool,
    /// Where a run would go.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    /// Why it cannot be delivered to with these settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    sends: &'static [Kind],
}

pub fn list(args: &SinksListArgs) -> Outcome {
    let resolved = resolve_sinks(args.config.as_deref(), &args.set, Vec::new())?;
    let built = sinks::built();
    let names = built.iter().chain(sinks::ABSENT);
    let rows: Vec<Row> = names.map(|name| row(name, &resolved)).collect();
    show(&match args.format {
        Format::Json => json(&rows)?,
        Format::Table => told(&rows),
    });
    Ok(Exit::Done)
}

fn row(sink: &'static str, resolved: &Resolved) -> Row {
    let built = sinks::require(sink).is_ok();
    let enabled = is_on(resolved, sink);
    let made = sinks::make(sink, &resolved.config, &resolved.ecosystem, None);
    let (destination, problem) = match made {
        Ok(exporter) => (Some(exporter.destination()), None),
        Err(errors) => (None, Some(errors.to_string())),
    };
    Row {
        sink,
        built,
        enabled,
        destination,
        problem,
        sends: sinks::sends(sink),
    }
}

fn told(rows: &[Row]) -> String {
    let mut table = table(&["sink", "", "where to"]);
    for row in rows {
        let state = match (row.built, row.enabled) {
            (false, _) => "not in this build",
            (true, true) => "on",
            (true, false) => "off",
        };
        // What a sink that is off still needs is no news.
        let place = match (&row.destination, &row.problem) {
            (Some(place), _) => place.clone(),
            (None, Some(problem)) if row.built => problem.clone(),
            _ => String::new(),
        };
        table.add_row([row.sink.to_owned(), state.to_owned(), place]);
    }
    let table = table.to_string();
    let lines = table.lines().map(str::trim_end);
    format!(
        "{}\n\nWhether they would take a run: lem sinks check. To turn one on: integrations.SINK.enabled, or its flag.",
        lines.collect::<Vec<_>>().join("\n")
    )
}
