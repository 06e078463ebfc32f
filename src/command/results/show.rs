//! `lem results show`: one run.

use serde_json::{Value, json};

use super::look::look;
use crate::cli::ShowArgs;
use crate::command::{self, Failure, say};
use crate::results::fields::{self, Known, Metric, Shape};
use crate::results::grid::{Grid, GridFormat};
use crate::results::query::plain;
use crate::results::{RunResult, show as report};

pub fn show(args: &ShowArgs) -> Result<(), Failure> {
    let runs = super::locate(std::slice::from_ref(&args.run), args.runs.as_deref())?;
    let run = runs.first().unwrap_or(&args.run);
    let result = look(run)?;
    if let Some(field) = &args.field {
        return one(&result, field, args.format);
    }
    let text = match args.format {
        GridFormat::Table => report::render(&result),
        GridFormat::Json => command::json(&result)?,
        format => metrics(&result)?.render(format),
    };
    command::show(&text);
    Ok(())
}

fn value_of(result: &RunResult) -> Result<Value, Failure> {
    serde_json::to_value(result)
        .map_err(|error| Failure::failed(format!("the result cannot be shown: {error}")))
}

/// A single field: a scalar as it is, anything else as JSON.
fn one(result: &RunResult, field: &str, format: GridFormat) -> Result<(), Failure> {
    let value = value_of(result)?;
    let mut paths = Vec::new();
    fields::of_value(&value, false, &mut |path, _| paths.push(path.to_owned()));
    // A section is a field too: `config.batching`.
    let node = match fields::at(&value, field) {
        Some(node) => Some(node.clone()),
        None => {
            let found = Known::seen(paths).resolve(field).map_err(Failure::usage)?;
            if let Some(note) = found.note {
                say(&format!("note: {note}"));
            }
            fields::at(&value, &found.path).cloned()
        }
    };
    let node = node.unwrap_or_default();
    let number = node.get("how").and(node.get("value"));
    let text = match (format, number) {
        (GridFormat::Json, _) => command::json(&node)?,
        (_, Some(number)) if !number.is_null() => plain(number),
        (_, Some(_)) => {
            let reason = node.get("reason").map(plain).unwrap_or_default();
            return Err(Failure::failed(format!(
                "{field} is absent in this run: {reason}"
            )));
        }
        (_, None) if node.is_null() => {
            let reason = result.numbers.absent.get(field);
            let reason = reason.map_or_else(|| "it does not have it".into(), Clone::clone);
            return Err(Failure::failed(format!(
                "{field} is absent in this run: {reason}"
            )));
        }
        (_, None) if node.is_object() || node.is_array() => command::json(&node)?,
        (_, None) => plain(&node),
    };
    command::show(&text);
    Ok(())
}

/// Every metric that the run has: value, uncertainty, unit, how it was obtained.
pub(super) fn metrics(result: &RunResult) -> Result<Grid, Failure> {
    let value = value_of(result)?;
    let mut grid = Grid::new(
        &result.name,
        &["metric", "value", "uncertainty", "unit", "how"],
    );
    for metric in fields::metrics(&[&value]) {
        let Some(number) = fields::number(&value, &metric) else {
            continue;
        };
        let (expanded, how) = story(&value, &metric);
        grid.rows.push(vec![
            json!(metric.title),
            json!(number),
            expanded,
            json!(metric.unit),
            how,
        ]);
    }
    Ok(grid)
}

fn story(result: &Value, metric: &Metric) -> (Value, Value) {
    let node = fields::at(result, &metric.path).filter(|_| metric.shape == Shape::Quantity);
    let part = |pointer: &str| {
        node.and_then(|n| n.pointer(pointer))
            .cloned()
            .unwrap_or_default()
    };
    (part("/uncertainty/expanded"), part("/how"))
}
