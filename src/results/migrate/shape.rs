//! Which file it is, told by its shape: `schema_version` does not order version 2's files.

use serde_json::{Map, Value};

use super::super::OldShape;
use super::refused::{Refused, Why};

/// Sections of a raw file, of which it has at least one.
const SECTIONS: [&str; 4] = [
    "inference_metrics",
    "energy_metrics",
    "compute_metrics",
    "timestamps",
];

pub(super) fn shape(document: &Value) -> Result<OldShape, Refused> {
    let Some(map) = document.as_object() else {
        return Err(Refused::new(
            Why::Foreign,
            "it is JSON, but no object, as every result is",
        ));
    };
    let is_object = |key: &str| map.get(key).is_some_and(Value::is_object);
    let is_list = |key: &str| map.get(key).is_some_and(Value::is_array);
    let ours = map
        .get("producer")
        .and_then(|producer| producer.get("name"));
    if ours.and_then(Value::as_str) == Some("lem") {
        return Err(Refused::new(
            Why::Already,
            "it is a result of version 3 already",
        ));
    }
    for (list, items) in lists(map) {
        if items > MOST_ITEMS {
            return Err(Refused::new(
                Why::Hostile,
                format!(
                    "{list} has {items} items, more than any result of version 2 (at most {MOST_ITEMS})"
                ),
            ));
        }
    }
    if map.contains_key("measurement_config_hash")
        && has_any(map, &["experiment_id", "total_energy_j", "total_tokens"])
    {
        return Ok(OldShape::LaterExperiment);
    }
    if is_object("statistics") && is_list("cycle_results") {
        return Ok(OldShape::MultiCycle);
    }
    if is_object("aggregation") && map.contains_key("total_inference_time_sec") {
        return Ok(OldShape::Aggregated);
    }
    if map.contains_key("process_index") && SECTIONS.iter().any(|section| is_object(section)) {
        return Ok(OldShape::Raw);
    }
    Err(Refused::new(
        Why::Foreign,
        "it is JSON, but has the shape of no result of version 2: neither process_index with metrics, nor aggregation with total_inference_time_sec, nor statistics with cycle_results, nor measurement_config_hash",
    ))
}

/// Processes and cycles each become a result of some kilobytes: a small file of empty ones
/// must not take the machine's memory.
const MOST_ITEMS: usize = 4096;

/// The lists of parts that are results themselves, and how many parts all of a kind are.
fn lists(map: &Map<String, Value>) -> [(&'static str, usize); 2] {
    let items = |map: &Map<String, Value>, key: &str| {
        map.get(key).and_then(Value::as_array).map_or(0, Vec::len)
    };
    let cycles = map.get("cycle_results").and_then(Value::as_array);
    let within = cycles
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .map(|cycle| items(cycle, "process_results"))
        .sum::<usize>();
    [
        ("cycle_results", items(map, "cycle_results")),
        ("process_results", items(map, "process_results") + within),
    ]
}

fn has_any(map: &Map<String, Value>, keys: &[&str]) -> bool {
    keys.iter().any(|key| map.contains_key(*key))
}
