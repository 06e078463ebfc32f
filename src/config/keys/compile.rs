//! From the JSON Schema that schemars derives to [`Shape`]s.
//!
//! It knows the forms that schemars makes of our model, and no more: a form that it
//! does not know becomes [`Shape::Any`], and a test says which keys may be that.

use regex::Regex;
use serde_json::{Map, Value};

use super::shape::{Choice, Field, Range, Section, Shape, Variant};

pub(super) fn root(schema: &Value) -> Section {
    Compiler {
        definitions: schema.get("$defs").and_then(Value::as_object),
    }
    .section(schema)
}

struct Compiler<'a> {
    definitions: Option<&'a Map<String, Value>>,
}

impl<'a> Compiler<'a> {
    fn target(&self, schema: &'a Value) -> &'a Value {
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|name| name.strip_prefix("#/$defs/"))
            .and_then(|name| self.definitions?.get(name))
            .unwrap_or(schema)
    }

    fn section(&self, schema: &'a Value) -> Section {
        let required: Vec<&str> = list(schema, "required")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let fields = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, property)| self.field(name, property, required.contains(&name.as_str())))
            .collect();
        Section {
            doc: doc(schema),
            fields,
            open: schema.get("additionalProperties") == Some(&Value::Bool(true)),
        }
    }

    fn field(&self, name: &str, property: &'a Value, required: bool) -> Field {
        let own = doc(property);
        Field {
            name: name.to_owned(),
            doc: if own.is_empty() {
                doc(self.target(property))
            } else {
                own
            },
            shape: self.shape(property),
            default: property.get("default").cloned().unwrap_or(Value::Null),
            required,
        }
    }

    fn shape(&self, schema: &'a Value) -> Shape {
        let schema = self.target(schema);
        if let Some(shape) = self.alternatives(list(schema, "anyOf")) {
            return shape;
        }
        if let Some(shape) = self.one_of(list(schema, "oneOf")) {
            return shape;
        }
        if let Some(choices) = schema.get("enum") {
            return Shape::Choice(names(choices));
        }
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(Value::Array(kinds)) => kinds
                .iter()
                .filter_map(Value::as_str)
                .find(|kind| *kind != "null")
                .unwrap_or_default(),
            _ => "",
        };
        match kind {
            "object" if schema.get("properties").is_some() => Shape::Section(self.section(schema)),
            "object" => match schema.get("additionalProperties") {
                Some(inner) => Shape::Map(Box::new(self.shape(inner))),
                None => Shape::Any,
            },
            "array" => Shape::List(Box::new(
                schema.get("items").map_or(Shape::Any, |i| self.shape(i)),
            )),
            "string" => Shape::Text {
                pattern: schema
                    .get("pattern")
                    .and_then(Value::as_str)
                    .and_then(|pattern| Regex::new(pattern).ok()),
            },
            "integer" => integer(schema),
            "number" => Shape::Number(Range {
                min: schema.get("minimum").and_then(Value::as_f64),
                above: schema.get("exclusiveMinimum").and_then(Value::as_f64),
                max: schema.get("maximum").and_then(Value::as_f64),
            }),
            "boolean" => Shape::Boolean,
            _ => Shape::Any,
        }
    }

    fn alternatives(&self, schemas: &'a [Value]) -> Option<Shape> {
        let mut shapes: Vec<Shape> = schemas
            .iter()
            .filter(|schema| schema.get("type").and_then(Value::as_str) != Some("null"))
            .map(|schema| self.shape(schema))
            .collect();
        match shapes.len() {
            0 => None,
            1 => shapes.pop(),
            _ => Some(Shape::OneOf(shapes)),
        }
    }

    /// Either the documented values of an enumeration, or the variants of a tagged section.
    fn one_of(&self, schemas: &'a [Value]) -> Option<Shape> {
        let first = schemas.first()?;
        if first.get("properties").is_none() {
            let choices = schemas.iter().flat_map(|schema| match schema.get("enum") {
                Some(several) => names(several),
                None => schema
                    .get("const")
                    .and_then(Value::as_str)
                    .map(|value| Choice {
                        value: value.to_owned(),
                        doc: doc(schema),
                    })
                    .into_iter()
                    .collect(),
            });
            return Some(Shape::Choice(choices.collect()));
        }
        let tag = first
            .get("properties")?
            .as_object()?
            .iter()
            .find(|(_, property)| property.get("const").is_some())?
            .0;
        let variants = schemas
            .iter()
            .filter_map(|schema| {
                let name = schema.get("properties")?.get(tag)?.get("const")?.as_str()?;
                let mut section = self.section(schema);
                section.fields.retain(|field| field.name != *tag);
                Some(Variant {
                    name: name.to_owned(),
                    section,
                })
            })
            .collect();
        Some(Shape::Tagged {
            tag: tag.clone(),
            variants,
        })
    }
}

fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn names(values: &Value) -> Vec<Choice> {
    values
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(|value| Choice {
            value: value.to_owned(),
            doc: String::new(),
        })
        .collect()
}

fn integer(schema: &Value) -> Shape {
    let max = match schema.get("format").and_then(Value::as_str) {
        Some("uint64" | "uint") => i128::from(u64::MAX),
        Some("int64" | "int") => i128::from(i64::MAX),
        Some("int32") => i128::from(i32::MAX),
        _ => i128::from(u32::MAX),
    };
    let bound = |key: &str| -> Option<i128> {
        let value = schema.get(key)?;
        value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from))
            .or_else(|| value.as_f64().map(|v| v as i128))
    };
    Shape::Integer {
        min: bound("minimum").unwrap_or(0),
        max: bound("maximum").unwrap_or(max).min(max),
    }
}

/// One paragraph on one line.
fn doc(schema: &Value) -> String {
    schema
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
