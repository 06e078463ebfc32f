//! From the text of a result to its scalars.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What an index leaves out: long, or of no use for choosing among runs. A query that
/// asks for it reads the result.
pub const SKIPPED_IN_INDEX: &[&str] = &[
    "cycles",
    "time_series",
    "provenance",
    "intervals",
    "absent",
    "phase_estimates",
    "exports",
    "thermal",
    "throttling",
    "marked_phases",
    "legacy",
];
/// Parts of a quantity that an index leaves out.
const SKIPPED_PARTS: &[&str] = &["uncertainty", "interval", "method", "reason"];
/// What is the user's own: there `value` is a name as any other.
const OPEN: &[&str] = &["config", "environment", "tags", "legacy", "provenance"];
/// A longer text is read from the result when it is asked for; `{}` stands in its place.
const MOST_TEXT: usize = 1024;
/// Nothing of ours nests as deep.
const MOST_DEPTH: usize = 100;

/// Every scalar of a result, in order, to `each`; `brief` leaves out what an index does.
/// Warnings become one text of their codes, so that `warnings~throttled` finds a run.
pub fn flatten(
    text: &[u8],
    brief: bool,
    each: &mut dyn FnMut(&str, &Value),
) -> Result<(), serde_json::Error> {
    let mut from = serde_json::Deserializer::from_slice(text);
    walk(&mut from, brief, each)?;
    from.end()
}

/// As [`flatten`], of a value that is there already.
pub fn of_value(value: &Value, brief: bool, each: &mut dyn FnMut(&str, &Value)) {
    // Reading from a value fails only where it nests deeper than any of ours: the rest is left out.
    let _ = walk(value, brief, each);
}

fn walk<'de, D: Deserializer<'de>>(
    from: D,
    brief: bool,
    each: &mut dyn FnMut(&str, &Value),
) -> Result<(), D::Error> {
    let mut path = String::new();
    let mut codes = String::new();
    let node = Node {
        path: &mut path,
        depth: 0,
        brief,
        codes: &mut codes,
        each,
    };
    node.deserialize(from)?;
    if !codes.is_empty() {
        each("warnings", &Value::String(codes));
    }
    Ok(())
}

struct Node<'a> {
    path: &'a mut String,
    depth: usize,
    brief: bool,
    codes: &'a mut String,
    each: &'a mut dyn FnMut(&str, &Value),
}

impl Node<'_> {
    fn put(&mut self, value: Value) {
        if let Some(parent) = self.path.strip_suffix(".value")
            && !OPEN.contains(&first(parent))
        {
            // A quantity's number stands under the quantity's own path.
            (self.each)(parent, &value);
            return;
        }
        if self.path.starts_with("warnings.")
            && self.path.ends_with(".code")
            && let Value::String(code) = &value
        {
            if !self.codes.is_empty() {
                self.codes.push_str(", ");
            }
            self.codes.push_str(code);
        }
        if !self.brief {
            (self.each)(self.path, &value);
        } else if !self.path.starts_with("warnings.") {
            let long = matches!(&value, Value::String(text) if text.len() > MOST_TEXT);
            let elsewhere = Value::Object(serde_json::Map::new());
            (self.each)(self.path, if long { &elsewhere } else { &value });
        }
    }

    fn below(&mut self, name: &str) -> Node<'_> {
        if !self.path.is_empty() {
            self.path.push('.');
        }
        self.path.push_str(name);
        Node {
            path: self.path,
            depth: self.depth + 1,
            brief: self.brief,
            codes: self.codes,
            each: self.each,
        }
    }

    fn skips(&self, name: &str) -> bool {
        if !self.brief {
            return false;
        }
        if self.depth == 0 {
            return SKIPPED_IN_INDEX.contains(&name);
        }
        SKIPPED_PARTS.contains(&name) && !OPEN.contains(&first(self.path))
    }
}

/// Whether an index leaves a field out, so that a query has to read the result.
pub fn left_out(path: &str) -> bool {
    let root = first(path);
    if OPEN.contains(&root) && !SKIPPED_IN_INDEX.contains(&root) {
        return false;
    }
    let below = path.split('.').skip(1);
    SKIPPED_IN_INDEX.contains(&root)
        || path.starts_with("warnings.")
        || below.into_iter().any(|name| SKIPPED_PARTS.contains(&name))
}

fn first(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a result")
    }

    fn visit_bool<E: Error>(mut self, value: bool) -> Result<(), E> {
        self.put(value.into());
        Ok(())
    }

    fn visit_i64<E: Error>(mut self, value: i64) -> Result<(), E> {
        self.put(value.into());
        Ok(())
    }

    fn visit_u64<E: Error>(mut self, value: u64) -> Result<(), E> {
        self.put(value.into());
        Ok(())
    }

    fn visit_f64<E: Error>(mut self, value: f64) -> Result<(), E> {
        self.put(value.into());
        Ok(())
    }

    fn visit_str<E: Error>(mut self, value: &str) -> Result<(), E> {
        self.put(value.into());
        Ok(())
    }

    /// What is `null` is absent.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        if self.depth > MOST_DEPTH {
            return Err(A::Error::custom("it nests deeper than any result"));
        }
        let length = self.path.len();
        while let Some(name) = map.next_key::<String>()? {
            if self.skips(&name) {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(self.below(&name))?;
                self.path.truncate(length);
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        if self.depth > MOST_DEPTH {
            return Err(A::Error::custom("it nests deeper than any result"));
        }
        let length = self.path.len();
        let mut index = 0usize;
        loop {
            let more = seq.next_element_seed(self.below(&index.to_string()))?;
            self.path.truncate(length);
            if more.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::flatten;

    fn flat(value: &Value, brief: bool) -> BTreeMap<String, Value> {
        let mut all = BTreeMap::new();
        let mut put = |path: &str, value: &Value| {
            all.insert(path.to_owned(), value.clone());
        };
        flatten(value.to_string().as_bytes(), brief, &mut put).unwrap();
        all
    }

    #[test]
    fn quantities_stand_under_their_own_path_and_nothing_absent_is_a_number() {
        let result = json!({
            "status": "finished",
            "total_energy_j": {"value": 12.5, "how": "measured", "uncertainty": {"expanded": 1.0}},
            "decode_energy_j": {"value": null, "how": null, "reason": "not resolvable"},
            "config": {"x": {"value": 3}, "gpus": [0, 2], "none": null},
            "cycles": [{"cycle": 0, "duration_s": 1.0}],
            "warnings": [{"code": "a.b", "message": "m", "remedy": "r"}, {"code": "c", "message": "m", "remedy": "r"}],
            "engine": {"engine.queue": {"value": 0.5, "how": "reported"}},
        });
        let brief = flat(&result, true);
        assert_eq!(brief["total_energy_j"], 12.5);
        assert_eq!(brief["total_energy_j.how"], "measured");
        assert_eq!(brief["config.x.value"], 3);
        assert_eq!(brief["config.gpus.1"], 2);
        assert_eq!(brief["warnings"], "a.b, c");
        assert_eq!(brief["engine.engine.queue"], 0.5);
        for absent in [
            "decode_energy_j",
            "config.none",
            "cycles.0.duration_s",
            "total_energy_j.uncertainty.expanded",
        ] {
            assert!(!brief.contains_key(absent), "{absent}");
        }
        let whole = flat(&result, false);
        assert_eq!(whole["cycles.0.duration_s"], 1.0);
        assert_eq!(whole["total_energy_j.uncertainty.expanded"], 1.0);
        assert_eq!(whole["decode_energy_j.reason"], "not resolvable");
        assert_eq!(whole["warnings.1.code"], "c");
    }

    #[test]
    fn what_is_torn_or_hostile_is_an_error_and_no_crash() {
        let mut nothing = |_: &str, _: &Value| {};
        for text in ["", "{", "{\"a\": tru", "[1,2", "{} {}"] {
            assert!(
                flatten(text.as_bytes(), true, &mut nothing).is_err(),
                "{text}"
            );
        }
        let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
        assert!(flatten(deep.as_bytes(), false, &mut nothing).is_err());
    }
}
