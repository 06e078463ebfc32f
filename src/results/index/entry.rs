//! One run's fields for the index: from its result, else from its log.

use std::fs;
use std::path::Path;

use lem_delivery::{Cursor, DELIVERY_FOLDER, Holder, Log, LogReader, holder};
use lem_record::{Record, RunStatus};
use serde_json::{Value, json};

use super::scan::is_current;
use crate::analysis::analyse;
use crate::results::fields::{flatten, of_value};
use crate::results::store::{self, RESULT_FILE};
use crate::results::{self};

/// No result is nearly as large.
const MOST_BYTES: u64 = 1 << 30;
/// No run has as many fields for the index, nor as long ones: one that had would make the
/// list of all slow, or impossible.
const MOST_KEYS: usize = 20_000;
const MOST_TEXT: usize = 4 << 20;
const TOO_WIDE: &str = "it has more fields than any result";

/// The scalars of one run by path.
pub struct Fields {
    pub all: Vec<(String, Value)>,
    /// False where they will be others soon: the run goes on.
    pub lasting: bool,
}

/// The fields of a run's folder or of a result file. What cannot be read has a field
/// `problem`, and no other.
pub fn fields(path: &Path, brief: bool) -> Fields {
    let mut kept = Kept {
        limited: brief,
        ..Kept::default()
    };
    let mut put = |path: &str, value: &Value| kept.put(path, value);
    let (lasting, problem) = if path.is_dir() {
        of_folder(path, brief, &mut put)
    } else {
        let read = text_of(path).and_then(|text| of_text(path, &text, brief, &mut put));
        (true, read.err())
    };
    let problem = if kept.wide {
        Some(refused(path, TOO_WIDE))
    } else {
        problem
    };
    let mut all = kept.all;
    if let Some(problem) = problem {
        all.push(("problem".into(), Value::String(problem)));
    }
    Fields { all, lasting }
}

/// Fields as they are read; nothing where they are more than an entry may have.
#[derive(Default)]
struct Kept {
    all: Vec<(String, Value)>,
    bytes: usize,
    limited: bool,
    wide: bool,
}

impl Kept {
    fn put(&mut self, path: &str, value: &Value) {
        let text = value.as_str().map_or(8, str::len);
        self.bytes = self.bytes.saturating_add(path.len()).saturating_add(text);
        if self.limited && (self.all.len() >= MOST_KEYS || self.bytes > MOST_TEXT) {
            self.wide = true;
        }
        if self.wide {
            self.all = Vec::new();
        } else {
            self.all.push((path.to_owned(), value.clone()));
        }
    }
}

type Put<'a> = dyn FnMut(&str, &Value) + 'a;

fn of_folder(folder: &Path, brief: bool, put: &mut Put<'_>) -> (bool, Option<String>) {
    // First: who holds it may change what is read after.
    let held = matches!(holder(folder), Holder::Process(_));
    let result = folder.join(RESULT_FILE);
    if is_current(folder) {
        let mut kept = Kept {
            limited: brief,
            ..Kept::default()
        };
        let mut keep = |path: &str, value: &Value| kept.put(path, value);
        let text = text_of(&result);
        let read = text.and_then(|text| of_text(&result, &text, brief, &mut keep).map(|()| text));
        // A torn file must leave nothing behind.
        if read.is_ok() && kept.wide {
            return (!held, Some(refused(&result, TOO_WIDE)));
        }
        if let Ok(text) = read {
            kept.all.iter().for_each(|(path, value)| put(path, value));
            owed(folder, &text, put);
            return (!held, None);
        }
    }
    if held {
        return (false, going_on(folder, put).err());
    }
    (true, of_log(folder, brief, put).err())
}

fn refused(path: &Path, why: impl std::fmt::Display) -> String {
    format!("{} cannot be read: {why}", path.display())
}

fn text_of(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::metadata(path).map_err(|e| refused(path, e))?.len();
    if bytes > MOST_BYTES {
        return Err(refused(
            path,
            format!("it has {bytes} bytes, more than any result"),
        ));
    }
    fs::read(path).map_err(|e| refused(path, e))
}

fn of_text(path: &Path, text: &[u8], brief: bool, put: &mut Put<'_>) -> Result<(), String> {
    let mut version = false;
    let mut note = |path: &str, value: &Value| {
        version |= path == "schema_version" && value.as_str().is_some_and(|v| v.starts_with("3."));
        put(path, value);
    };
    flatten(text, brief, &mut note).map_err(|e| refused(path, e))?;
    if !version {
        return Err(refused(path, "it is no result of version 3"));
    }
    Ok(())
}

/// A run without a usable result: what its log allows.
fn of_log(folder: &Path, brief: bool, put: &mut Put<'_>) -> Result<(), String> {
    let log = Log::read(folder).map_err(|e| e.to_string())?;
    let data = store::load(folder).map_err(|e| e.to_string())?;
    let status = log.finished.map_or(RunStatus::Killed, |end| end.status);
    let reason = data.status_reason.clone();
    let data = data.with_status(status, reason);
    let result = results::build(&data, &analyse(&data), Vec::new(), folder);
    let value = serde_json::to_value(result).map_err(|e| e.to_string())?;
    of_value(&value, brief, put);
    owed(folder, b"{}", put);
    Ok(())
}

/// A run that is being measured: what it said when it started. Its log is not analysed,
/// lest a look at the list disturbs what is measured.
fn going_on(folder: &Path, put: &mut Put<'_>) -> Result<(), String> {
    let mut reader = LogReader::open(folder).map_err(|e| e.to_string())?;
    while let Some(entry) = reader.next_entry().map_err(|e| e.to_string())? {
        let Record::RunStarted(started) = entry.envelope.record else {
            continue;
        };
        let at = jiff::Timestamp::from_nanosecond(i128::from(entry.envelope.at.unix_ns));
        let of = |pointer: &str| started.config.pointer(pointer).cloned().unwrap_or_default();
        let value = json!({
            "run_id": entry.envelope.run, "name": started.name, "status": "running",
            "started": at.ok().map(|at| format!("{at:.3}")),
            "backend": of("/backend"), "model_name": of("/model_name"),
            "tags": started.tags, "config": started.config,
        });
        of_value(&value, true, put);
        return Ok(());
    }
    Err(format!("the log in {} has no start yet", folder.display()))
}

/// The sinks that have not got all: those that a cursor says so of, and those that the
/// result says so of and that have no cursor.
pub fn owing(folder: &Path, exports: &[Value]) -> Vec<String> {
    let mut sinks = Vec::new();
    let mut told = Vec::new();
    for entry in fs::read_dir(folder.join(DELIVERY_FOLDER))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name();
        let Some(sink) = name.to_str().and_then(|n| n.strip_suffix(".json")) else {
            continue;
        };
        let Ok(cursor) = Cursor::read(&entry.path()) else {
            continue;
        };
        told.push(sink.to_owned());
        if !cursor.finished {
            sinks.push(sink.to_owned());
        }
    }
    for export in exports {
        let text = |name: &str| export.get(name).and_then(Value::as_str).unwrap_or_default();
        let sink = text("sink");
        if !told.iter().any(|t| t == sink) && text("state") != "delivered" && !sink.is_empty() {
            sinks.push(sink.to_owned());
        }
    }
    sinks.sort();
    sinks.dedup();
    sinks
}

fn owed(folder: &Path, result: &[u8], put: &mut Put<'_>) {
    #[derive(serde::Deserialize)]
    struct Exports {
        #[serde(default)]
        exports: Vec<Value>,
    }
    // Most runs have been nowhere, and a result is long: it is not read twice for nothing.
    let nowhere = result.trim_ascii_end().ends_with(b"\"exports\": []\n}");
    let exports = if nowhere {
        Vec::new()
    } else {
        let read = serde_json::from_slice::<Exports>(result);
        read.map_or_else(|_| Vec::new(), |e| e.exports)
    };
    let sinks = owing(folder, &exports);
    if !sinks.is_empty() {
        put("owed", &Value::String(sinks.join(", ")));
    }
}
