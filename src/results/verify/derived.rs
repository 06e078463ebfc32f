//! The numbers, made anew from the records and compared to the bit.

use std::collections::BTreeMap;
use std::path::Path;

use lem_record::{Attributes, Metric, MetricValue, Record, Table};
use serde_json::Value;

use super::log::Read;
use super::{Check, Verdict};
use crate::analysis::{self, Analysis};
use crate::results::store::{self, RESULT_FILE};
use crate::results::{build, figures};

/// Where a difference is no fault: the folder may have been moved, deliveries go on.
const FREE: [&str; 2] = ["/run_dir", "/exports"];
/// When the run was closed is what the log says, not what follows from it.
const COMPLETED: &str = "run.completed";

/// Other formulas may give other numbers: that is told, and no fault of the run.
fn judged(mut check: Check, read: &Read) -> Check {
    let Some(recorded) = read.end.as_ref().map(|end| end.analysis) else {
        return check;
    };
    if check.verdict == Verdict::Failed && recorded != analysis::VERSION {
        check.verdict = Verdict::Noted;
        check.detail = format!(
            "{}; they were made with version {recorded} of the formulas, and this lem has version {}",
            check.detail,
            analysis::VERSION
        );
    }
    check
}

type Key<'a> = (&'a str, &'a Attributes, Option<u32>);

fn by_key(metrics: &[Metric]) -> BTreeMap<Key<'_>, &Metric> {
    // The last word counts: a log that was closed twice has two.
    let keyed = metrics
        .iter()
        .map(|m| ((m.id.as_str(), &m.attributes, m.cycle), m));
    keyed.collect()
}

/// Metrics and tables of the log against those that the analysis gives now.
pub fn metrics(read: &Read, analysis: &Analysis) -> Check {
    const NAME: &str = "metrics";
    let (mut derived, mut tables) = (Vec::new(), Vec::new());
    for record in analysis::records(&read.data, analysis) {
        match record {
            Record::Metric(metric) => derived.push(metric),
            Record::Table(table) => tables.push(table),
            _ => {}
        }
    }
    let recorded = by_key(&read.metrics);
    let derived = by_key(&derived);
    if recorded.is_empty() {
        let found = vec!["the run has ended, and the log has no metric".to_owned()];
        return judged(Check::failed(NAME, "the log has no numbers", found), read);
    }
    let mut found = Vec::new();
    for (key, new) in &derived {
        match recorded.get(key) {
            Some(_) if key.0 == COMPLETED => {}
            Some(old) if same(old, new) => {}
            Some(old) => found.push(format!("{}: {}", named(key), difference(old, new))),
            None => found.push(format!(
                "{} follows from the records and is not in the log",
                named(key)
            )),
        }
    }
    for key in recorded.keys().filter(|key| !derived.contains_key(*key)) {
        found.push(format!(
            "{} is in the log and does not follow from the records",
            named(key)
        ));
    }
    for new in &tables {
        if read
            .tables
            .get(&new.name)
            .is_none_or(|old| !equal(old, new))
        {
            found.push(format!(
                "the table {} of the log is not what the records give",
                new.name
            ));
        }
    }
    let count = derived.len();
    judged(
        match found.is_empty() {
            true => Check::passed(
                NAME,
                format!(
                    "{count} metrics and {} tables follow from the records, to the last bit",
                    tables.len()
                ),
            ),
            false => Check::failed(
                NAME,
                "the log's numbers are not those that its records give",
                found,
            ),
        },
        read,
    )
}

/// As JSON has them, because that is how they were written.
fn json(of: &impl serde::Serialize) -> Option<Value> {
    let text = serde_json::to_string(of).ok()?;
    serde_json::from_str(&text).ok()
}

fn equal(old: &Table, new: &Table) -> bool {
    let told = |table: &Table| {
        let rows = table.rows.iter();
        let rows: Vec<&Vec<Value>> = rows.filter(|row| !when(row.first())).collect();
        json(&(&table.columns, rows))
    };
    told(old) == told(new)
}

/// The row of the one metric that does not follow from the measurement: when it ended.
fn when(first: Option<&Value>) -> bool {
    first.and_then(Value::as_str) == Some(COMPLETED)
}

fn same(old: &Metric, new: &Metric) -> bool {
    let part = |m: &Metric| json(&(&m.value, m.how, m.uncertainty, m.interval, &m.method));
    part(old) == part(new)
}

fn named((id, attributes, cycle): &Key<'_>) -> String {
    let mut name = (*id).to_owned();
    if !attributes.is_empty() {
        let parts: Vec<String> = attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        name = format!("{name} {{{}}}", parts.join(", "));
    }
    if let Some(cycle) = cycle {
        name = format!("{name} of cycle {cycle}");
    }
    name
}

fn difference(old: &Metric, new: &Metric) -> String {
    match (&old.value, &new.value) {
        (MetricValue::Number(old), MetricValue::Number(new)) if old != new => {
            format!("the log has {old}, the records give {new}")
        }
        (MetricValue::Absent(_), MetricValue::Number(new)) => {
            format!(
                "the log has none, the records give {}",
                figures::figure(*new)
            )
        }
        (MetricValue::Number(old), MetricValue::Absent(why)) => {
            format!(
                "the log has {}, the records give none: {why}",
                figures::figure(*old)
            )
        }
        _ => "its distribution, uncertainty, interval or method is another".into(),
    }
}

/// `result.json` against what the records give.
pub fn result(folder: &Path, read: &Read, analysis: &Analysis) -> Check {
    const NAME: &str = "result";
    let recorded = match store::read(folder) {
        Ok(result) => result,
        Err(error) => {
            let found = vec![error.to_string()];
            return Check::failed(
                NAME,
                format!("there is no {RESULT_FILE} to be checked"),
                found,
            );
        }
    };
    let derived = build(&read.data, analysis, recorded.exports.clone(), folder);
    let (Some(mut old), Some(mut new)) = (json(&recorded), json(&derived)) else {
        let found = vec![format!("{RESULT_FILE} cannot be put into JSON again")];
        return Check::failed(NAME, "the result cannot be compared", found);
    };
    // Which lem rebuilt the file is not what was measured.
    for result in [&mut old, &mut new] {
        for path in FREE.into_iter().chain(["/producer/version"]) {
            if let Some(value) = result.pointer_mut(path) {
                *value = Value::Null;
            }
        }
    }
    let mut found = Vec::new();
    differences(&old, &new, "", &mut found);
    let check = match found.is_empty() {
        true => Check::passed(
            NAME,
            format!("{RESULT_FILE} follows from the records, to the last bit"),
        ),
        false => Check::failed(
            NAME,
            format!(
                "{RESULT_FILE} is not what the records give; lem results rebuild makes it anew"
            ),
            found,
        ),
    };
    judged(check, read)
}

fn differences(old: &Value, new: &Value, at: &str, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (old, new) = (
                    old.get(key).unwrap_or(&Value::Null),
                    new.get(key).unwrap_or(&Value::Null),
                );
                differences(old, new, &format!("{at}/{key}"), found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                differences(old, new, &format!("{at}/{i}"), found);
            }
        }
        (old, new) if old == new => {}
        (old, new) => found.push(format!(
            "{RESULT_FILE} {at}: it has {}, the records give {}",
            short(old),
            short(new)
        )),
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::Array(list) => format!("{} entries", list.len()),
        other => other.to_string(),
    };
    match text.chars().count() > 60 {
        true => text.chars().take(59).chain(['…']).collect(),
        false => text,
    }
}
