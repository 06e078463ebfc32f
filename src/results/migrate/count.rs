//! What became of a file's values, one by one.

use serde_json::Value;

use super::super::legacy_names::{self, Fate, OldField};
use super::super::{MigrationCounts, MigrationNote, NoteKind};

/// Lists of whole results: what is within has the path that it has by itself.
const NESTED: [&str; 2] = ["process_results", "cycle_results"];

pub(super) fn count(document: &Value, notes: &[MigrationNote]) -> MigrationCounts {
    let mut counts = MigrationCounts::default();
    each(document, "", None, &mut |row| {
        counts.values += 1;
        match row.map(|row| row.fate) {
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

/// No field has a path as long: what is below belongs to the section above.
const LONGEST: usize = 200;

/// Every value that is no list and no object, and every empty one, with the row of its
/// field, else that of the nearest section around it.
fn each(
    value: &Value,
    path: &str,
    row: Option<&'static OldField>,
    seen: &mut impl FnMut(Option<&'static OldField>),
) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                each(item, path, row, seen);
            }
        }
        Value::Object(map) if !map.is_empty() => {
            for (key, item) in map {
                if NESTED.contains(&key.as_str()) && item.is_array() {
                    each(item, "", None, seen);
                } else if path.len() + key.len() > LONGEST {
                    each(item, path, row, seen);
                } else {
                    let below = match path {
                        "" => key.clone(),
                        path => format!("{path}.{key}"),
                    };
                    each(item, &below, legacy_names::exact(&below).or(row), seen);
                }
            }
        }
        _ => seen(row),
    }
}
