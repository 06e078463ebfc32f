//! JSON: an object a line, or one list of objects.

use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::Value;

use crate::engine::EngineError;
use crate::model::disk::cannot;

use super::choose::Chooser;
use super::column::Column;
use super::file::at_line;
use super::lines::Lines;

/// A list has to be held whole.
const MOST_LIST_BYTES: u64 = 64 << 20;

pub(super) fn read(
    path: &Path,
    mut from: impl BufRead,
    column: &mut Column,
    chooser: &mut Chooser,
) -> Result<ControlFlow<()>, EngineError> {
    if is_list(&mut from).map_err(|error| cannot("read", path, &error))? {
        return list(path, from, column, chooser);
    }
    let mut lines = Lines::new(from);
    loop {
        let row = match lines.next() {
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Ok(Some(line)) if line.trim().is_empty() => continue,
            Ok(Some(line)) => {
                serde_json::from_str::<Value>(line).map_err(|error| error.to_string())
            }
            Err(broken) => Err(broken.to_string()),
        };
        let text = row.and_then(|row| column.text(&row));
        match text.map_err(|why| at_line(path, lines.number(), &why))? {
            None => chooser.skip(),
            Some(text) => {
                if chooser.offer(&text)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
}

/// Whether the first thing is a bracket: what a line of JSONL never begins with.
fn is_list(from: &mut impl BufRead) -> io::Result<bool> {
    let head = from.fill_buf()?;
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    Ok(head.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'['))
}

fn list(
    path: &Path,
    from: impl Read,
    column: &mut Column,
    chooser: &mut Chooser,
) -> Result<ControlFlow<()>, EngineError> {
    let wrong = |why: String| {
        EngineError::new(
            format!(
                "{} cannot be read as a list of prompts: {why}",
                path.display()
            ),
            "Make it JSONL: one object a line",
        )
    };
    let mut bytes = Vec::new();
    let read = from.take(MOST_LIST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MOST_LIST_BYTES {
        return Err(wrong(format!(
            "it is longer than {} MiB",
            MOST_LIST_BYTES >> 20
        )));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let rows: Vec<Value> =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    for (i, row) in rows.iter().enumerate() {
        match column
            .text(row)
            .map_err(|why| wrong(format!("item {}: {why}", i + 1)))?
        {
            None => chooser.skip(),
            Some(text) => {
                if chooser.offer(&text)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
