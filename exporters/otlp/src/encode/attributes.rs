//! Attributes, and how many of them.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};

fn pair(key: impl Into<String>, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

pub(super) fn text(key: impl Into<String>, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

/// OTLP has no unsigned numbers.
pub(super) fn whole(key: impl Into<String>, value: u64) -> KeyValue {
    pair(
        key,
        Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)),
    )
}

pub(super) fn number(key: impl Into<String>, value: f64) -> KeyValue {
    pair(key, Value::DoubleValue(value))
}

pub(super) fn yes(key: impl Into<String>, value: bool) -> KeyValue {
    pair(key, Value::BoolValue(value))
}

pub(super) fn list(key: impl Into<String>, values: &[&str]) -> KeyValue {
    let values = values
        .iter()
        .map(|value| AnyValue {
            value: Some(Value::StringValue((*value).to_owned())),
        })
        .collect();
    pair(key, Value::ArrayValue(ArrayValue { values }))
}

pub(super) fn any_text(value: impl Into<String>) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value.into())),
    }
}

/// Leaves what the limits allow, and says how many were dropped. An attribute without
/// a name is none.
pub(super) fn limit(
    attributes: Vec<KeyValue>,
    count: usize,
    characters: Option<usize>,
) -> (Vec<KeyValue>, u32) {
    let mut kept: Vec<KeyValue> = attributes
        .into_iter()
        .filter(|attribute| !attribute.key.is_empty())
        .collect();
    let dropped = kept.len().saturating_sub(count);
    kept.truncate(count);
    if let Some(most) = characters {
        for attribute in &mut kept {
            let value = attribute.value.as_mut().and_then(|v| v.value.as_mut());
            match value {
                Some(Value::StringValue(text)) => cut(text, most),
                Some(Value::ArrayValue(list)) => {
                    for value in &mut list.values {
                        if let Some(Value::StringValue(text)) = &mut value.value {
                            cut(text, most);
                        }
                    }
                }
                _ => {}
            }
        }
    }
    (kept, u32::try_from(dropped).unwrap_or(u32::MAX))
}

/// To so many characters.
pub(super) fn cut(text: &mut String, most: usize) {
    if let Some((at, _)) = text.char_indices().nth(most) {
        text.truncate(at);
    }
}
