//! A comparison as tables.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Comparison, Difference, Verdict};
use crate::results::figures::range;
use crate::results::grid::{Grid, GridFormat, escaped};
use crate::results::show::wrapped;

/// The keys that differ, a column a run.
pub fn parameters_grid(comparison: &Comparison, differences: &[Difference]) -> Grid {
    let mut grid = Grid::new("Parameters", &["parameter"]);
    grid.columns
        .extend(comparison.runs.iter().map(|run| run.letter.clone()));
    for difference in differences {
        let mut row = vec![json!(difference.key)];
        row.extend(difference.values.iter().cloned());
        grid.rows.push(row);
    }
    grid
}

/// A row a metric. For people the interval is one column, for programs two.
pub fn metrics_grid(comparison: &Comparison, format: GridFormat) -> Grid {
    let exact = format == GridFormat::Csv;
    let mut grid = Grid::new("Metrics", &["metric", "unit"]);
    grid.columns
        .extend(comparison.runs.iter().map(|run| run.letter.clone()));
    let first = comparison
        .runs
        .first()
        .map_or("A", |run| run.letter.as_str());
    for run in comparison.runs.iter().skip(1) {
        let name = format!("{}/{first}", run.letter);
        grid.columns.push(name.clone());
        if exact {
            grid.columns.push(format!("{name} low"));
            grid.columns.push(format!("{name} high"));
            grid.columns.push(format!("{name} p adjusted"));
        } else if comparison.runs.len() > 2 {
            grid.columns.push(format!("{name} 95 % interval"));
        } else {
            grid.columns.push("95 % interval".into());
        }
        // Of several runs each has its own.
        grid.columns.push(if comparison.runs.len() > 2 {
            format!("{name} verdict")
        } else {
            "verdict".into()
        });
    }
    for metric in &comparison.metrics {
        let mut row = vec![json!(metric.metric), json!(metric.unit)];
        row.extend(metric.values.iter().map(|value| json!(value)));
        for compared in &metric.compared {
            row.push(json!(compared.ratio));
            let interval = compared.interval.as_ref();
            if exact {
                row.push(json!(interval.map(|i| i.low)));
                row.push(json!(interval.map(|i| i.high)));
                row.push(json!(compared.p_adjusted));
            } else {
                row.push(Value::String(range(interval)));
            }
            let verdict = compared.verdict.map(Verdict::as_str).map(str::to_owned);
            row.push(json!(
                verdict.or_else(|| compared.reason.as_ref().map(|r| format!("({r})")))
            ));
        }
        grid.rows.push(row);
    }
    grid
}

pub fn render(comparison: &Comparison, format: GridFormat) -> String {
    let metrics = metrics_grid(comparison, format);
    match format {
        GridFormat::Json => serde_json::to_string_pretty(comparison).unwrap_or_default(),
        GridFormat::Csv => metrics.render(format),
        GridFormat::Table | GridFormat::Markdown | GridFormat::Latex => {
            // Names come from outside.
            let safe = |text: &str| match format {
                GridFormat::Markdown => escaped(text),
                _ => one_line(text),
            };
            let mut out = String::new();
            let comment = if format == GridFormat::Latex {
                "% "
            } else {
                ""
            };
            for run in &comparison.runs {
                let line = format!(
                    "{comment}{}: {} ({}), {} cycles",
                    run.letter,
                    safe(&run.name),
                    safe(&run.run_id),
                    run.cycles
                );
                let _ = writeln!(
                    out,
                    "{}{}",
                    line,
                    if format == GridFormat::Markdown {
                        "  "
                    } else {
                        ""
                    }
                );
            }
            for (title, differences) in [
                ("Parameters that differ", &comparison.parameters),
                ("Surroundings that differ", &comparison.surroundings),
            ] {
                if !differences.is_empty() {
                    let grid = parameters_grid(comparison, differences);
                    let _ = write!(out, "\n{comment}{title}\n\n{}", grid.render(format));
                }
            }
            let _ = write!(
                out,
                "\n{comment}Metrics, mean of a cycle\n\n{}",
                metrics.render(format)
            );
            out.push('\n');
            for warning in &comparison.warnings {
                wrapped(
                    &mut out,
                    &safe(warning),
                    &format!("{comment}! "),
                    &format!("{comment}  "),
                );
            }
            for line in &comparison.method {
                wrapped(
                    &mut out,
                    line,
                    &format!("{comment}– "),
                    &format!("{comment}  "),
                );
            }
            out
        }
    }
}

fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
