//! The layer of the command line: `--set KEY=VALUE`, and flags that stand for a key.

use std::fmt;

use serde_json::Value;

use super::finding::{Finding, Findings};
use super::keys::{Target, keys};
use super::place::Place;
use super::redact;
use super::tree::{Data, Entry, Map, Node};
use super::yaml;

/// A flag that sets a key: `--cycles 5` is `num_cycles`. It prints without secrets.
#[derive(Clone, PartialEq)]
pub struct FlagValue {
    /// Dotted path of the key.
    pub path: String,
    pub value: Value,
    /// As it was typed: `--cycles 5`.
    pub typed: String,
}

impl fmt::Debug for FlagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = redact::line(&self.typed);
        f.debug_tuple("FlagValue")
            .field(&self.path)
            .field(&typed)
            .finish()
    }
}

impl FlagValue {
    pub fn new(path: impl Into<String>, value: impl Into<Value>, typed: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            value: value.into(),
            typed: typed.into(),
        }
    }
}

pub(crate) fn set(setting: &str, findings: &mut Findings) -> Option<Node> {
    let place = Place::flag(&format!("--set {}", yaml::cut(setting)));
    let Some((path, value)) = setting.split_once('=') else {
        findings.push(Finding::error(
            "set",
            &place,
            "`--set` without `=`",
            "Write `--set KEY=VALUE`, as in `--set batching.batch_size=4`.",
        ));
        return None;
    };
    let target = keys().resolve_path(path.trim());
    if target.path.iter().any(|name| name.trim().is_empty()) {
        findings.push(Finding::error(
            "set",
            &place,
            "the key of `--set` is empty, or has an empty part",
            "Write `--set KEY=VALUE` with the key's dotted path, as in `--set batching.batch_size=4`.",
        ));
        return None;
    }
    layer(value, &target, &place, findings)
}

/// The value that a text means for a key, as in `--set KEY=TEXT`; else what is wrong with it.
pub fn typed(key: &str, text: &str) -> Result<Value, String> {
    let target = keys().resolve_path(key);
    let place = Place::flag(&format!("{key}={}", yaml::cut(text)));
    let mut findings = Findings::default();
    let node = layer(text, &target, &place, &mut findings);
    findings.finish().map_err(|errors| errors.to_string())?;
    let value = node.as_ref().and_then(|node| node.get(&target.segments()));
    Ok(value.map_or(Value::Null, Node::to_value))
}

pub(crate) fn flag(flag: &FlagValue) -> Node {
    let place = Place::flag(&flag.typed);
    let text = match &flag.value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let target = keys().resolve_path(&flag.path);
    let node = from_value(&flag.value, &text, &place);
    at(&target, node, &place)
}

/// A flag's value as nodes: a flag may stand for a list or a section.
fn from_value(value: &Value, text: &str, place: &Place) -> Node {
    let data = match value {
        Value::Array(items) => Data::List(
            items
                .iter()
                .map(|item| from_value(item, &item.to_string(), place))
                .collect(),
        ),
        Value::Object(map) => Data::Map(
            map.iter()
                .map(|(key, item)| {
                    let node = from_value(item, &item.to_string(), place);
                    let entry = Entry {
                        key: place.clone(),
                        node,
                    };
                    (key.clone(), entry)
                })
                .collect::<Map>(),
        ),
        scalar => return Node::scalar(scalar.clone(), text, place.clone()),
    };
    Node {
        data,
        place: place.clone(),
    }
}

/// One value as a layer: a tree with nothing else in it. Where the key takes text, the
/// value is taken as it stands, unless it is quoted; else it is YAML.
pub(crate) fn layer(
    raw: &str,
    target: &Target,
    place: &Place,
    findings: &mut Findings,
) -> Option<Node> {
    let quoted = raw.starts_with(['"', '\'']);
    let node = if target.shape.is_text() && !quoted {
        match raw {
            "null" | "~" => Node::scalar(Value::Null, raw, place.clone()),
            _ => Node::text(raw, place.clone()),
        }
    } else {
        let mut found = Vec::new();
        let node = yaml::parse_value(raw, place, &mut found);
        for finding in found {
            findings.push(finding.at(&target.path.join(".")));
        }
        node?
    };
    Some(at(target, node, place))
}

fn at(target: &Target, node: Node, place: &Place) -> Node {
    let mut layer = Node::map(place.clone());
    let entry = Entry {
        key: place.clone(),
        node,
    };
    layer.put(&target.segments(), entry);
    layer
}
