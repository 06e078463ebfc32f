//! The formats of a table that are text.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, TableComponent, presets};

use serde_json::Value;

use super::{Grid, cell};
use crate::results::query::plain;

/// Columns as wide as they need to be: a line may be longer than the terminal, but no value
/// is cut.
pub fn table(grid: &Grid) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_style(TableComponent::MiddleHeaderIntersections, '─')
        .force_no_tty()
        .set_header(grid.columns.clone());
    for row in &grid.rows {
        table.add_row(row.iter().map(|value| {
            let text = one_line(&cell(value));
            if text.is_empty() { "–".into() } else { text }
        }));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if grid.numeric(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = String::new();
    for line in table.to_string().lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// RFC 4180.
pub fn csv(grid: &Grid) -> String {
    let mut out = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        let quoted: Vec<String> = cells
            .map(|cell| {
                if cell.contains(['"', ',', '\n', '\r']) {
                    format!("\"{}\"", cell.replace('"', "\"\""))
                } else {
                    cell
                }
            })
            .collect();
        let _ = write!(out, "{}\r\n", quoted.join(","));
    };
    line(&mut grid.columns.iter().map(|column| no_controls(column)));
    for row in &grid.rows {
        line(&mut row.iter().map(|value| match value {
            // A table opens what begins so as a formula.
            Value::String(text) if text.starts_with(['=', '+', '-', '@']) => {
                format!("'{}", no_controls(text))
            }
            value => no_controls(&plain(value)),
        }));
    }
    out
}

/// Text that Markdown shows as it is.
pub fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for letter in one_line(text).chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '#' => {
                safe.push('\\');
                safe.push(letter);
            }
            other => safe.push(other),
        }
    }
    safe
}

pub fn markdown(grid: &Grid) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "| {} |",
        joined(grid.columns.iter().map(|c| escaped(c)), " | ")
    );
    let rules = (0..grid.columns.len()).map(|at| if grid.numeric(at) { "---:" } else { "---" });
    let _ = writeln!(out, "| {} |", joined(rules.map(str::to_owned), " | "));
    for row in &grid.rows {
        let cells = row.iter().map(|value| match cell(value) {
            text if text.is_empty() => "–".to_owned(),
            text => escaped(&text),
        });
        let _ = writeln!(out, "| {} |", joined(cells, " | "));
    }
    out
}

pub fn latex(grid: &Grid) -> String {
    let mut out = String::new();
    let columns: String = (0..grid.columns.len())
        .map(|at| if grid.numeric(at) { 'r' } else { 'l' })
        .collect();
    let _ = writeln!(out, "% needs \\usepackage{{booktabs}}");
    let _ = writeln!(out, "\\begin{{tabular}}{{{columns}}}\n\\toprule");
    let _ = writeln!(
        out,
        "{} \\\\\n\\midrule",
        joined(grid.columns.iter().map(|c| tex(c)), " & ")
    );
    for row in &grid.rows {
        let cells = row.iter().map(|value| match cell(value) {
            text if text.is_empty() => "--".to_owned(),
            text => tex(&text),
        });
        let row = joined(cells, " & ");
        // After the end of a row these begin an argument of it.
        let row = match row.chars().next() {
            Some(first @ ('[' | '*')) => format!("{{{first}}}{}", row.get(1..).unwrap_or_default()),
            _ => row,
        };
        let _ = writeln!(out, "{row} \\\\");
    }
    let _ = writeln!(out, "\\bottomrule\n\\end{{tabular}}");
    out
}

/// No character of a name is a command.
fn tex(text: &str) -> String {
    let mut safe = String::new();
    for letter in one_line(text).chars() {
        match letter {
            '\\' => safe.push_str("\\textbackslash{}"),
            '^' => safe.push_str("\\textasciicircum{}"),
            '~' => safe.push_str("\\textasciitilde{}"),
            '<' => safe.push_str("\\textless{}"),
            '>' => safe.push_str("\\textgreater{}"),
            '±' => safe.push_str("$\\pm$"),
            '…' => safe.push_str("\\ldots{}"),
            '–' => safe.push_str("--"),
            '×' => safe.push_str("$\\times$"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                safe.push('\\');
                safe.push(letter);
            }
            other => safe.push(other),
        }
    }
    safe
}

/// A name from outside may hold anything; control characters would break the lines, or
/// the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Lines stay lines; any other control character may be a command to a terminal.
fn no_controls(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => c,
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

fn joined(cells: impl Iterator<Item = String>, with: &str) -> String {
    cells.collect::<Vec<_>>().join(with)
}
