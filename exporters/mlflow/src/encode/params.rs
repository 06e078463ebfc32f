use std::collections::BTreeSet;

use serde_json::Value;

use super::key::{cut, legal};
use crate::limits;

/// The configuration as params: a dotted path each, lists as JSON, nulls and empty
/// objects left out. Two paths that become the same key get numbers; a value that
/// is cut is whole in the configuration artifact.
pub(super) fn flatten(config: &Value) -> Vec<(String, String)> {
    let mut flat = Vec::new();
    walk(String::new(), config, &mut flat);
    let mut used = BTreeSet::new();
    flat.into_iter()
        .map(|(path, value)| {
            let key = unused(&path, &used);
            used.insert(key.clone());
            (key, param_value(&value))
        })
        .collect()
}

pub(super) fn param_value(value: &str) -> String {
    cut(
        value,
        limits::PARAM_VALUE,
        "; whole in the configuration artifact",
    )
}

fn walk(path: String, value: &Value, flat: &mut Vec<(String, String)>) {
    let text = match value {
        Value::Null => return,
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(path, value, flat);
            }
            return;
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    flat.push((path, text));
}

fn unused(path: &str, used: &BTreeSet<String>) -> String {
    let key = legal(path);
    if !used.contains(&key) {
        return key;
    }
    // short enough for its number
    let stem: String = key.chars().take(limits::KEY - 8).collect();
    (2..)
        .map(|number| legal(&format!("{stem}_{number}")))
        .find(|key| !used.contains(key))
        .unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::flatten;

    #[test]
    fn a_configuration_is_flattened() {
        let config = json!({
            "model_name": "hf:a/b",
            "batching": {"batch_size": 4, "max": null, "empty": {}},
            "gpus": [0, 1],
            "streaming": true,
            "odd%key": 1,
            "odd_key": 2,
            "odd$key": 3,
            "": 4,
        });
        insta::assert_json_snapshot!(flatten(&config));
    }

    #[test]
    fn a_long_value_and_a_long_key_are_cut_visibly() {
        let config = json!({"k".repeat(400): "v".repeat(7000)});
        let params = flatten(&config);
        assert_eq!(params[0].0.len(), 250);
        assert_eq!(params[0].1.chars().count(), 6000);
        assert!(
            params[0]
                .1
                .ends_with("[7000 characters; whole in the configuration artifact]")
        );
    }
}
