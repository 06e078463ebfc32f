//! Which points can share a loaded model.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::config::{Backend, Config};

/// Keys and sections that neither an engine reads when it is loaded nor a meter when it is
/// opened: the measurement's, the evaluation's, the user's words.
const CHEAP: &[&str] = &[
    "config_name",
    "num_cycles",
    "measurement",
    "carbon",
    "cost",
    "quality",
    "tags",
    "notes",
    "integrations",
    "io",
    "prompts",
    "decoder",
];

/// Besides, what an engine in this process, a launched vLLM or SGLang, or a server that was
/// there before takes with each request.
const CHEAP_PER_REQUEST: &[&str] = &[
    "num_input_prompts",
    "max_input_tokens",
    "max_output_tokens",
    "min_output_tokens",
    "batching",
    "traffic",
    "streaming",
    "profiling",
];

/// Besides, where there is a server that lem did not launch: its seed is its own.
const CHEAP_ATTACHED: &[&str] = &["random_seed"];

/// The tables that hold for a configuration.
fn cheap(config: &Config) -> Vec<&'static str> {
    let attached = config.backend.is_server() && config.server.url.is_some();
    let per_request = attached
        || matches!(
            config.backend,
            Backend::Candle | Backend::Torch | Backend::Vllm | Backend::Sglang
        );
    let tables = [
        (true, CHEAP),
        (per_request, CHEAP_PER_REQUEST),
        (attached, CHEAP_ATTACHED),
    ];
    tables
        .into_iter()
        .filter(|(holds, _)| *holds)
        .flat_map(|(_, table)| table.iter().copied())
        .collect()
}

/// Points of equal keys can be measured on one loaded engine.
pub fn load_key(config: &Config, tree: &Value) -> String {
    let interval = config.measurement.interval_ms;
    let key = digest(tree, &cheap(config));
    hex::encode(Sha256::digest(format!("{key} {interval}")))
}

/// What the points of a sweep share and what another machine may have otherwise is not of a
/// configuration's identity.
const NOT_IDENTITY: &[&str] = &["integrations", "io", "sweep"];

/// Of a resolved configuration: equal on every machine where it means the same measurement.
pub fn config_sha256(tree: &Value) -> String {
    digest(tree, NOT_IDENTITY)
}

fn digest(tree: &Value, without: &[&str]) -> String {
    let empty = Map::new();
    let map = tree.as_object().unwrap_or(&empty);
    let kept: Map<String, Value> = map
        .iter()
        .filter(|(key, _)| !without.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    hex::encode(Sha256::digest(canonical(&Value::Object(kept))))
}

/// JSON with sorted keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn key(backend: &str, change: &[(&str, Value)]) -> String {
        let mut tree = serde_json::to_value(Config::default()).unwrap();
        tree["backend"] = backend.into();
        for (pointer, value) in change {
            *tree.pointer_mut(pointer).unwrap() = value.clone();
        }
        load_key(&serde_json::from_value(tree.clone()).unwrap(), &tree)
    }

    #[test]
    fn a_model_stays_loaded_where_only_requests_change() {
        let batch: &[_] = &[("/batching/batch_size", json!(9))];
        let outputs: &[_] = &[("/max_output_tokens", json!(9))];
        for backend in ["candle", "torch", "vllm", "sglang"] {
            assert_eq!(key(backend, &[]), key(backend, batch), "{backend}");
            assert_eq!(key(backend, &[]), key(backend, outputs), "{backend}");
            let seed = key(backend, &[("/random_seed", json!(1))]);
            assert_ne!(key(backend, &[]), seed, "dummy weights are drawn from it");
        }
        // Told to it when it is loaded.
        for backend in ["transformers", "llama.cpp", "tensorrt-llm"] {
            assert_ne!(key(backend, &[]), key(backend, outputs), "{backend}");
        }
        let attached = ("/server/url", json!("http://h"));
        assert_eq!(
            key("llama.cpp", std::slice::from_ref(&attached)),
            key(
                "llama.cpp",
                &[attached, ("/random_seed", json!(1)), outputs[0].clone()]
            )
        );
        for backend in ["candle", "transformers", "llama.cpp"] {
            let cycles = key(
                backend,
                &[("/num_cycles", json!(9)), ("/carbon/pue", json!(2.0))],
            );
            assert_eq!(key(backend, &[]), cycles, "{backend}");
            let model = key(backend, &[("/model_name", json!("m"))]);
            assert_ne!(key(backend, &[]), model, "{backend}");
        }
        let threads = key("candle", &[("/candle/threads", json!(1))]);
        assert_ne!(key("candle", &[]), threads);
    }

    #[test]
    fn a_digest_does_not_mind_the_order_of_keys() {
        let a: Value =
            serde_json::from_str(r#"{"a": 1, "b": {"c": 2, "d": [1]}, "io": 3}"#).unwrap();
        let b: Value =
            serde_json::from_str(r#"{"io": 4, "b": {"d": [1], "c": 2}, "a": 1}"#).unwrap();
        assert_eq!(config_sha256(&a), config_sha256(&b));
        let c = json!({"a": 1, "b": {"c": 2, "d": [2]}});
        assert_ne!(config_sha256(&a), config_sha256(&c));
    }
}
