//! Standard output is for what was asked; standard error for everything else.

use std::io::Write as _;

use comfy_table::{Table, TableComponent, presets};
use serde::Serialize;

use super::Failure;

/// Writes a line to standard output. A reader that went away (`lem … | head`) is no error.
pub fn show(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Writes a line to standard error.
pub fn say(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// What a script gets.
pub fn json(what: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(what)
        .map_err(|error| Failure::failed(format!("the answer cannot be put into JSON: {error}")))
}

/// A table without a frame.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_style(TableComponent::MiddleHeaderIntersections, '─')
        .set_header(header.to_vec());
    table
}
