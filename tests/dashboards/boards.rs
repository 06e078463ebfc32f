//! What the dashboards ask, taken out of their JSON.

use std::fs;

use serde_json::Value;

use crate::root;

/// A question of a dashboard.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Dashboard and panel, or variable, or annotation.
    pub place: String,
    pub expression: String,
    /// At one moment; else over the time range.
    pub instant: bool,
}

pub fn all() -> Vec<(String, Value)> {
    let mut boards: Vec<(String, Value)> =
        fs::read_dir(root().join("dashboards/grafana/dashboards"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (
                    name,
                    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap(),
                )
            })
            .collect();
    boards.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(boards.len(), 4);
    boards
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text(value: &Value, pointer: &str) -> String {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found
        .unwrap_or_else(|| panic!("no {pointer} in {value}"))
        .to_owned()
}

/// The expressions of panels and annotations.
pub fn expressions() -> Vec<Asked> {
    let mut asked = Vec::new();
    for (name, board) in all() {
        for panel in list(&board, "/panels") {
            for target in list(panel, "/targets") {
                asked.push(Asked {
                    place: format!(
                        "{name}: {} {}",
                        text(panel, "/title"),
                        text(target, "/refId")
                    ),
                    expression: text(target, "/expr"),
                    instant: target["instant"].as_bool().unwrap(),
                });
            }
        }
        for annotation in list(&board, "/annotations/list") {
            asked.push(Asked {
                place: format!("{name}: annotation {}", text(annotation, "/name")),
                expression: text(annotation, "/target/expr"),
                instant: false,
            });
        }
    }
    asked
}

/// The variables that ask Prometheus: `label_values(SELECTOR, LABEL)`.
pub fn variables() -> Vec<(String, String, String)> {
    let mut variables = Vec::new();
    for (name, board) in all() {
        for variable in list(&board, "/templating/list") {
            if variable["type"] != "query" {
                continue;
            }
            let query = text(variable, "/query/query");
            let inner = query
                .strip_prefix("label_values(")
                .and_then(|q| q.strip_suffix(')'));
            let (selector, label) = inner.unwrap().rsplit_once(", ").unwrap();
            let place = format!("{name}: variable {}", text(variable, "/name"));
            variables.push((place, selector.to_owned(), label.to_owned()));
        }
    }
    variables
}
