#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod fuzzed;
mod mutated;
mod old_files;

use std::path::PathBuf;

use serde_json::Value;

use super::super::{MigrationNote, NoteKind, OldShape, RunResult, assert_valid};
use super::{Options, Why, migrate};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/v2")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

fn fixture(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 9, "{names:?}");
    names
}

fn migrated(name: &str) -> RunResult {
    migrate(&bytes(name), name, &Options::default()).unwrap()
}

fn of(value: &Value) -> RunResult {
    migrate(
        value.to_string().as_bytes(),
        "made.json",
        &Options::default(),
    )
    .unwrap()
}

fn note<'a>(result: &'a RunResult, path: &str, code: &str) -> &'a MigrationNote {
    let notes = &result.migration.as_ref().unwrap().notes;
    let found = notes
        .iter()
        .find(|note| note.path == path && note.code == code);
    found.unwrap_or_else(|| panic!("no {code} at {path} in {notes:#?}"))
}

fn has(result: &RunResult, code: &str) -> bool {
    let notes = &result.migration.as_ref().unwrap().notes;
    notes.iter().any(|note| note.code == code)
}

/// What holds of every migrated file.
fn sound(result: &RunResult, original: &Value) {
    assert_valid(result);
    assert_eq!(
        result.legacy.as_ref(),
        Some(original),
        "every value is found again"
    );
    let text = serde_json::to_string(result).unwrap();
    let again: RunResult = serde_json::from_str(&text).unwrap();
    assert_eq!(&again, result);
    let counts = result.migration.as_ref().unwrap().counts;
    assert_eq!(
        counts.mapped + counts.recomputed + counts.kept,
        counts.values
    );
    // A quantity is absent exactly where a reason says why.
    each(&serde_json::to_value(result).unwrap(), &mut |object| {
        if object.contains_key("value") && object.contains_key("how") && object["value"].is_null() {
            assert!(object["reason"].is_string(), "{object:?}");
        }
    });
}

fn each(value: &Value, seen: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| each(item, seen)),
        Value::Object(map) => {
            seen(map);
            // What stands there as it was is not ours to judge.
            let ours = map
                .iter()
                .filter(|(key, _)| !matches!(key.as_str(), "legacy" | "config"));
            ours.for_each(|(_, item)| each(item, seen));
        }
        _ => {}
    }
}
