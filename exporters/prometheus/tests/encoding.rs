//! What is made of the golden run, and the rules that no snapshot shows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use lem_prometheus::encode::{self, Format, Series, Times, Value};
use lem_record::catalogue::{self, Bound};
use lem_record::{How, MetricValue, Record};
use lem_testkit::golden::{self, Golden};
use proptest::prelude::*;

fn golden_run() -> (tempfile::TempDir, Golden) {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(folder.path());
    (folder, golden)
}

fn all_of(golden: &Golden) -> Vec<Series> {
    let (series, rejected) = encode::encode(&golden.context(), &golden.envelopes);
    assert_eq!(rejected, []);
    encode::merge(series)
}

fn summary_of(golden: &Golden) -> Vec<Series> {
    let mut series = all_of(golden);
    series.retain(|series| series.cycle.is_none() && series.points.len() == 1);
    series
}

#[test]
fn the_summary_as_text() {
    let (_folder, golden) = golden_run();
    insta::assert_snapshot!(encode::text(
        &summary_of(&golden),
        Format::Text,
        Times::Left
    ));
}

#[test]
fn the_summary_as_open_metrics() {
    let (_folder, golden) = golden_run();
    insta::assert_snapshot!(encode::text(
        &summary_of(&golden),
        Format::OpenMetrics,
        Times::Left
    ));
}

#[test]
fn times_are_told_by_each_format_in_its_own_unit() {
    let (_folder, golden) = golden_run();
    let mut series = all_of(&golden);
    series.retain(|series| series.family.name == "hw_power_watts");
    insta::assert_snapshot!(
        "power_as_text",
        encode::text(&series, Format::Text, Times::Told)
    );
    insta::assert_snapshot!(
        "power_as_open_metrics",
        encode::text(&series, Format::OpenMetrics, Times::Told)
    );
}

/// Everything that the run says, found again under the names of the catalogue.
#[test]
fn nothing_of_the_run_is_lost() {
    let (_folder, golden) = golden_run();
    let context = golden.context();
    let all = all_of(&golden);
    let mut expected = 0;
    let mut find = |name: String, labels: &encode::Labels, t_ns: u64, value: &Value| {
        let found = all
            .iter()
            .find(|series| series.family.name == name && series.labels == *labels)
            .unwrap_or_else(|| panic!("{name} {labels:?}"));
        let unix_ms = encode::unix_ms(&context, t_ns);
        let point = found.points.iter().find(|point| point.unix_ms == unix_ms);
        assert_eq!(&point.unwrap().value, value, "{name} {labels:?}");
        expected += 1;
    };
    for envelope in &golden.envelopes {
        match &envelope.record {
            Record::Metric(metric) => {
                let def = catalogue::find(&metric.id).unwrap();
                let own = def.point_attributes(&metric.attributes, metric.how, metric.cycle);
                let labels = encode::labels(&own, golden::RUN_ID);
                let value = match &metric.value {
                    MetricValue::Number(value) => Value::Number(*value),
                    MetricValue::Histogram(histogram) => {
                        Value::Histogram((**histogram).clone().into())
                    }
                    MetricValue::Absent(_) => continue,
                };
                find(def.prometheus_name(None), &labels, metric.t_ns, &value);
                for (bound, end) in [(Bound::Low, true), (Bound::High, false)] {
                    if let Some(interval) = metric.interval {
                        let value = if end { interval.low } else { interval.high };
                        let name = def.prometheus_name(Some(bound));
                        find(name, &labels, metric.t_ns, &Value::Number(value));
                    }
                }
            }
            Record::Samples(samples) => {
                for column in &samples.columns {
                    let def = catalogue::find(&column.metric).unwrap();
                    let mut own = def.point_attributes(&column.attributes, column.how, None);
                    if def.attributes.contains(&"hw.id") {
                        own.entry("hw.id".into()).or_insert(samples.source.clone());
                    }
                    let labels = encode::labels(&own, golden::RUN_ID);
                    for (t_ns, value) in samples.t_ns.iter().zip(&column.values) {
                        if let Some(value) = value {
                            let name = def.prometheus_name(None);
                            find(name, &labels, *t_ns, &Value::Number(*value));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    let told: usize = all
        .iter()
        .filter(|series| series.family.name != "target_info")
        .map(|series| series.points.len())
        .sum();
    assert_eq!(
        told, expected,
        "and nothing is told that the run did not say"
    );
}

#[test]
fn what_is_absent_is_not_shown() {
    let (_folder, golden) = golden_run();
    let text = encode::text(&all_of(&golden), Format::Text, Times::Left);
    assert!(!text.contains("hw_type=\"memory\""), "no sensor read it");
    let gap = all_of(&golden)
        .into_iter()
        .find(|series| series.family.name == "hw_power_watts");
    assert_eq!(
        gap.unwrap().points.len(),
        3 * 10,
        "eleven, of which one was missed"
    );
}

#[test]
fn measured_and_modelled_are_two_series() {
    let (_folder, golden) = golden_run();
    let all = all_of(&golden);
    let hows: BTreeSet<&str> = all
        .iter()
        .filter(|series| series.family.name == "hw_power_watts")
        .flat_map(|series| &series.labels)
        .filter(|(name, _)| name == "lem_how")
        .map(|(_, how)| how.as_str())
        .collect();
    let expected = [How::Measured, How::Modelled].map(How::as_str);
    assert_eq!(hows.into_iter().collect::<Vec<_>>(), expected);
}

/// A page with two values of one series is refused as a whole.
fn assert_no_doubles(text: &str) {
    let mut seen = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (identity, value) = line.rsplit_once(' ').unwrap();
        if let Some(other) = seen.insert(identity.to_owned(), value) {
            panic!("{identity} is {value} and {other}");
        }
    }
}

#[test]
fn hostile_records_give_a_sound_page() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::hostile(folder.path());
    let (series, rejected) = encode::encode(&golden.context(), &golden.envelopes);
    assert!(
        rejected.iter().any(|r| r.reason.contains("is NaN")),
        "{rejected:?}"
    );
    assert!(
        rejected
            .iter()
            .any(|r| r.reason.contains("unknown to this version"))
    );
    let series = encode::merge(series);
    assert!(
        series
            .iter()
            .flat_map(|s| &s.points)
            .all(|point| match &point.value {
                Value::Number(value) => value.is_finite(),
                Value::Histogram(_) => true,
            })
    );
    for format in [Format::Text, Format::OpenMetrics] {
        let text = encode::text(&series, format, Times::Left);
        assert_no_doubles(&text);
        assert!(!text.contains(['\0']));
        assert!(text.ends_with('\n'));
    }
}

/// As Prometheus reads a quoted label value.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next().unwrap() {
                'n' => out.push('\n'),
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
    out
}

proptest! {
    #[test]
    fn any_value_reads_back(value in any::<f64>(), label in "[^\0]{0,40}") {
        let mut text = String::new();
        encode::number(&mut text, value);
        let read = text.replace("Inf", "inf").parse::<f64>().unwrap();
        prop_assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()));

        let series = Series {
            cycle: None,
            family: encode::Family::target(),
            labels: vec![("x".into(), label.clone())],
            points: vec![encode::Point { unix_ms: 1, value: Value::Number(1.0) }],
        };
        let text = encode::text(&[series], Format::Text, Times::Left);
        let line = text.split_once("\ntarget_info").unwrap().1;
        prop_assert_eq!(line.matches('\n').count(), 1);
        let quoted = line.strip_prefix("{x=\"").unwrap().strip_suffix("\"} 1\n").unwrap();
        prop_assert_eq!(unescape(quoted), label);
    }
}
