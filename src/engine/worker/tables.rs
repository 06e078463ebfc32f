//! What an engine tells of a cycle and of its requests, beside their tokens.

use lem_record::Table;
use serde_json::{Map, Value};

/// Figures of the whole cycle, as the engine tells them.
pub fn of_cycle(cycle: u32, answer: &Value) -> Option<Table> {
    let figures = answer.as_object().filter(|figures| !figures.is_empty())?;
    let row =
        |(what, value): (&String, &Value)| vec![cycle.into(), what.as_str().into(), value.clone()];
    Some(Table {
        name: "engine_cycle".into(),
        columns: ["cycle", "what", "value"].map(str::to_owned).into(),
        rows: figures.iter().take(64).map(row).collect(),
    })
}

/// A row a request; the columns are what any of them has.
pub fn of_requests(cycle: u32, told: Vec<(u64, Map<String, Value>)>) -> Option<Table> {
    let mut keys: Vec<String> = Vec::new();
    for key in told.iter().flat_map(|(_, values)| values.keys()) {
        if !keys.contains(key) && keys.len() < 64 {
            keys.push(key.clone());
        }
    }
    if keys.is_empty() {
        return None;
    }
    let rows = told.iter().map(|(request, values)| {
        let values = keys
            .iter()
            .map(|key| values.get(key).cloned().unwrap_or(Value::Null));
        [cycle.into(), (*request).into()]
            .into_iter()
            .chain(values)
            .collect()
    });
    let rows = rows.collect();
    let columns = ["cycle", "request"].map(str::to_owned).into_iter();
    Some(Table {
        name: "engine_requests".into(),
        columns: columns.chain(keys).collect(),
        rows,
    })
}
