//! The run's numbers as one table: a row a metric, for tools that sort and filter tables.

use lem_record::{Metric, MetricValue, Record, Table, catalogue};
use serde_json::{Value, json};

const COLUMNS: [&str; 12] = [
    "metric",
    "attributes",
    "value",
    "unit",
    "how",
    "uncertainty",
    "coverage_factor",
    "interval_low",
    "interval_high",
    "interval_level",
    "method",
    "absent_because",
];

/// Every number of the whole run among `records`. `metric` is the catalogue's id;
/// `uncertainty` is expanded, in the unit of the value; absent numbers keep their row,
/// with the reason. Distributions are left out: the quantiles have rows of their own.
pub fn table(records: &[Record]) -> Table {
    let whole_run = records.iter().filter_map(|record| match record {
        Record::Metric(metric) if metric.cycle.is_none() => row(metric),
        _ => None,
    });
    Table {
        name: "metrics".into(),
        columns: COLUMNS.map(str::to_owned).into(),
        rows: whole_run.collect(),
    }
}

fn row(metric: &Metric) -> Option<Vec<Value>> {
    let (value, reason) = match &metric.value {
        MetricValue::Number(value) => (json!(value), Value::Null),
        MetricValue::Absent(reason) => (Value::Null, json!(reason)),
        MetricValue::Histogram(_) => return None,
    };
    let attributes: Vec<String> = metric
        .attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // An absent number was not obtained in any way.
    let how = reason.is_null().then(|| metric.how.as_str());
    Some(vec![
        json!(metric.id),
        json!(attributes.join(" ")),
        value,
        json!(catalogue::find(&metric.id).map(|def| def.unit)),
        json!(how),
        json!(metric.uncertainty.map(|u| u.expanded)),
        json!(metric.uncertainty.map(|u| u.k)),
        json!(metric.interval.map(|i| i.low)),
        json!(metric.interval.map(|i| i.high)),
        json!(metric.interval.map(|i| i.level)),
        json!(metric.method),
        reason,
    ])
}
