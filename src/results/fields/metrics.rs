//! The metrics of a result that people compare and tabulate: title, where it stands, unit.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use lem_record::catalogue;
use serde_json::Value;

use super::table::TABLE;

/// How a metric stands in a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object with value, uncertainty and story.
    Quantity,
    /// A number.
    Plain,
}

/// One metric of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub title: String,
    /// Dotted, also below a cycle.
    pub path: String,
    pub unit: &'static str,
    pub shape: Shape,
    /// Of the catalogue, where it has one.
    pub id: Option<&'static str>,
}

/// Ids that stand under another name than their own, beside those of the table.
const OTHER_IDS: &[(&str, &str)] = &[("run.cycles", "num_cycles")];

static IDS: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    let table = TABLE.iter().filter(|row| !row.4.is_empty());
    let mut ids: BTreeMap<_, _> = table.map(|(_, path, .., id)| (*id, *path)).collect();
    ids.extend(OTHER_IDS.iter().copied());
    ids
});

/// The path of a catalogue id: `energy.per_output_token`, `latency.ttft` (its mean),
/// `latency.ttft.p99`, `engine.queue`.
pub fn of_catalogue(id: &str) -> Option<String> {
    if let Some(path) = IDS.get(id) {
        return Some((*path).to_owned());
    }
    if let Some((base, quantile)) = id.rsplit_once('.')
        && ["p50", "p90", "p99", "min", "max", "mean", "count"].contains(&quantile)
    {
        if let Some(path) = IDS.get(base).and_then(|p| p.strip_suffix(".mean")) {
            return Some(format!("{path}.{quantile}"));
        }
        let known = catalogue::find(base)?;
        return told_by_engine(known).map(|_| format!("engine_latency.{base}.{quantile}"));
    }
    let known = catalogue::find(id)?;
    let place = told_by_engine(known)?;
    Some(match place {
        "engine" => format!("engine.{id}"),
        _ => format!("engine_latency.{id}.mean"),
    })
}

/// The unit of a metric by its path.
pub fn unit_of(path: &str) -> Option<&'static str> {
    let row = TABLE.iter().find(|(_, known, ..)| *known == path);
    row.map(|(_, _, unit, ..)| *unit)
}

/// The map of a result that holds it.
fn told_by_engine(known: &catalogue::MetricDef) -> Option<&'static str> {
    let histogram = known.kind == lem_record::Kind::Histogram;
    let begins = |prefixes: &[&str]| prefixes.iter().any(|p| known.id.starts_with(p));
    if histogram {
        let ours = [
            "latency.engine_",
            "latency.ttft_outside",
            "latency.answer",
            "client.",
        ];
        return begins(&ours).then_some("engine_latency");
    }
    begins(&["engine.", "client.", "throughput.goodput"]).then_some("engine")
}

/// Every metric that any of these results has, in the order of the table; then what engines
/// tell, what commands marked, and scores of quality, by name.
pub fn metrics(results: &[&Value]) -> Vec<Metric> {
    let table = TABLE.iter().map(|(title, path, unit, shape, id)| Metric {
        title: (*title).to_owned(),
        path: (*path).to_owned(),
        unit,
        shape: *shape,
        id: Some(*id).filter(|id| !id.is_empty()),
    });
    let mut all: Vec<Metric> = table.collect();
    let names = |pointer: &str| {
        let mut names: Vec<&str> = results
            .iter()
            .filter_map(|r| r.pointer(pointer)?.as_object())
            .flat_map(|map| map.keys().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    for name in names("/engine") {
        let known = catalogue::find(name);
        all.push(Metric {
            title: title_of(name),
            path: format!("engine.{name}"),
            unit: known.map_or("", |k| plain_unit(k.unit)),
            shape: Shape::Quantity,
            id: known.map(|k| k.id),
        });
    }
    for name in names("/engine_latency") {
        for quantile in ["mean", "p99"] {
            all.push(Metric {
                title: format!("{}, {quantile}", title_of(name)),
                path: format!("engine_latency.{name}.{quantile}"),
                unit: "ms",
                shape: Shape::Plain,
                id: None,
            });
        }
    }
    for name in names("/quality/scores") {
        all.push(Metric {
            title: format!("Score {name}"),
            path: format!("quality.scores.{name}"),
            unit: "",
            shape: Shape::Quantity,
            id: None,
        });
    }
    all.retain(|metric| results.iter().any(|r| number(r, metric).is_some()));
    all
}

/// `engine.kv_cache_usage` is «Engine kv cache usage».
fn title_of(id: &str) -> String {
    let words = id
        .strip_prefix("latency.")
        .unwrap_or(id)
        .replace(['.', '_'], " ");
    let mut letters = words.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    format!("{}{}", first.unwrap_or_default(), letters.as_str())
}

fn plain_unit(unit: &'static str) -> &'static str {
    match unit {
        "1" => "",
        "{token}" | "{step}" | "{preemption}" => "",
        "{token}/s" => "tokens/s",
        "{request}/s" => "requests/s",
        "By" => "B",
        other => other,
    }
}

/// The node that stands at a dotted path; names may hold dots themselves.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            if let Some(found) = map.get(path) {
                return Some(found);
            }
            path.match_indices('.').find_map(|(dot, _)| {
                let (name, rest) = path.split_at(dot);
                at(map.get(name)?, rest.get(1..)?)
            })
        }
        Value::Array(items) => {
            let (name, rest) = path.split_once('.').unwrap_or((path, ""));
            at(items.get(name.parse::<usize>().ok()?)?, rest)
        }
        _ => None,
    }
}

/// A metric's number, of a result or of a cycle.
pub(crate) fn number(of: &Value, metric: &Metric) -> Option<f64> {
    let node = at(of, &metric.path)?;
    let value = match metric.shape {
        Shape::Quantity => node.get("value")?,
        Shape::Plain => node,
    };
    value.as_f64().filter(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::{IDS, TABLE, at, metrics, number, of_catalogue};

    #[test]
    fn every_id_of_the_table_is_in_the_catalogue_and_every_path_in_the_schema() {
        for id in IDS.keys() {
            assert!(lem_record::catalogue::find(id).is_some(), "{id}");
        }
        let known = super::super::Known::schema();
        for (_, path, ..) in TABLE {
            assert!(known.has(path), "{path} is not in the schema");
        }
    }

    #[test]
    fn ids_lead_to_paths() {
        let path = |id| of_catalogue(id);
        assert_eq!(
            path("energy.per_output_token").unwrap(),
            "energy_per_output_token_j"
        );
        assert_eq!(path("latency.ttft").unwrap(), "latency.ttft_ms.mean");
        assert_eq!(path("latency.ttft.p99").unwrap(), "latency.ttft_ms.p99");
        assert_eq!(
            path("engine.acceptance").unwrap(),
            "engine.engine.acceptance"
        );
        assert_eq!(
            path("latency.engine_queue.p90").unwrap(),
            "engine_latency.latency.engine_queue.p90"
        );
        assert_eq!(
            path("client.lag").unwrap(),
            "engine_latency.client.lag.mean"
        );
        assert_eq!(path("no.such"), None);
        assert_eq!(path("sample.power"), None);
    }

    #[test]
    fn names_with_dots_are_found_and_the_absent_is_no_metric() {
        let result = json!({
            "total_energy_j": {"value": 2.0}, "prefill_time_ms": null,
            "engine": {"engine.queue": {"value": 0.25}, "engine.steps": {"value": null}},
            "a": [{"b": 1}],
        });
        assert_eq!(at(&result, "engine.engine.queue.value").unwrap(), 0.25);
        assert_eq!(at(&result, "a.0.b").unwrap(), 1);
        assert!(at(&result, "a.7").is_none() && at(&result, "total_energy_j.value.x").is_none());
        let found = metrics(&[&result]);
        let titles: Vec<_> = found.iter().map(|m| m.title.as_str()).collect();
        assert_eq!(titles, ["Energy", "Engine queue"]);
        assert_eq!(number(&result, found.last().unwrap()), Some(0.25));
    }
}
