//! What the services take at most and what they silently get wrong, as data: every
//! request of every sink is held to the rows that speak of its path.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Request;

/// One thing that a service counts.
struct Limit {
    service: &'static str,
    /// Part of the path of the requests that it is about.
    path: &'static str,
    what: &'static str,
    most: usize,
    measure: fn(&Request) -> usize,
}

/// None may be there.
const NONE: usize = 0;

#[rustfmt::skip] // one a line
const LIMITS: &[Limit] = &[
    // Bytes; enforced by some servers.
    Limit { service: "MLflow", path: "/api/2.0/mlflow/", what: "bytes of a body", most: 1_000_000, measure: |r| r.body.len() },
    // A bare NaN is answered with 200, and what comes after it in the body is dropped.
    Limit { service: "MLflow", path: "runs/log-batch", what: "bodies that are no JSON", most: NONE, measure: |r| usize::from(r.json().is_null()) },
    Limit { service: "MLflow", path: "runs/log-batch", what: "metrics in a batch", most: 1000, measure: |r| list(r, "metrics").len() },
    Limit { service: "MLflow", path: "runs/log-batch", what: "params in a batch", most: 100, measure: |r| list(r, "params").len() },
    Limit { service: "MLflow", path: "runs/log-batch", what: "tags in a batch", most: 100, measure: |r| list(r, "tags").len() },
    Limit { service: "MLflow", path: "runs/log-batch", what: "entities in a batch", most: 1000, measure: |r| ["metrics", "params", "tags"].map(|name| list(r, name).len()).iter().sum() },
    Limit { service: "MLflow", path: "runs/log-batch", what: "characters of a key", most: 250, measure: |r| ["metrics", "params", "tags"].map(|name| longest(r, name, "key")).into_iter().max().unwrap_or(0) },
    Limit { service: "MLflow", path: "runs/log-batch", what: "keys with a character or a path that it refuses", most: NONE, measure: |r| ["metrics", "params", "tags"].map(|name| list(r, name).iter().filter(|entry| !mlflow_key(&entry["key"])).count()).iter().sum() },
    Limit { service: "MLflow", path: "runs/log-batch", what: "characters of a param's value", most: 6000, measure: |r| longest(r, "params", "value") },
    Limit { service: "MLflow", path: "runs/log-batch", what: "characters of a tag's value", most: 8000, measure: |r| longest(r, "tags", "value") },
    Limit { service: "MLflow", path: "runs/log-batch", what: "params twice in a batch", most: NONE, measure: |r| doubles(r, "params") },
    // A null rejects the batch; a string is stored, and breaks the page of the run.
    Limit { service: "MLflow", path: "runs/log-batch", what: "values that are no numbers", most: NONE, measure: |r| list(r, "metrics").iter().filter(|entry| !entry["value"].is_number()).count() },
    // A fraction of a millisecond is dropped silently.
    Limit { service: "MLflow", path: "runs/log-batch", what: "times and steps that are not whole", most: NONE, measure: |r| list(r, "metrics").iter().filter(|entry| !entry["timestamp"].is_u64() || !entry["step"].is_i64()).count() },
    Limit { service: "MLflow", path: "experiments/create", what: "characters of an experiment's name", most: 500, measure: |r| chars(&r.json()["name"]) },
    // Without a start it would be 1970.
    Limit { service: "MLflow", path: "runs/create", what: "runs without a start", most: NONE, measure: |r| usize::from(r.json()["start_time"].as_i64().unwrap_or(0) <= 0) },
    Limit { service: "MLflow", path: "runs/log-inputs", what: "characters of a dataset's name", most: 500, measure: |r| list(r, "datasets").iter().map(|entry| chars(&entry["dataset"]["name"])).max().unwrap_or(0) },
    Limit { service: "MLflow", path: "runs/log-inputs", what: "characters of a dataset's digest", most: 36, measure: |r| list(r, "datasets").iter().map(|entry| chars(&entry["dataset"]["digest"])).max().unwrap_or(0) },
    Limit { service: "W&B", path: "/file_stream", what: "bytes of a body", most: 10 << 20, measure: |r| r.body.len() },
    Limit { service: "W&B", path: "/file_stream", what: "bytes of a line", most: (10 << 20) - (100 << 10), measure: |r| lines(r, "").map(|line| line.len()).max().unwrap_or(0) },
    Limit { service: "W&B", path: "/file_stream", what: "rows that are no JSON", most: NONE, measure: |r| lines(r, ".jsonl").filter(|line| row(line).is_null()).count() },
    Limit { service: "W&B", path: "/file_stream", what: "bytes of a value", most: 1_000_000, measure: |r| lines(r, ".json").flat_map(|line| values(&line)).map(|value| value.to_string().len()).max().unwrap_or(0) },
    Limit { service: "W&B", path: "media/table", what: "rows of a table of the run", most: 10_000, measure: |r| r.json()["data"].as_array().map_or(0, Vec::len) },
    Limit { service: "Pushgateway", path: "/metrics/job", what: "samples with a time", most: NONE, measure: |r| r.text().lines().filter(|line| has_time(line)).count() },
    Limit { service: "Pushgateway", path: "/metrics/job", what: "bodies that do not end in a newline", most: NONE, measure: |r| usize::from(!r.body.is_empty() && !r.body.ends_with(b"\n")) },
];

/// Something that goes on and never back.
struct Axis {
    service: &'static str,
    path: &'static str,
    what: &'static str,
    /// Name and value of each point, in the order of the body.
    points: fn(&Request) -> Vec<(String, i64)>,
}

#[rustfmt::skip] // one a line
const AXES: &[Axis] = &[
    // Above 1 kHz, whole milliseconds tell two samples apart no more: the step does.
    Axis { service: "MLflow", path: "runs/log-batch", what: "step", points: |r| list(r, "metrics").iter().filter(|entry| is_sampled(entry)).map(|entry| named(entry, "key", "step")).collect() },
    Axis { service: "W&B", path: "/file_stream", what: "_step", points: |r| lines(r, "history.jsonl").map(|line| row(&line)).filter_map(|row| row["_step"].as_i64()).map(|step| (String::new(), step)).collect() },
];

/// Whether each request is within the limits of its service.
pub(super) fn limits(requests: &[Request]) -> Result<(), String> {
    for request in requests {
        // what is packed is for its own receiver to unpack and to judge
        if request.header("content-encoding").is_some() {
            continue;
        }
        let path = request.decoded_path();
        for limit in LIMITS.iter().filter(|limit| path.contains(limit.path)) {
            let found = (limit.measure)(request);
            if found > limit.most {
                return Err(format!(
                    "{path} has {found} {}, where {} takes {}",
                    limit.what, limit.service, limit.most
                ));
            }
        }
    }
    Ok(())
}

/// Whether what was sent once goes on along every axis.
pub(super) fn axes(requests: &[Request]) -> Result<(), String> {
    for axis in AXES {
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        for request in requests {
            if !request.path.contains(axis.path) {
                continue;
            }
            for (name, value) in (axis.points)(request) {
                match last.insert(name.clone(), value) {
                    Some(before) if before >= value => {
                        return Err(format!(
                            "{} of {}: {name} goes from {before} to {value}",
                            axis.what, axis.service
                        ));
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

fn list(request: &Request, name: &str) -> Vec<Value> {
    match request.json()[name].take() {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    }
}

fn chars(value: &Value) -> usize {
    value.as_str().map_or(0, |text| text.chars().count())
}

fn longest(request: &Request, name: &str, field: &str) -> usize {
    let entries = list(request, name);
    entries.iter().map(|e| chars(&e[field])).max().unwrap_or(0)
}

fn doubles(request: &Request, name: &str) -> usize {
    let entries = list(request, name);
    let mut keys: Vec<String> = entries
        .iter()
        .map(|entry| entry["key"].to_string())
        .collect();
    keys.sort_unstable();
    let all = keys.len();
    keys.dedup();
    all - keys.len()
}

/// `^[/\w.\- :]*$`, and no trick with a path.
fn mlflow_key(key: &Value) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || "_/.- :".contains(c);
    key.as_str().is_some_and(|key| {
        key.chars().all(allowed) && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
    })
}

/// What MLflow's UI shows along the time of the run.
fn is_sampled(entry: &Value) -> bool {
    entry["key"]
        .as_str()
        .is_some_and(|key| key.starts_with("system/"))
}

fn named(entry: &Value, name: &str, value: &str) -> (String, i64) {
    let name = entry[name].as_str().unwrap_or_default().to_owned();
    (name, entry[value].as_i64().unwrap_or(i64::MIN))
}

/// Lines of a file stream, of the files whose names contain `part`.
fn lines(request: &Request, part: &'static str) -> impl Iterator<Item = String> {
    let files = match request.json()["files"].take() {
        Value::Object(files) => files,
        _ => serde_json::Map::new(),
    };
    files
        .into_iter()
        .filter(move |(name, _)| name.contains(part))
        .flat_map(|(_, mut file)| match file["content"].take() {
            Value::Array(lines) => lines,
            _ => Vec::new(),
        })
        .filter_map(|line| line.as_str().map(str::to_owned))
}

fn row(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or(Value::Null)
}

fn values(line: &str) -> Vec<Value> {
    match row(line) {
        Value::Object(fields) => fields.into_iter().map(|(_, value)| value).collect(),
        _ => Vec::new(),
    }
}

/// `name{labels} value time`
fn has_time(line: &str) -> bool {
    let (after, most) = match line.rsplit_once('}') {
        Some((_, after)) => (after, 1),
        None => (line, 2),
    };
    !line.starts_with('#') && after.split_whitespace().count() > most
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{LIMITS, axes, limits};
    use crate::Request;

    fn request(path: &str, body: impl Into<Vec<u8>>) -> Request {
        Request {
            method: "POST".into(),
            path: path.into(),
            query: String::new(),
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn stream(file: &str, lines: &[String]) -> Request {
        let body = json!({"files": {file: {"offset": 0, "content": lines}}});
        request("/files/e/p/r/file_stream", body.to_string())
    }

    /// Every row is broken by some request here, and by nothing that is allowed.
    #[test]
    fn each_limit_is_one() {
        let batch =
            |body: serde_json::Value| request("/api/2.0/mlflow/runs/log-batch", body.to_string());
        let metric = |key: &str| json!({"key": key, "value": 1.5, "timestamp": 1, "step": 0});
        let pair = |key: String, value: String| json!({"key": key, "value": value});
        let pairs = |n: usize| {
            (0..n)
                .map(|i| pair(format!("k{i}"), "v".into()))
                .collect::<Vec<_>>()
        };
        let metrics = |n: usize| (0..n).map(|_| metric("k")).collect::<Vec<_>>();
        let table = |n: usize| {
            request(
                "/up/media/table/t.table.json",
                json!({"data": vec![[1]; n]}).to_string(),
            )
        };
        let dataset = |name: usize, digest: usize| {
            request("/api/2.0/mlflow/runs/log-inputs",
            json!({"datasets": [{"dataset": {"name": "n".repeat(name), "digest": "d".repeat(digest)}}]}).to_string())
        };
        let experiment = |n: usize| {
            request(
                "/api/2.0/mlflow/experiments/create",
                json!({"name": "e".repeat(n)}).to_string(),
            )
        };
        let push = |text: &str| request("/metrics/job/lem", text);
        let good = [
            batch(json!({"metrics": metrics(1000)})),
            batch(json!({"params": pairs(100), "tags": pairs(100), "metrics": metrics(800)})),
            batch(
                json!({"params": [pair("ü".repeat(250), "ü".repeat(6000))], "tags": [pair("a/b".into(), "ü".repeat(8000))]}),
            ),
            experiment(500),
            dataset(500, 36),
            request(
                "/api/2.0/mlflow/runs/create",
                json!({"start_time": 1}).to_string(),
            ),
            stream("wandb-history.jsonl", &["{\"a\":1}".into()]),
            stream("output.log", &["not JSON".into()]),
            stream("output.log", &["x".repeat((10 << 20) - (100 << 10))]),
            table(10_000),
            push("a{x=\"} 1 2\"} 1.5\nb 2\n# HELP b one two three\n"),
        ];
        assert_eq!(limits(&good), Ok(()));
        let bad = [
            request("/api/2.0/mlflow/runs/update", "x".repeat(1_000_001)),
            request(
                "/api/2.0/mlflow/runs/log-batch",
                "{\"metrics\":[{\"value\":NaN}]}",
            ),
            batch(json!({"metrics": metrics(1001)})),
            batch(json!({"params": pairs(101)})),
            batch(json!({"tags": pairs(101)})),
            batch(json!({"params": pairs(100), "tags": pairs(100), "metrics": metrics(801)})),
            batch(json!({"tags": [pair("k".repeat(251), String::new())]})),
            batch(json!({"metrics": [metric("a//b")]})),
            batch(json!({"params": [pair("k".into(), "v".repeat(6001))]})),
            batch(json!({"tags": [pair("k".into(), "v".repeat(8001))]})),
            batch(json!({"params": [pair("k".into(), "v".into()), pair("k".into(), "v".into())]})),
            batch(json!({"metrics": [{"key": "k", "value": null, "timestamp": 1, "step": 0}]})),
            batch(json!({"metrics": [{"key": "k", "value": 1, "timestamp": 1.5, "step": 0}]})),
            experiment(501),
            request(
                "/api/2.0/mlflow/runs/create",
                json!({"start_time": 0}).to_string(),
            ),
            dataset(501, 1),
            dataset(1, 37),
            stream("output.log", &vec!["x".repeat(1 << 20); 11]),
            stream("output.log", &["x".repeat((10 << 20) - (100 << 10) + 1)]),
            stream("wandb-history.jsonl", &["{\"a\":NaN}".into()]),
            stream(
                "wandb-summary.json",
                &[json!({"a": "x".repeat(1_000_000)}).to_string()],
            ),
            table(10_001),
            push("a 1.5 1750000000000\n"),
            push("a 1.5"),
        ];
        assert_eq!(bad.len(), LIMITS.len());
        for (request, limit) in bad.iter().zip(LIMITS) {
            let why = limits(std::slice::from_ref(request)).expect_err(limit.what);
            assert!(why.contains(limit.what), "{why} is not of {}", limit.what);
        }
    }

    #[test]
    fn an_axis_that_goes_back_or_stands_is_found() {
        let steps = |steps: &[i64]| {
            let metrics: Vec<_> = steps
                .iter()
                .map(|step| json!({"key": "system/x", "value": 1, "timestamp": 1, "step": step}))
                .collect();
            request(
                "/api/2.0/mlflow/runs/log-batch",
                json!({"metrics": metrics}).to_string(),
            )
        };
        assert_eq!(axes(&[steps(&[1, 2]), steps(&[3])]), Ok(()));
        assert!(axes(&[steps(&[1, 2]), steps(&[2])]).is_err());
        let row = |step: i64| stream("wandb-history.jsonl", &[json!({"_step": step}).to_string()]);
        assert_eq!(axes(&[row(0), row(1)]), Ok(()));
        assert!(axes(&[row(1), row(0)]).is_err());
    }
}
