//! Which column holds the prompt, and the prompt in a value.

use serde_json::Value;

/// Tried in this order; the last two hold conversations.
const USUAL: [&str; 7] = [
    "prompt",
    "text",
    "question",
    "instruction",
    "content",
    "messages",
    "conversations",
];

/// The column of a source: given, or found in its first row and kept from there on.
#[derive(Debug)]
pub(super) struct Column {
    given: Option<String>,
    found: Option<String>,
}

impl Column {
    pub fn new(given: Option<&str>) -> Self {
        Self {
            given: given.map(str::to_owned),
            found: None,
        }
    }

    pub fn found(&self) -> Option<String> {
        self.found.clone()
    }

    pub fn is_given(&self) -> bool {
        self.given.is_some()
    }

    /// The name of the column among those that a row has. `a.b` is column `b` within
    /// `a`, unless there is a column of that very name; the outer one is told here.
    pub fn pick<'k>(
        &mut self,
        keys: impl Iterator<Item = &'k str> + Clone,
    ) -> Result<String, String> {
        let has = |name: &str| keys.clone().any(|key| key == name);
        let wanted = self.given.as_deref().or(self.found.as_deref());
        let name = match wanted {
            Some(wanted) if has(outer(wanted)) || has(wanted) => wanted.to_owned(),
            Some(wanted) => return Err(format!("there is no {wanted:?} among {}", shown(keys))),
            None => match USUAL.iter().find(|name| has(name)) {
                Some(name) => (*name).to_owned(),
                None => {
                    return Err(format!(
                        "none of {} is among {}",
                        USUAL.join(", "),
                        shown(keys)
                    ));
                }
            },
        };
        self.found = Some(name.clone());
        Ok(if has(&name) {
            name
        } else {
            outer(&name).to_owned()
        })
    }

    /// The prompt in a row: a text, or an object with this column. None where it is empty.
    pub fn text(&mut self, row: &Value) -> Result<Option<String>, String> {
        let object = match row {
            Value::String(text) if !self.is_given() => return Ok(Some(text.clone())),
            Value::Object(object) => object,
            other => return Err(format!("it is {}, where an object belongs", kind(other))),
        };
        let top = self.pick(object.keys().map(String::as_str))?;
        let mut value = object.get(&top).unwrap_or(&Value::Null);
        let name = self.found.as_deref().unwrap_or(&top);
        if name != top {
            for part in name.split('.').skip(1) {
                value = value
                    .get(part)
                    .ok_or_else(|| format!("there is no {part:?} within {name:?}"))?;
            }
        }
        prompt(value).map_err(|why| format!("{name:?} {why}"))
    }
}

fn outer(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn shown<'k>(keys: impl Iterator<Item = &'k str>) -> String {
    let mut names: Vec<String> = keys
        .take(20)
        .map(|key| key.chars().take(60).collect())
        .collect();
    if names.is_empty() {
        names.push("(no columns)".to_owned());
    }
    names.join(", ")
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A text, or the first thing that the user says in a conversation.
fn prompt(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        Value::Object(_) => said(value)
            .map(Some)
            .ok_or_else(|| "holds an object that is no turn of a conversation".to_owned()),
        Value::Array(turns) => match turns.first() {
            None => Ok(None),
            Some(Value::String(first)) => Ok(Some(first.clone())),
            Some(Value::Object(_)) => turns
                .iter()
                .find(|turn| is_user(turn))
                .map(|turn| said(turn).ok_or_else(|| "holds a turn without a text".to_owned()))
                .transpose()
                .and_then(|text| {
                    text.map(Some)
                        .ok_or_else(|| "holds a conversation in which no user speaks".to_owned())
                }),
            Some(other) => Err(format!(
                "holds a list of which the first is {}",
                kind(other)
            )),
        },
        other => Err(format!("holds {}, where a text belongs", kind(other))),
    }
}

fn is_user(turn: &Value) -> bool {
    let role = turn
        .get("role")
        .or_else(|| turn.get("from"))
        .and_then(Value::as_str);
    role.is_some_and(|role| {
        matches!(
            role.to_ascii_lowercase().as_str(),
            "user" | "human" | "prompter"
        )
    })
}

fn said(turn: &Value) -> Option<String> {
    let content = ["content", "value", "text"]
        .iter()
        .find_map(|key| turn.get(key))?;
    match content {
        Value::String(text) => Some(text.clone()),
        // parts, of which some may be pictures
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part.get("text").and_then(Value::as_str))
                .collect();
            (!texts.is_empty()).then(|| texts.join("\n"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Column;

    fn text(column: Option<&str>, row: serde_json::Value) -> Result<Option<String>, String> {
        Column::new(column).text(&row)
    }

    #[test]
    fn the_prompt_is_found_where_it_usually_is() {
        let is = |row, expected: &str| assert_eq!(text(None, row), Ok(Some(expected.to_owned())));
        is(json!({"id": 1, "text": "a", "prompt": "b"}), "b");
        is(json!({"instruction": "c"}), "c");
        is(json!("bare"), "bare");
        is(
            json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}),
            "u",
        );
        is(
            json!({"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": "g"}]}),
            "h",
        );
        is(
            json!({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "t"}]}]}),
            "t",
        );
        is(json!({"prompt": ["first", "second"]}), "first");
        assert_eq!(text(None, json!({"text": null})), Ok(None));
        assert_eq!(text(None, json!({"messages": []})), Ok(None));
    }

    #[test]
    fn a_given_column_may_lie_deeper() {
        let row = json!({"a": {"b": "deep"}, "a.c": "flat", "d": "top"});
        let is = |column: &str, expected: &str| {
            assert_eq!(
                text(Some(column), row.clone()),
                Ok(Some(expected.to_owned()))
            );
        };
        is("a.b", "deep");
        is("a.c", "flat");
        is("d", "top");
    }

    #[test]
    fn a_column_that_is_found_stays() {
        let mut column = Column::new(None);
        column.text(&json!({"text": "a"})).unwrap();
        assert_eq!(
            column.text(&json!({"prompt": "b", "text": "c"})),
            Ok(Some("c".to_owned()))
        );
        assert!(
            column
                .text(&json!({"prompt": "b"}))
                .unwrap_err()
                .contains("no \"text\" among prompt")
        );
    }

    #[test]
    fn what_is_no_prompt_is_explained() {
        let error = |column, row| text(column, row).unwrap_err();
        assert!(error(Some("q"), json!({"text": "a"})).contains("no \"q\" among text"));
        assert!(error(None, json!({"id": 1})).contains("none of prompt, text"));
        assert!(error(None, json!({"text": 5})).contains("a number"));
        assert!(error(None, json!([1])).contains("a list"));
        assert!(
            error(
                None,
                json!({"messages": [{"role": "system", "content": "s"}]})
            )
            .contains("no user")
        );
        assert!(error(Some("a.b"), json!({"a": {"c": 1}})).contains("within"));
    }
}
