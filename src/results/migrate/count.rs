//! What became of a file's values, one by one.

use serde_json::Value;

use super::super::legacy_names::{self, Fate};
use super::super::{MigrationCounts, MigrationNote, NoteKind};

/// Lists of whole results: what is within has the path that it has by itself.
const NESTED: [&str; 2] = ["process_results", "cycle_results"];

pub(super) fn count(document: &Value, notes: &[MigrationNote]) -> MigrationCounts {
    let mut counts = MigrationCounts::default();
    each(document, "", &mut |path| {
        counts.values += 1;
        match legacy_names::row(path).map(|row| row.fate) {
            Some(Fate::Moved { .. }) => counts.mapped += 1,
            Some(Fate::Recomputed { .. }) => counts.recomputed += 1,
            Some(Fate::Kept { .. }) | None => counts.kept += 1,
        }
    });
    let of = |kind| notes.iter().filter(|note| note.kind == kind).count() as u64;
    counts.absent = of(NoteKind::Absent);
    counts.flagged = of(NoteKind::Flagged);
    counts
}

/// Every value that is no list and no object, and every empty one, with its path without
/// indices.
fn each(value: &Value, path: &str, seen: &mut impl FnMut(&str)) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            // A long list of numbers has one path; it is looked up once a value, but made once.
            for item in items {
                each(item, path, seen);
            }
        }
        Value::Object(map) if !map.is_empty() => {
            for (key, item) in map {
                if NESTED.contains(&key.as_str()) && item.is_array() {
                    each(item, "", seen);
                } else if path.is_empty() {
                    each(item, key, seen);
                } else {
                    each(item, &format!("{path}.{key}"), seen);
                }
            }
        }
        _ => seen(path),
    }
}
