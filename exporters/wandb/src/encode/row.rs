use std::sync::Arc;

use serde_json::{Value, json};

/// A line of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The record that it comes from.
    pub n: u64,
    /// Its place among the run's history rows.
    pub offset: u64,
    pub step: u64,
    /// Unix seconds.
    pub timestamp: f64,
    /// Seconds from the run's start.
    pub runtime: f64,
    /// Finite numbers, and references to media. No key twice.
    pub cells: Vec<(Arc<str>, Value)>,
}

impl Row {
    /// `_step`, `_timestamp` and `_runtime`, which the history has as cells too.
    pub fn own_cells(&self) -> [(&'static str, Value); 3] {
        [
            ("_step", json!(self.step)),
            ("_timestamp", json!(self.timestamp)),
            ("_runtime", json!(self.runtime)),
        ]
    }

    /// As the file stream takes it, without a newline.
    pub fn json(&self) -> String {
        let own = self.own_cells();
        let own = own.iter().map(|(key, value)| (*key, value));
        object(own.chain(self.cells.iter().map(|(key, value)| (&**key, value))))
    }
}

/// A line of the system metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub n: u64,
    /// Its place among the run's events.
    pub offset: u64,
    pub timestamp: f64,
    pub runtime: f64,
    /// Without the `system.` that the file stream wants before them: `gpu.0.powerWatts`.
    pub values: Vec<(Arc<str>, f64)>,
}

impl Event {
    /// As the file stream takes it, without a newline.
    pub fn json(&self) -> String {
        let mut fields = vec![
            ("_wandb".to_owned(), json!(true)),
            ("_timestamp".to_owned(), json!(self.timestamp)),
            ("_runtime".to_owned(), json!(self.runtime)),
        ];
        let values = self.values.iter();
        fields.extend(values.map(|(key, value)| (format!("system.{key}"), json!(value))));
        object(fields.iter().map(|(key, value)| (key.as_str(), value)))
    }
}

/// A line of the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub n: u64,
    /// Its place among the run's console lines.
    pub offset: u64,
    pub unix_ns: i64,
    /// One line, without a time.
    pub text: String,
}

impl Line {
    /// As the file stream takes it: with its time in UTC, without a newline.
    pub fn stamped(&self) -> String {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.unix_ns)).unwrap_or_default();
        format!("{} {}", at.strftime("%Y-%m-%dT%H:%M:%S%.6f"), self.text)
    }
}

/// Without an allocation for each field: rows come by the hundred thousand.
fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let mut out = Vec::with_capacity(256);
    out.push(b'{');
    for (at, (key, value)) in fields.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        // writing to memory does not fail
        let _ = serde_json::to_writer(&mut out, key);
        out.push(b':');
        let _ = serde_json::to_writer(&mut out, value);
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}
