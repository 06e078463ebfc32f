//! A tree of values that remember where they were written.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::place::Place;

#[derive(Clone)]
pub(crate) struct Node {
    pub data: Data,
    pub place: Place,
}

#[derive(Clone)]
pub(crate) enum Data {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

pub(crate) type Map = BTreeMap<String, Entry>;

#[derive(Clone)]
pub(crate) struct Entry {
    /// Where the key stands; the node has its own place.
    pub key: Place,
    pub node: Node,
}

#[derive(Clone)]
pub(crate) struct Scalar {
    pub value: Value,
    /// As it was written: a version `1.10` must not become `1.1`.
    pub text: Arc<str>,
}

impl Node {
    pub fn map(place: Place) -> Self {
        Self {
            data: Data::Map(Map::new()),
            place,
        }
    }

    pub fn scalar(value: Value, text: &str, place: Place) -> Self {
        Self {
            data: Data::Scalar(Scalar {
                value,
                text: text.into(),
            }),
            place,
        }
    }

    pub fn text(text: &str, place: Place) -> Self {
        Self::scalar(Value::String(text.into()), text, place)
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.data, Data::Scalar(s) if s.value.is_null())
    }

    /// Nothing, or a section or list with nothing in it.
    pub fn is_empty(&self) -> bool {
        match &self.data {
            Data::Scalar(scalar) => scalar.value.is_null(),
            Data::List(items) => items.is_empty(),
            Data::Map(map) => map.is_empty(),
        }
    }

    pub fn as_map(&self) -> Option<&Map> {
        match &self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.data {
            Data::Map(map) => Some(map),
            _ => None,
        }
    }

    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.data {
            Data::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    pub fn get(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| {
            node.as_map()?.get(*key).map(|entry| &entry.node)
        })
    }

    /// Removes what stands at the path, and the sections that it leaves empty.
    pub fn take(&mut self, path: &[&str]) -> Option<Entry> {
        let (first, rest) = path.split_first()?;
        let map = self.as_map_mut()?;
        if rest.is_empty() {
            return map.remove(*first);
        }
        let section = &mut map.get_mut(*first)?.node;
        let taken = section.take(rest);
        if taken.is_some() && section.as_map().is_some_and(Map::is_empty) {
            map.remove(*first);
        }
        taken
    }

    /// Puts an entry at the path, making the sections on the way. What is in the way
    /// and is no section gives way: the last one to speak is heard.
    pub fn put(&mut self, path: &[&str], entry: Entry) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        if self.as_map().is_none() {
            self.data = Data::Map(Map::new());
            self.place = entry.key.clone();
        }
        let Some(map) = self.as_map_mut() else {
            return;
        };
        if rest.is_empty() {
            map.insert((*first).to_owned(), entry);
            return;
        }
        map.entry((*first).to_owned())
            .or_insert_with(|| Entry {
                key: entry.key.clone(),
                node: Node::map(entry.key.clone()),
            })
            .node
            .put(rest, entry);
    }

    /// The bare value, for keys whose content lem passes on unread.
    pub fn to_value(&self) -> Value {
        match &self.data {
            Data::Scalar(scalar) => scalar.value.clone(),
            Data::List(items) => items.iter().map(Node::to_value).collect(),
            Data::Map(map) => Value::Object(
                map.iter()
                    .map(|(key, entry)| (key.clone(), entry.node.to_value()))
                    .collect(),
            ),
        }
    }

    /// What kind of value it is, in words.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::List(_) => "a list",
            Data::Map(_) => "a section",
            Data::Scalar(scalar) => match &scalar.value {
                Value::Null => "nothing",
                Value::Bool(_) => "a boolean",
                Value::Number(number) if number.is_f64() => "a number",
                Value::Number(_) => "a whole number",
                _ => "text",
            },
        }
    }
}

/// `a.b`, with the parent's path before it.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
