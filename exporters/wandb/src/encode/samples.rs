use std::sync::Arc;

use lem_record::{Column, Samples, catalogue};
use serde_json::{Number, Value, json};

use super::system;
use super::{Axis, Event, Item, Plan, Scope};

/// A history row and an event for each time at which some column has a value.
pub(super) fn encode(scope: &Scope<'_>, n: u64, samples: &Samples, plan: &mut Plan<'_>) {
    if let Err(why) = samples.check() {
        plan.reject(n, why);
        return;
    }
    let mut columns: Vec<(Arc<str>, &Column)> = Vec::with_capacity(samples.columns.len());
    for column in &samples.columns {
        match key(scope, &samples.source, column) {
            None => {
                let id = super::text::short(&column.metric, 100);
                plan.reject(
                    n,
                    format!("the metric {id} is unknown to this version of lem"),
                );
            }
            Some(key) if columns.iter().any(|(other, _)| **other == *key) => {
                plan.reject(n, format!("{key} is there twice; the first is kept"));
            }
            Some(key) => columns.push((key.into(), column)),
        }
    }
    for (key, column) in &columns {
        let values = column.values.iter().flatten();
        let wrong = values.filter(|value| !value.is_finite()).count();
        if wrong > 0 {
            let why = format!("{key}: {wrong} values are no numbers, which W&B cannot keep");
            plan.reject(n, why);
        }
        if wrong < column.values.iter().flatten().count() {
            plan.define(key, Axis::Time);
            plan.state.obtained(key, column.how);
        }
    }
    let system = match scope.config.system_metrics {
        true => system::metrics(&samples.source, &samples.columns),
        false => Vec::new(),
    };
    let axis: Arc<str> = Axis::Time.key().into();
    for (at, &t_ns) in samples.t_ns.iter().enumerate() {
        let runtime = scope.runtime_s(t_ns);
        let times = (scope.unix_s(t_ns), runtime.max(0.0));
        let mut cells = Vec::with_capacity(columns.len() + 1);
        cells.push((Arc::clone(&axis), json!(runtime)));
        cells.extend(columns.iter().filter_map(|(key, column)| {
            let value = Number::from_f64((*column.values.get(at)?)?)?;
            Some((Arc::clone(key), Value::Number(value)))
        }));
        if cells.len() > 1 {
            plan.row(scope, n, times, cells);
        }
        let values: Vec<(Arc<str>, f64)> = system
            .iter()
            .filter_map(|metric| Some((Arc::clone(&metric.key), metric.value(at)?)))
            .collect();
        if !values.is_empty() {
            let offset = scope.base.events + plan.state.events;
            plan.state.events += 1;
            plan.items.push(Item::Event(Event {
                n,
                offset,
                timestamp: times.0,
                runtime: times.1,
                values,
            }));
        }
    }
}

fn key(scope: &Scope<'_>, source: &str, column: &Column) -> Option<String> {
    let def = catalogue::find(&column.metric)?;
    let mut attributes = column.attributes.clone();
    if def.attributes.contains(&"hw.id") {
        attributes
            .entry("hw.id".to_owned())
            .or_insert_with(|| source.to_owned());
    }
    Some(def.key(&attributes, &scope.started.varying, None, None))
}
