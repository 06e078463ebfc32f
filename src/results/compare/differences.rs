//! What was set differently, and where it ran.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::results::RunResult;
use crate::results::fields::of_value;

/// A key whose values are not all alike; `null` where a run does not have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub key: String,
    /// One a run.
    pub values: Vec<Value>,
}

/// Keys of the configuration that say nothing of what was measured.
const ELSEWHERE: &[&str] = &["io.", "integrations.", "experiment_name", "name", "tags."];

pub fn parameters(results: &[RunResult]) -> Vec<Difference> {
    let of = |result: &RunResult| {
        let mut all = BTreeMap::new();
        of_value(&result.config, false, &mut |path, value| {
            all.insert(path.to_owned(), value.clone());
        });
        all
    };
    let mut differences = between(&results.iter().map(of).collect::<Vec<_>>());
    differences.retain(|d| {
        !ELSEWHERE
            .iter()
            .any(|e| d.key == *e || (e.ends_with('.') && d.key.starts_with(e)))
    });
    differences
}

pub fn surroundings(results: &[RunResult]) -> Vec<Difference> {
    let of = |result: &RunResult| {
        let mut all = BTreeMap::new();
        let mut put = |key: &str, value: Option<String>| {
            all.extend(value.map(|value| (key.to_owned(), Value::String(value))));
        };
        put("host", host(result));
        put("sensors", Some(sensors(result)).filter(|s| !s.is_empty()));
        put("lem", Some(result.producer.version.clone()));
        put("analysis", Some(result.producer.analysis.to_string()));
        put(
            "energy boundary",
            Some(result.producer.energy_boundary.clone()),
        );
        let model = result.model.as_ref();
        put(
            "engine",
            model.map(|m| format!("{} {}", m.engine, m.engine_version)),
        );
        put("device", model.map(|m| m.device.clone()));
        put(
            "weights",
            model.and_then(|m| m.sha256.clone().or_else(|| m.source.clone())),
        );
        all
    };
    between(&results.iter().map(of).collect::<Vec<_>>())
}

pub fn host(result: &RunResult) -> Option<String> {
    let name = result
        .environment
        .pointer("/host/hostname")
        .and_then(Value::as_str)?;
    Some(name.to_owned())
}

fn sensors(result: &RunResult) -> String {
    let mut names: Vec<&str> = result
        .sources
        .iter()
        .filter(|s| s.in_total)
        .map(|s| s.name.as_str())
        .collect();
    names.sort_unstable();
    names.join(", ")
}

fn between(runs: &[BTreeMap<String, Value>]) -> Vec<Difference> {
    let mut keys: Vec<&String> = runs.iter().flat_map(BTreeMap::keys).collect();
    keys.sort_unstable();
    keys.dedup();
    let of = |key: &String| {
        runs.iter()
            .map(|run| run.get(key).cloned().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    keys.into_iter()
        .map(|key| Difference {
            key: key.clone(),
            values: of(key),
        })
        .filter(|d| d.values.windows(2).any(|pair| pair[0] != pair[1]))
        .collect()
}
