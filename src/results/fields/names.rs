//! From what a person writes to the path of a field.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::metrics::{of_catalogue, unit_of};
use crate::config::keys::keys;
use crate::config::suggest;
use crate::results::legacy_names::{self, OldField};
use crate::results::v3::RunResult;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(RunResult).to_value());

/// What a query offers besides the fields of a result.
pub const OWN: &[&str] = &["folder", "owed", "problem"];
/// Below these a result may have anything.
const ANYTHING: &[&str] = &["exports.", "thermal.", "legacy."];
/// Short names.
const SHORT: &[(&str, &str)] = &[("id", "run_id")];

/// The fields that there are: those of the schema, and those that these runs have.
#[derive(Debug, Default)]
pub struct Known {
    seen: BTreeSet<String>,
}

/// A field that a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub path: String,
    /// What to say of the name that was written.
    pub note: Option<String>,
    /// False where the name was one of version 2 for another value, or in another unit.
    pub same: bool,
}

impl Resolved {
    /// Why a condition on this name would not mean what was meant; `None` where it does.
    pub fn differs(&self, name: &str) -> Option<String> {
        if self.same {
            return None;
        }
        let unit = match unit_of(&self.path) {
            Some("") | None => String::new(),
            Some(unit) => format!(", in {unit}"),
        };
        let note = self.note.as_deref().unwrap_or_default();
        Some(format!(
            "a condition on {name} is not one on what took its place: {note}. Write the condition on {}{unit}",
            self.path
        ))
    }
}

impl Known {
    /// The schema alone.
    pub fn schema() -> Self {
        Self::default()
    }

    /// With paths that were seen in runs.
    pub fn seen<S: Into<String>>(paths: impl IntoIterator<Item = S>) -> Self {
        Self {
            seen: paths.into_iter().map(Into::into).collect(),
        }
    }

    /// Whether it is a field: in a run, by the schema, or by the configuration's keys.
    pub fn has(&self, path: &str) -> bool {
        OWN.contains(&path)
            || ANYTHING.iter().any(|begin| path.starts_with(begin))
            || self.seen.contains(path)
            || path
                .strip_prefix("config.")
                .is_some_and(|key| keys().row(key).is_some())
            || in_schema(&SCHEMA, path)
    }

    /// The path that a person means by a name.
    pub fn resolve(&self, name: &str) -> Result<Resolved, String> {
        // A quantity's number stands under the quantity's own path.
        let quantity = name
            .strip_suffix(".value")
            .filter(|q| !self.seen.contains(name) && self.has(q));
        let name = quantity.unwrap_or(name);
        let plain = |path: String| {
            Ok(Resolved {
                path,
                note: None,
                same: true,
            })
        };
        if self.seen.contains(name) {
            return plain(name.to_owned());
        }
        // Before the schema, in which the engine's maps take any name.
        if let Some(path) = of_catalogue(name) {
            return plain(path);
        }
        if self.has(name) {
            return plain(name.to_owned());
        }
        if let Some((_, path)) = SHORT.iter().find(|(short, _)| *short == name) {
            return plain((*path).to_owned());
        }
        let tag = format!("tags.{name}");
        if self.seen.contains(&tag) {
            return plain(tag);
        }
        let key = format!("config.{name}");
        if self.has(&key) {
            return plain(key);
        }
        match legacy_names::deprecation(name) {
            Some((Some(new), note)) => {
                return Ok(Resolved {
                    path: new.to_owned(),
                    note: Some(note),
                    same: legacy_names::lookup(name).is_some_and(OldField::is_same),
                });
            }
            Some((None, note)) => return Err(note),
            None => {}
        }
        match self.ending_in(name).as_slice() {
            [one] => plain(one.clone()),
            [] => Err(self.unknown(name)),
            several => Err(format!(
                "{name} is ambiguous: it may be {}. Write the whole path",
                suggest::any_of(several.get(..8).unwrap_or(several))
            )),
        }
    }

    fn ending_in(&self, name: &str) -> Vec<String> {
        let end = format!(".{name}");
        let seen = self.seen.iter().filter(|path| path.ends_with(&end));
        let keys = keys().rows.iter().map(|row| format!("config.{}", row.path));
        let mut all: Vec<String> = seen.cloned().collect();
        all.extend(keys.filter(|path| path.ends_with(&end)));
        all.sort();
        all.dedup();
        all
    }

    fn unknown(&self, name: &str) -> String {
        let schema = schema_paths();
        let config: Vec<String> = keys()
            .rows
            .iter()
            .map(|row| format!("config.{}", row.path))
            .collect();
        let ids = lem_record::catalogue::METRICS.iter().map(|def| def.id);
        let all = schema
            .iter()
            .map(String::as_str)
            .chain(self.seen.iter().map(String::as_str))
            .chain(config.iter().map(String::as_str))
            .chain(ids.filter(|id| of_catalogue(id).is_some()))
            .chain(OWN.iter().copied());
        let mut near: Vec<String> = Vec::new();
        let candidates: Vec<&str> = all.collect();
        let short = |path: &str| path.rsplit('.').next().unwrap_or(path).to_owned();
        if let Some(found) = suggest::nearest(name, candidates.iter().copied()) {
            near.push(found.to_owned());
        }
        // By the last word alone, where no path was written.
        let words: Vec<(String, &str)> =
            candidates.iter().map(|path| (short(path), *path)).collect();
        if let Some(word) =
            suggest::nearest(&short(name), words.iter().map(|(word, _)| word.as_str()))
        {
            let paths = words
                .iter()
                .filter(|(short, _)| short == word)
                .map(|(_, path)| *path);
            for path in paths {
                if near.len() < 3 && !near.iter().any(|n| n == path) {
                    near.push(path.to_owned());
                }
            }
        }
        let meant = if near.is_empty() {
            ".".into()
        } else {
            format!("; did you mean {}?", suggest::any_of(&near))
        };
        format!(
            "there is no field {name}{meant} docs/result.md lists the fields of a result, lem metrics the ids"
        )
    }
}

/// Whether a path leads anywhere in a schema. A value of any kind holds no names of its
/// own there: those of the configuration and of the environment have to be seen in a run.
fn in_schema(node: &Value, path: &str) -> bool {
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        let pointer = target.strip_prefix('#').unwrap_or(target);
        return SCHEMA
            .pointer(pointer)
            .is_some_and(|node| in_schema(node, path));
    }
    if path.is_empty() {
        return true;
    }
    for group in ["anyOf", "oneOf", "allOf"] {
        if let Some(any) = node.get(group).and_then(Value::as_array)
            && any.iter().any(|node| in_schema(node, path))
        {
            return true;
        }
    }
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    if let Some(next) = node.pointer(&format!("/properties/{name}"))
        && in_schema(next, rest)
    {
        return true;
    }
    if let Some(items) = node.get("items") {
        return name.parse::<u32>().is_ok() && in_schema(items, rest);
    }
    // A map: its names may hold dots.
    if let Some(value) = node.get("additionalProperties").filter(|v| v.is_object()) {
        let ends = path.match_indices('.').map(|(dot, _)| dot + 1);
        return ends
            .chain([path.len()])
            .any(|at| path.get(at..).is_some_and(|rest| in_schema(value, rest)));
    }
    false
}

/// The paths of the schema without those of cycles and series, for suggestions.
fn schema_paths() -> Vec<String> {
    let mut paths = Vec::new();
    collect(&SCHEMA, "", 0, &mut paths);
    paths
}

fn collect(node: &Value, path: &str, depth: usize, into: &mut Vec<String>) {
    if depth > 4 || path == "cycles" || path == "time_series" || path.ends_with("uncertainty") {
        return;
    }
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        let pointer = target.strip_prefix('#').unwrap_or(target);
        if let Some(node) = SCHEMA.pointer(pointer) {
            collect(node, path, depth, into);
        }
        return;
    }
    let Some(properties) = node.get("properties").and_then(Value::as_object) else {
        if !path.is_empty() {
            into.push(path.to_owned());
        }
        return;
    };
    if properties.contains_key("how") && properties.contains_key("value") {
        into.push(path.to_owned());
        return;
    }
    for (name, node) in properties {
        let below = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect(node, &below, depth + 1, into);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::Known;

    fn path(known: &Known, name: &str) -> String {
        known.resolve(name).unwrap().path
    }

    #[test]
    fn paths_ids_bare_names_and_old_names_lead_to_fields() {
        let known = Known::seen([
            "config.model_name",
            "tags.team",
            "environment.host.hostname",
        ]);
        for (name, expected) in [
            ("status", "status"),
            ("decode_energy_j", "decode_energy_j"),
            (
                "decode_energy_j.interval.low",
                "decode_energy_j.interval.low",
            ),
            ("cycles.0.duration_s", "cycles.0.duration_s"),
            (
                "intervals.latency.ttft_ms.mean.low",
                "intervals.latency.ttft_ms.mean.low",
            ),
            ("energy.per_output_token", "energy_per_output_token_j"),
            ("batching.batch_size", "config.batching.batch_size"),
            ("batch_size", "config.batching.batch_size"),
            ("team", "tags.team"),
            ("hostname", "environment.host.hostname"),
            ("engine.queue", "engine.engine.queue"),
            ("decode_energy_j.value", "decode_energy_j"),
            ("exports.0.sink", "exports.0.sink"),
            ("owed", "owed"),
            ("id", "run_id"),
        ] {
            assert_eq!(path(&known, name), expected, "{name}");
        }
        let old = known.resolve("avg_energy_per_token_j").unwrap();
        assert_eq!(old.path, "energy_per_output_token_j");
        assert!(old.note.unwrap().contains("energy_per_output_token_j"));
    }

    #[test]
    fn a_condition_on_an_old_name_holds_only_where_value_and_unit_are_the_same() {
        let known = Known::schema();
        let differs = |name: &str| known.resolve(name).unwrap().differs(name);
        for (name, new) in [
            ("emissions_kg_co2", "carbon.emissions_g, in g"),
            ("peak_memory_mb", "memory.gpu_peak_bytes, in B"),
            ("experiment_id", "run_id"),
            ("energy_tracking_failed", "total_energy_j, in J"),
            ("avg_energy_per_token_j", "energy_per_output_token_j"),
        ] {
            let told = differs(name).unwrap_or_default();
            assert!(told.contains(new), "{name}: {told}");
        }
        for name in ["gpu_energy_j", "backend_version", "status"] {
            assert_eq!(differs(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_no_field_is_told_with_what_was_meant() {
        let known = Known::schema();
        let why = |name: &str| known.resolve(name).unwrap_err();
        let told = why("decode_enrgy_j");
        assert!(
            told.contains("did you mean") && told.contains("`decode_energy_j`"),
            "{told}"
        );
        assert!(why("batchsize").contains("config.batching.batch_size"));
        assert!(why("config.no_such_key").contains("no field config.no_such_key"));
        let enabled = why("enabled");
        assert!(
            enabled.contains("ambiguous") && enabled.contains("config."),
            "{enabled}"
        );
        assert!(!known.has("cycles.x.duration_s"));
        let far = why("qqqq");
        assert!(far.contains("no field qqqq. docs/result.md"), "{far}");
    }
}
