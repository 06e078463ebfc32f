//! A resolved configuration as text.

use std::collections::BTreeMap;

use lem_record::Origin;
use serde_json::{Value, json};

use super::load::Resolved;
use super::tree::join;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Yaml,
    Json,
}

/// `lem config show`: the whole configuration, defaults included, without secrets.
///
/// With `origin`, JSON is one flat object from dotted path to
/// `{"value": …, "origin": {"source": …, "detail": …}}`, and YAML has a comment behind
/// each value.
pub fn show(resolved: &Resolved, format: Format, origin: bool) -> String {
    match (format, origin) {
        (Format::Yaml, false) => yaml(&resolved.tree, &|_| None),
        (Format::Yaml, true) => yaml(&resolved.tree, &|path| {
            resolved.origins.get(path).map(comment)
        }),
        (Format::Json, false) => pretty(&resolved.tree),
        (Format::Json, true) => {
            let mut leaves = BTreeMap::new();
            flatten(&resolved.tree, "", &mut leaves);
            let object: serde_json::Map<String, Value> = leaves
                .into_iter()
                .map(|(path, value)| {
                    let origin = resolved.origins.get(&path);
                    (path, json!({"value": value, "origin": origin}))
                })
                .collect();
            pretty(&Value::Object(object))
        }
    }
}

fn pretty(value: &Value) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn comment(origin: &Origin) -> String {
    match &origin.detail {
        Some(detail) => format!("{} {detail}", origin.source),
        None => origin.source.clone(),
    }
}

/// Every leaf by its dotted path; a list is a leaf.
fn flatten<'a>(value: &'a Value, path: &str, leaves: &mut BTreeMap<String, &'a Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                flatten(value, &join(path, key), leaves);
            }
        }
        _ => {
            leaves.insert(path.to_owned(), value);
        }
    }
}

/// A value as block YAML, with a comment behind the leaves that have one.
pub(crate) fn yaml(value: &Value, comment: &dyn Fn(&str) -> Option<String>) -> String {
    let mut out = String::new();
    write(value, "", 0, comment, &mut out);
    out
}

fn write(
    value: &Value,
    path: &str,
    depth: usize,
    comment: &dyn Fn(&str) -> Option<String>,
    out: &mut String,
) {
    let indent = "  ".repeat(depth);
    let Value::Object(map) = value else {
        out.push_str(&scalar(value));
        out.push('\n');
        return;
    };
    for (key, value) in map {
        let path = join(path, key);
        let note = comment(&path)
            .map(|note| format!("  # {}", note.replace(['\n', '\r'], " ")))
            .unwrap_or_default();
        let key = text(key);
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push_str(&format!("{indent}{key}:\n"));
                write(value, &path, depth + 1, comment, out);
            }
            Value::Array(items) if items.iter().any(|item| item.to_string().len() > 20) => {
                out.push_str(&format!("{indent}{key}:{note}\n"));
                for item in items {
                    out.push_str(&format!("{indent}  - {}\n", scalar(item)));
                }
            }
            _ => out.push_str(&format!("{indent}{key}: {}{note}\n", scalar(value))),
        }
    }
}

/// On one line. JSON is YAML; text that needs no quotes goes without.
pub(crate) fn scalar(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

fn text(string: &str) -> String {
    let plain = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && string
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.' | '='))
        && !matches!(
            string.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain {
        string.to_owned()
    } else {
        quoted(string)
    }
}

/// As JSON, with what YAML does not print escaped too.
fn quoted(string: &str) -> String {
    let json = serde_json::to_string(string).unwrap_or_default();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::yaml;
    use crate::config::place::Place;
    use crate::config::yaml::parse_value;

    fn read(text: &str) -> Value {
        let mut findings = Vec::new();
        let node = parse_value(text, &Place::Default, &mut findings);
        assert!(findings.is_empty(), "{findings:?}\n{text}");
        node.expect("a document").to_value()
    }

    fn leaf() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("finite", |f| f.is_finite())
                .prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[a-z0-9 :#'\"{}\\[\\]~|>&*!%@`-]{0,12}".prop_map(Value::from),
        ]
    }

    fn tree() -> impl Strategy<Value = Value> {
        let value = leaf().prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(leaf(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z_.-]{1,8}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-zA-Z0-9 #:]{1,8}", value, 1..4)
            .prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(tree in tree()) {
            let text = yaml(&tree, &|path| Some(format!("of # {path}")));
            prop_assert_eq!(read(&text), tree, "{}", text);
        }
    }

    #[test]
    fn words_that_yaml_reads_otherwise_are_quoted() {
        let tree = json!({"a": "true", "b": "no", "c": "1e3", "d": "x: y", "e": "plain"});
        assert_eq!(
            yaml(&tree, &|_| None),
            "a: \"true\"\nb: \"no\"\nc: \"1e3\"\nd: \"x: y\"\ne: plain\n"
        );
    }
}
