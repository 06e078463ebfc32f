use serde_json::{Map, Value, json};

use crate::config::files::EXTENDS;
use crate::config::legacy::{Fate, ROWS, VALUES};
use crate::config::model::Config;

/// The JSON Schema that editors use: the model's own, `_extends`, and the keys and
/// values of version 2 as deprecated ones, so that a file that loads is not marked wrong.
pub fn schema_json() -> String {
    let mut schema = schemars::schema_for!(Config).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".into(), "lem configuration".into());
        if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert(
                EXTENDS.into(),
                json!({
                    "description": "Another configuration that this one adds to and overrides: its path, relative to this file.",
                    "type": ["string", "null"],
                }),
            );
        }
    }
    for row in ROWS {
        let note = match row.fate {
            Fate::Moved(to) => format!("Version 2. Now `{}`.", to.join("` and `")),
            Fate::Gone(why) => format!("Version 2. No effect: {why}."),
        };
        let path: Vec<&str> = row.old.split('.').collect();
        deprecate(&mut schema, &path, &note);
    }
    for (path, old, new) in VALUES {
        allow(&mut schema, path, old, new);
    }
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// The definition that a property refers to, or the property itself.
fn definition(schema: &Value, at: &str) -> String {
    let target = schema.pointer(at).and_then(|property| {
        let name = property.get("$ref")?.as_str()?;
        Some(name.trim_start_matches('#').to_owned())
    });
    target.unwrap_or_else(|| at.to_owned())
}

fn deprecate(schema: &mut Value, path: &[&str], note: &str) {
    let mut at = String::new();
    for (n, name) in path.iter().enumerate() {
        let last = n + 1 == path.len();
        let Some(section) = schema.pointer_mut(&at).and_then(Value::as_object_mut) else {
            return;
        };
        let properties = section
            .entry("properties")
            .or_insert_with(|| Value::Object(Map::new()));
        let Some(properties) = properties.as_object_mut() else {
            return;
        };
        let property = properties
            .entry((*name).to_owned())
            .or_insert_with(|| json!({"deprecated": true}));
        if last && let Some(property) = property.as_object_mut() {
            property.insert("deprecated".into(), true.into());
            property.insert("description".into(), note.into());
        }
        at = definition(schema, &format!("{at}/properties/{name}"));
    }
}

fn allow(schema: &mut Value, path: &str, old: &str, new: &str) {
    let mut at = String::new();
    for name in path.split('.') {
        at = definition(schema, &format!("{at}/properties/{name}"));
    }
    let Some(choice) = schema.pointer_mut(&at) else {
        return;
    };
    if let Some(variants) = choice.get_mut("oneOf").and_then(Value::as_array_mut) {
        variants.push(json!({
            "description": format!("Version 2. Now `{new}`."),
            "type": "string",
            "const": old,
            "deprecated": true,
        }));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use serde_json::Value;

    use super::schema_json;

    #[test]
    fn editors_know_old_keys_and_values_as_deprecated() {
        let schema: Value = serde_json::from_str(&schema_json()).expect("is JSON");
        for at in [
            "/$defs/Pytorch/properties/batch_size",
            "/properties/dataset/properties/name",
            "/properties/schedule",
        ] {
            let property = schema.pointer(at).expect(at);
            assert_eq!(property.get("deprecated"), Some(&Value::Bool(true)), "{at}");
        }
        let backend = schema.pointer("/$defs/Backend/oneOf").expect("is there");
        let old = backend.as_array().expect("is a list").iter();
        assert_eq!(old.filter(|v| v.get("deprecated").is_some()).count(), 2);
        assert!(schema.pointer("/properties/_extends").is_some());
        // What is still a key must not be marked.
        let still = schema.pointer("/$defs/Pytorch/properties/load_in_4bit");
        assert!(still.expect("is there").get("deprecated").is_none());
    }
}
