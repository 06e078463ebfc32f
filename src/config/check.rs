//! The one walker that holds a tree against the table of keys, and tells everything that
//! does not fit at once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map as Json, Number, Value};

use super::files::EXTENDS;
use super::finding::{Finding, Findings};
use super::keys::{Field, Section, Shape, Variant, keys};
use super::place::Place;
use super::redact;
use super::suggest::{any_of, nearest};
use super::tree::{Data, Map, Node, join};
use super::yaml::cut;

/// More siblings than this are not listed in an error.
const MOST_LISTED: usize = 12;

pub(crate) struct Checked {
    /// What was given and is right; the rest is left to the defaults.
    pub value: Value,
    /// Where each leaf was written.
    pub places: BTreeMap<String, Place>,
    /// Paths that are wrong.
    pub wrong: BTreeSet<String>,
    /// Paths that were taken back to their defaults by `null`.
    pub nulls: BTreeSet<String>,
}

pub(crate) fn check(tree: &Node, findings: &mut Findings) -> Checked {
    let mut checker = Checker {
        findings,
        places: BTreeMap::new(),
        wrong: BTreeSet::new(),
        nulls: BTreeSet::new(),
    };
    let value = match &tree.data {
        Data::Map(map) => checker.section("", map, &keys().root),
        _ => Json::new(),
    };
    Checked {
        value: Value::Object(value),
        places: checker.places,
        wrong: checker.wrong,
        nulls: checker.nulls,
    }
}

struct Checker<'a> {
    findings: &'a mut Findings,
    places: BTreeMap<String, Place>,
    wrong: BTreeSet<String>,
    nulls: BTreeSet<String>,
}

impl Checker<'_> {
    fn section(&mut self, path: &str, map: &Map, section: &Section) -> Json<String, Value> {
        let mut out = Json::new();
        for (name, entry) in map {
            let path = join(path, name);
            if let Some(field) = section.field(name) {
                if let Some(value) = self.value(&path, &entry.node, &field.shape) {
                    out.insert(name.clone(), value);
                }
            } else if section.open {
                self.leaves(&path, &entry.node);
                out.insert(name.clone(), entry.node.to_value());
            } else {
                self.wrong.insert(path.clone());
                if self.findings.full() {
                    self.findings.skip();
                } else {
                    self.findings
                        .push(unknown(&path, name, &entry.key, section));
                }
            }
        }
        out
    }

    /// The value, where it is right and is not nothing.
    fn value(&mut self, path: &str, node: &Node, shape: &Shape) -> Option<Value> {
        if node.is_null() {
            self.nulls.insert(path.to_owned());
            self.places.insert(path.to_owned(), node.place.clone());
            return None;
        }
        match (shape, &node.data) {
            (Shape::Section(section), Data::Map(map)) => {
                Some(Value::Object(self.section(path, map, section)))
            }
            (Shape::Map(inner), Data::Map(map)) => {
                let mut out = Json::new();
                for (name, entry) in map {
                    if let Some(value) = self.value(&join(path, name), &entry.node, inner) {
                        out.insert(name.clone(), value);
                    }
                }
                Some(Value::Object(out))
            }
            (Shape::List(inner), Data::List(items)) => {
                self.places.insert(path.to_owned(), node.place.clone());
                let mut out = Vec::new();
                for (n, item) in items.iter().enumerate() {
                    let path = format!("{path}[{n}]");
                    match item.is_null() {
                        true => self.mismatch(&path, item, inner),
                        false => out.extend(self.item(&path, item, inner)),
                    }
                }
                Some(Value::Array(out))
            }
            (Shape::Any, _) => {
                self.leaves(path, node);
                Some(node.to_value())
            }
            (Shape::OneOf(shapes), data) => {
                let is_map = matches!(data, Data::Map(_));
                let fitting = shapes
                    .iter()
                    .find(|shape| matches!(shape, Shape::Tagged { .. }) == is_map);
                match (fitting, data) {
                    (Some(fitting), Data::Map(_) | Data::Scalar(_))
                        if is_map || scalar(node, fitting).is_some() =>
                    {
                        self.value(path, node, fitting)
                    }
                    _ => {
                        self.mismatch(path, node, shape);
                        None
                    }
                }
            }
            (Shape::Tagged { tag, variants }, Data::Map(map)) => {
                self.tagged(path, node, map, tag, variants)
            }
            (_, Data::Scalar(_)) => {
                self.places.insert(path.to_owned(), node.place.clone());
                let value = scalar(node, shape);
                if value.is_none() {
                    self.mismatch(path, node, shape);
                }
                value
            }
            _ => {
                self.mismatch(path, node, shape);
                None
            }
        }
    }

    /// A list's item: it has no place of its own in the table of origins.
    fn item(&mut self, path: &str, node: &Node, shape: &Shape) -> Option<Value> {
        let value = self.value(path, node, shape);
        self.places.remove(path);
        value
    }

    fn tagged(
        &mut self,
        path: &str,
        node: &Node,
        map: &Map,
        tag: &str,
        variants: &[Variant],
    ) -> Option<Value> {
        let names: Vec<&str> = variants.iter().map(|v| v.name.as_str()).collect();
        let tag_path = join(path, tag);
        let Some(given) = map.get(tag) else {
            self.wrong.insert(path.to_owned());
            self.findings.push(
                Finding::error(
                    "missing",
                    &node.place,
                    format!("`{path}` says nothing about `{tag}`"),
                    format!("Add `{tag}:` with one of {}.", any_of(&names)),
                )
                .at(&tag_path)
                .expected(any_of(&names)),
            );
            return None;
        };
        let text = given.node.as_scalar().map(|scalar| &*scalar.text);
        let Some(variant) = variants.iter().find(|v| Some(v.name.as_str()) == text) else {
            let choices = names
                .iter()
                .map(|name| super::keys::Choice {
                    value: (*name).to_owned(),
                    doc: String::new(),
                })
                .collect();
            self.mismatch(&tag_path, &given.node, &Shape::Choice(choices));
            self.wrong.insert(path.to_owned());
            return None;
        };
        let mut rest = map.clone();
        rest.remove(tag);
        self.places.insert(tag_path, given.node.place.clone());
        let before = self.wrong.len();
        let mut out = self.section(path, &rest, &variant.section);
        for field in &variant.section.fields {
            if field.required && !out.contains_key(&field.name) {
                self.missing(path, node, field, &variant.name);
            }
        }
        if self.wrong.len() > before {
            self.wrong.insert(path.to_owned());
            return None;
        }
        out.insert(tag.to_owned(), variant.name.as_str().into());
        Some(Value::Object(out))
    }

    fn missing(&mut self, path: &str, node: &Node, field: &Field, variant: &str) {
        let path = join(path, &field.name);
        // A wrong value was told of already.
        if !self.wrong.insert(path.clone()) {
            return;
        }
        self.findings.push(
            Finding::error(
                "missing",
                &node.place,
                format!("`{path}` is missing: `{variant}` needs it"),
                format!("Add `{}:`. {}", field.name, field.doc),
            )
            .at(&path)
            .expected(field.shape.to_string()),
        );
    }

    fn mismatch(&mut self, path: &str, node: &Node, shape: &Shape) {
        self.wrong.insert(path.to_owned());
        if self.findings.full() {
            self.findings.skip();
            return;
        }
        let name = path.rsplit('.').next().unwrap_or(path);
        let kind = node.kind();
        let message = match node.as_scalar() {
            Some(scalar) if !scalar.value.is_null() => {
                let shown = redact::value(name, &Value::String(scalar.text.to_string()));
                let shown = cut(shown.as_str().unwrap_or_default());
                if comparable(&scalar.value, shape) {
                    format!("`{path}` is `{shown}`")
                } else {
                    format!("`{path}` is {kind}: `{shown}`")
                }
            }
            _ => format!("`{path}` is {kind}"),
        };
        self.findings.push(
            Finding::error("value", &node.place, message, remedy(path, node, shape))
                .at(path)
                .expected(shape.to_string()),
        );
    }

    /// Every leaf below a value that is passed on unread.
    fn leaves(&mut self, path: &str, node: &Node) {
        match &node.data {
            Data::Map(map) if !map.is_empty() => {
                for (name, entry) in map {
                    self.leaves(&join(path, name), &entry.node);
                }
            }
            _ => {
                self.places.insert(path.to_owned(), node.place.clone());
            }
        }
    }
}

/// The value as its shape has it; `None` where it does not fit.
fn scalar(node: &Node, shape: &Shape) -> Option<Value> {
    let scalar = node.as_scalar()?;
    match (shape, &scalar.value) {
        (Shape::Text { pattern }, Value::String(_) | Value::Number(_)) => {
            let text: &str = match &scalar.value {
                Value::String(text) => text,
                // `experiment_id: 0`, a version, a commit that is all digits.
                _ => &scalar.text,
            };
            match pattern {
                Some(pattern) if !pattern.is_match(text) => None,
                _ => Some(text.into()),
            }
        }
        (Shape::Integer { min, max }, Value::Number(number)) => integer(number)
            .filter(|value| (*min..=*max).contains(value))
            .and_then(|value| u64::try_from(value).map(Value::from).ok()),
        (Shape::Number(range), Value::Number(number)) => number
            .as_f64()
            .filter(|value| range.holds(*value))
            .and_then(Number::from_f64)
            .map(Value::Number),
        (Shape::Boolean, Value::Bool(value)) => Some((*value).into()),
        (Shape::Choice(choices), Value::String(text)) => choices
            .iter()
            .any(|choice| choice.value == *text)
            .then(|| text.as_str().into()),
        _ => None,
    }
}

/// Whether only the value is wrong, not its kind.
fn comparable(value: &Value, shape: &Shape) -> bool {
    matches!(
        (value, shape),
        (Value::Number(_), Shape::Integer { .. } | Shape::Number(_))
            | (Value::String(_), Shape::Text { .. } | Shape::Choice(_))
            | (Value::Bool(_), Shape::Boolean)
    )
}

fn remedy(path: &str, node: &Node, shape: &Shape) -> String {
    let given = node.as_scalar();
    let text = given.map_or("", |scalar| &*scalar.text);
    let was_text = given.is_some_and(|scalar| scalar.value.is_string());
    match shape {
        Shape::Choice(choices) => match nearest(text, choices.iter().map(|c| c.value.as_str())) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "Choose one of them.".into(),
        },
        Shape::Integer { .. } | Shape::Number(_) if was_text && text.parse::<f64>().is_ok() => {
            "Remove the quotes: it is taken for text.".into()
        }
        Shape::Integer { .. } | Shape::Number(_)
            if was_text && text.replace(['_', ','], "").parse::<f64>().is_ok() =>
        {
            "Write the number without separators.".into()
        }
        Shape::Integer { .. } | Shape::Number(_) if !was_text && given.is_some() => {
            "Choose a value within these bounds.".into()
        }
        Shape::Boolean if was_text => "Write `true` or `false`, without quotes.".into(),
        Shape::Text { pattern: None } if given.is_some_and(|s| s.value.is_boolean()) => {
            format!("Put it in quotes if it is meant as text: `\"{text}\"`.")
        }
        Shape::List(_) if given.is_some() => {
            format!("Write a list: `[{}]`.", cut(text))
        }
        Shape::List(_) => "Give the whole list at once: `[0, 1]`.".into(),
        Shape::Section(section) => match section.fields.first() {
            Some(field) => format!("Write its keys below it: `{path}.{}`, …", field.name),
            None => "Write its keys below it.".into(),
        },
        _ => "Replace it by what is expected.".into(),
    }
}

fn unknown(path: &str, name: &str, place: &Place, section: &Section) -> Finding {
    let siblings: Vec<&str> = section.fields.iter().map(|f| f.name.as_str()).collect();
    let elsewhere: Vec<&str> = keys().named(name).take(3).collect();
    let remedy = if name == EXTENDS {
        format!("`{EXTENDS}` stands at the top level of a file, and nowhere else.")
    } else if keys().row(name).is_some() && name.contains('.') {
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        format!("In a file, sections are nested: write `{key}:` below `{section}:`.")
    } else if redact::is_secret_name(name) {
        "Secrets do not belong in a configuration: set the sink's own variable; docs/env.md lists them.".into()
    } else if !elsewhere.is_empty() {
        format!(
            "`{}` is a key elsewhere: {}.",
            cut(name),
            any_of(&elsewhere)
        )
    } else if let Some(near) = nearest(name, siblings.iter().copied()) {
        format!("Did you mean `{near}`?")
    } else if let Some(near) = nearest(path, keys().rows.iter().map(|row| row.path.as_str())) {
        format!("The nearest key is `{near}`.")
    } else {
        "Remove it; docs/config.md lists every key.".into()
    };
    let finding = Finding::error(
        "unknown-key",
        place,
        format!("unknown key `{}`", cut(path)),
        remedy,
    )
    .at(path);
    if siblings.len() <= MOST_LISTED {
        finding.expected(any_of(&siblings))
    } else {
        finding
    }
}

/// A whole number, however it was spelt: `8`, `8.0`, `1e3`.
fn integer(number: &Number) -> Option<i128> {
    if let Some(value) = number.as_u64() {
        return Some(value.into());
    }
    if let Some(value) = number.as_i64() {
        return Some(value.into());
    }
    // Beyond 2^53 a float no longer says which whole number it is.
    number
        .as_f64()
        .filter(|value| value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0)
        .map(|value| value as i128)
}
