//! What is sent of the golden run, and the rules that no snapshot shows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lem_otlp::encode::{Envelopes, Item, Plan, Scope, State, encode, requests};
use lem_otlp::{OtlpConfig, Signal, Temporality};
use lem_record::catalogue::{METRICS, prometheus_name};
use lem_record::{
    Column, Envelope, Histogram, How, Kind, Metric, MetricValue, Record, RunFinished, RunStatus,
    Samples, Span, SpanKind, Stamp,
};
use lem_testkit::golden::{self, RUN_ID, STARTED_AT};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{self as otlp, metric, number_data_point};
use opentelemetry_proto::tonic::trace::v1::Span as OtlpSpan;
use proptest::prelude::*;
use serde_json::Value;

fn with(config: &OtlpConfig, state: &State, records: &[Arc<Envelope>]) -> Plan {
    let started = golden::started();
    let scope = Scope {
        run_id: RUN_ID,
        started: &started,
        started_at: STARTED_AT,
        config,
    };
    encode(&scope, state, records)
}

fn golden_records() -> Vec<Arc<Envelope>> {
    let folder = tempfile::tempdir().unwrap();
    golden::run(folder.path()).envelopes
}

fn golden_plan(config: &OtlpConfig) -> Plan {
    with(config, &State::default(), &golden_records())
}

fn envelopes(records: Vec<Record>) -> Vec<Arc<Envelope>> {
    let numbered = records.into_iter().zip(0..);
    numbered
        .map(|(record, n)| {
            Arc::new(Envelope {
                run: RUN_ID.into(),
                n,
                at: STARTED_AT,
                record,
            })
        })
        .collect()
}

fn metrics(plan: &Plan) -> Vec<&otlp::Metric> {
    plan.pieces
        .iter()
        .filter_map(|piece| match &piece.item {
            Item::Metric(metric) => Some(metric),
            _ => None,
        })
        .collect()
}

fn spans(plan: &Plan) -> Vec<&OtlpSpan> {
    plan.pieces
        .iter()
        .filter_map(|piece| match &piece.item {
            Item::Span(span) => Some(span),
            _ => None,
        })
        .collect()
}

fn logs(plan: &Plan) -> Vec<&LogRecord> {
    plan.pieces
        .iter()
        .filter_map(|piece| match &piece.item {
            Item::Log(log) => Some(log),
            _ => None,
        })
        .collect()
}

fn shown(attributes: &[KeyValue]) -> String {
    let pairs = attributes.iter().map(|attribute| {
        let value = attribute.value.as_ref().unwrap().value.as_ref().unwrap();
        let text = match value {
            Any::StringValue(text) => text.clone(),
            Any::IntValue(number) => number.to_string(),
            Any::DoubleValue(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        format!("{}={text}", attribute.key)
    });
    pairs.collect::<Vec<_>>().join(",")
}

fn double(value: Option<&number_data_point::Value>) -> f64 {
    match value {
        Some(number_data_point::Value::AsDouble(value)) => *value,
        other => panic!("{other:?}"),
    }
}

/// Seconds from the run's start.
fn since(unix_ns: u64) -> f64 {
    (unix_ns as i64 - STARTED_AT.unix_ns) as f64 / 1e9
}

#[test]
fn metrics_of_the_golden_run() {
    let plan = golden_plan(&OtlpConfig::default());
    assert_eq!(plan.rejected, []);
    // a line for each series: kind, points, the first and the last
    let mut series: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for metric in metrics(&plan) {
        let (kind, points) = match metric.data.as_ref().unwrap() {
            metric::Data::Gauge(gauge) => ("gauge".to_owned(), &gauge.data_points),
            metric::Data::Sum(sum) => {
                let kind = match (sum.is_monotonic, sum.aggregation_temporality) {
                    (true, 2) => "cumulative counter",
                    (false, 2) => "cumulative updown",
                    other => panic!("{other:?}"),
                };
                (kind.to_owned(), &sum.data_points)
            }
            metric::Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    let key = format!(
                        "{} [{}] histogram {{{}}}",
                        metric.name,
                        metric.unit,
                        shown(&point.attributes)
                    );
                    let line = format!(
                        "{:?} {:?} n={} sum={:?} from {} to {}",
                        point.explicit_bounds,
                        point.bucket_counts,
                        point.count,
                        point.sum,
                        since(point.start_time_unix_nano),
                        since(point.time_unix_nano)
                    );
                    series.entry(key).or_default().push(line);
                }
                continue;
            }
            other => panic!("{other:?}"),
        };
        for point in points {
            let key = format!(
                "{} [{}] {kind} {{{}}}",
                metric.name,
                metric.unit,
                shown(&point.attributes)
            );
            let start = match point.start_time_unix_nano {
                0 => String::new(),
                start => format!("{}..", since(start)),
            };
            let line = format!(
                "{} at {start}{}",
                double(point.value.as_ref()),
                since(point.time_unix_nano)
            );
            series.entry(key).or_default().push(line);
        }
    }
    let lines: Vec<String> = series
        .into_iter()
        .map(|(key, points)| match points.as_slice() {
            [one] => format!("{key}: {one}"),
            [first, .., last] => format!("{key}: {} points, {first}, …, {last}", points.len()),
            [] => unreachable!(),
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn spans_of_the_golden_run() {
    let plan = golden_plan(&OtlpConfig::default());
    let all = spans(&plan);
    // the first cycle, and what does not belong to a cycle, whole
    let of = |span: &OtlpSpan, cycle: i64| {
        span.attributes.iter().any(|attribute| {
            attribute.key == "lem.cycle"
                && attribute.value.as_ref().unwrap().value == Some(Any::IntValue(cycle))
        })
    };
    let shown: Vec<&&OtlpSpan> = all
        .iter()
        .filter(|span| !of(span, 1) && !of(span, 2))
        .collect();
    insta::assert_json_snapshot!(shown);
    // one tree, whose root comes last
    let ids: BTreeSet<&Vec<u8>> = all.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), all.len());
    let roots: Vec<_> = all.iter().filter(|s| s.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].span_id, all.last().unwrap().span_id);
    for span in &all {
        assert!(span.parent_span_id.is_empty() || ids.contains(&span.parent_span_id));
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert_eq!(span.trace_id, roots[0].trace_id);
    }
    // cycle 0, 1 and 2 have two requests each, of which each has two phases
    assert_eq!(all.len(), 1 + 1 + 3 * (1 + 3 + 2 * 3));
}

#[test]
fn logs_of_the_golden_run() {
    let plan = golden_plan(&OtlpConfig::default());
    insta::assert_json_snapshot!(logs(&plan));
}

#[test]
fn the_resource_names_no_person_and_no_path() {
    let started = golden::started();
    let config = OtlpConfig {
        resource_attributes: BTreeMap::from([
            ("deployment.environment.name".to_owned(), "lab".to_owned()),
            ("host.name".to_owned(), "mine".to_owned()),
            ("service.instance.id".to_owned(), "not the run".to_owned()),
            (String::new(), "nothing".to_owned()),
        ]),
        ..OtlpConfig::default()
    };
    let scope = Scope {
        run_id: RUN_ID,
        started: &started,
        started_at: STARTED_AT,
        config: &config,
    };
    let wrapped = Envelopes::new(&scope);
    insta::assert_debug_snapshot!(wrapped);
}

/// Every metric of the catalogue arrives under its own name, unit and kind, so that a
/// receiver which translates to Prometheus makes the catalogue's Prometheus name.
#[test]
fn names_units_and_kinds_are_the_catalogue_s() {
    let plan = golden_plan(&OtlpConfig::default());
    let sent = metrics(&plan);
    for def in METRICS {
        // no sensor reads it in the golden run, or its samples have another source
        let found = sent
            .iter()
            .find(|m| m.name == def.otel && m.unit == def.unit);
        let absent = def.id == "energy.memory" || def.id.starts_with("sample.");
        let Some(found) = found else {
            assert!(absent, "{} was not sent", def.id);
            continue;
        };
        let kind = match found.data.as_ref().unwrap() {
            metric::Data::Gauge(_) => Kind::Gauge,
            metric::Data::Sum(sum) if sum.is_monotonic => Kind::Counter,
            metric::Data::Sum(_) => Kind::UpDown,
            metric::Data::Histogram(_) => Kind::Histogram,
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, def.kind, "{}", def.id);
        let translated = prometheus_name(&found.name, &found.unit, kind);
        assert_eq!(translated, def.prometheus_name(None));
    }
}

#[test]
fn a_batch_that_comes_again_is_the_same_byte_for_byte() {
    let started = golden::started();
    let config = OtlpConfig::default();
    let scope = Scope {
        run_id: RUN_ID,
        started: &started,
        started_at: STARTED_AT,
        config: &config,
    };
    let bodies = || {
        let mut plan = golden_plan(&config);
        let wrapped = Envelopes::new(&scope);
        let requests = requests(&mut plan, &config.limits);
        let bodies: Vec<Vec<u8>> = requests.iter().map(|r| r.encode(&wrapped)).collect();
        (bodies, plan.state)
    };
    let (first, state) = bodies();
    assert_eq!(first, bodies().0);
    assert!(first.len() >= 3);
    // and the state reads back from a cursor file as it was
    let text = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    assert!(text.len() < 2_000, "{text}");
}

#[test]
fn a_cycle_s_number_is_another_series_than_the_run_s() {
    let plan = golden_plan(&OtlpConfig::default());
    let mut seen = BTreeSet::new();
    for metric in metrics(&plan) {
        let points = match metric.data.as_ref().unwrap() {
            metric::Data::Gauge(gauge) => &gauge.data_points,
            metric::Data::Sum(sum) => &sum.data_points,
            _ => continue,
        };
        for point in points {
            let identity = (&metric.name, shown(&point.attributes), point.time_unix_nano);
            assert!(seen.insert(identity.clone()), "twice: {identity:?}");
        }
    }
}

fn samples(metric: &str, points: &[(u64, Option<f64>)]) -> Record {
    Record::Samples(Samples {
        source: "gpu0".into(),
        t_ns: points.iter().map(|(t, _)| STARTED_AT.mono_ns + t).collect(),
        columns: vec![Column {
            metric: metric.into(),
            attributes: BTreeMap::from([("hw.id".into(), "gpu0".into())]),
            how: How::Measured,
            values: points.iter().map(|(_, v)| *v).collect(),
        }],
    })
}

/// Start, time, value, from the run's start.
fn sums(plan: &Plan) -> Vec<(i32, u64, u64, f64)> {
    let start = STARTED_AT.unix_ns as u64;
    let mut sums = Vec::new();
    for metric in metrics(plan) {
        let metric::Data::Sum(sum) = metric.data.as_ref().unwrap() else {
            continue;
        };
        sums.extend(sum.data_points.iter().map(|p| {
            (
                sum.aggregation_temporality,
                p.start_time_unix_nano - start,
                p.time_unix_nano - start,
                double(p.value.as_ref()),
            )
        }));
    }
    sums
}

#[test]
fn increments_go_on_across_batches() {
    let config = |temporality| OtlpConfig {
        temporality,
        ..OtlpConfig::default()
    };
    let points = [
        (10, Some(5.0)),
        (20, None),
        (30, Some(9.0)),
        (30, Some(9.5)),
        (40, Some(1.0)),
    ];
    let all = envelopes(vec![
        samples("sample.energy", &points[..3]),
        samples("sample.energy", &points[3..]),
    ]);
    let delta = config(Temporality::Delta);
    let first = with(&delta, &State::default(), &all[..1]);
    assert_eq!(sums(&first), [(1, 0, 10, 5.0), (1, 10, 30, 4.0)]);
    // the same moment again is no increment; a counter that fell began anew
    let second = with(&delta, &first.state, &all[1..]);
    assert_eq!(sums(&second), [(1, 30, 40, 1.0)]);
    for temporality in [Temporality::Cumulative, Temporality::LowMemory] {
        let plan = with(&config(temporality), &State::default(), &all[..1]);
        assert_eq!(sums(&plan), [(2, 0, 10, 5.0), (2, 0, 30, 9.0)]);
    }
    // what goes up and down is always the present value
    let memory = envelopes(vec![samples("sample.gpu_memory_used", &points[..1])]);
    let plan = with(&delta, &State::default(), &memory);
    assert_eq!(sums(&plan), [(2, 0, 10, 5.0)]);
}

fn metric(id: &str, value: MetricValue) -> Record {
    Record::Metric(Metric {
        id: id.into(),
        attributes: BTreeMap::new(),
        value,
        t_ns: STARTED_AT.mono_ns + 5,
        cycle: None,
        how: How::Measured,
        uncertainty: None,
        interval: None,
        method: None,
    })
}

#[test]
fn what_no_receiver_could_read_is_rejected_and_told() {
    let histogram = |change: fn(&mut Histogram)| {
        let mut histogram = Histogram {
            bounds: vec![1.0, 2.0],
            counts: vec![1, 0, 1],
            count: 2,
            sum: 4.0,
            min: 1.0,
            max: 3.0,
            mean: 2.0,
            p50: 2.0,
            p90: 2.8,
            p99: 2.98,
        };
        change(&mut histogram);
        metric("latency.e2e", MetricValue::Histogram(Box::new(histogram)))
    };
    let records = envelopes(vec![
        metric("energy.total", MetricValue::Number(f64::NAN)),
        metric("energy.of_the_future", MetricValue::Number(1.0)),
        histogram(|h| h.counts.truncate(2)),
        histogram(|h| h.bounds = vec![2.0, 1.0]),
        histogram(|h| h.count = 3),
        histogram(|h| h.sum = f64::INFINITY),
        samples(
            "sample.power",
            &[(1, Some(f64::NAN)), (2, None), (3, Some(1.0))],
        ),
        histogram(|_| {}),
    ]);
    let plan = with(&OtlpConfig::default(), &State::default(), &records);
    let told: Vec<_> = plan
        .rejected
        .iter()
        .map(|r| format!("{} {}", r.n, r.reason))
        .collect();
    insta::assert_yaml_snapshot!(told);
    assert_eq!(metrics(&plan).len(), 2);
}

#[test]
fn a_signal_that_is_off_is_not_sent_and_no_other_points_to_it() {
    let mut config = OtlpConfig::default();
    config.traces.enabled = false;
    config.logs.enabled = false;
    let plan = golden_plan(&config);
    assert!(spans(&plan).is_empty() && logs(&plan).is_empty());
    let text = serde_json::to_string(&metrics(&plan)).unwrap();
    assert!(
        !text.contains("spanId\":\""),
        "an exemplar without its span"
    );
    // nor of a run that is not among the share
    let unsampled = OtlpConfig {
        trace_ratio: 0.0,
        ..OtlpConfig::default()
    };
    let plan = golden_plan(&unsampled);
    assert!(spans(&plan).is_empty());
    assert!(logs(&plan).iter().all(|log| log.trace_id.is_empty()));
}

#[test]
fn limits_cut_and_count() {
    let mut config = OtlpConfig::default();
    config.limits.span_value = Some(3);
    config.limits.span_attributes = 2;
    config.limits.log_value = Some(4);
    config.limits.span_batch = 5;
    let mut plan = golden_plan(&config);
    for span in spans(&plan) {
        assert!(span.attributes.len() <= 2);
        for attribute in &span.attributes {
            let value = attribute.value.as_ref().unwrap().value.as_ref();
            if let Some(Any::StringValue(text)) = value {
                assert!(text.chars().count() <= 3, "{text}");
            }
        }
    }
    let dropped: u32 = spans(&plan)
        .iter()
        .map(|s| s.dropped_attributes_count)
        .sum();
    assert!(dropped > 0);
    let requests = requests(&mut plan, &config.limits);
    let traces: Vec<_> = requests
        .iter()
        .filter(|r| r.signal == Signal::Traces)
        .collect();
    assert!(traces.len() > 2 && traces.iter().all(|r| r.items() <= 5));
}

#[test]
fn the_span_of_a_killed_run_ends_with_the_last_that_was_seen() {
    let cycle = Record::Span(Span {
        span: SpanKind::Cycle,
        name: "cycle-0".into(),
        cycle: Some(0),
        start_ns: STARTED_AT.mono_ns + 1_000,
        end_ns: STARTED_AT.mono_ns + 2_000,
        attributes: BTreeMap::new(),
        request: None,
    });
    let end = |status| {
        Record::RunFinished(RunFinished {
            status,
            reason: None,
            analysis: 1,
        })
    };
    for (status, ended) in [(RunStatus::Killed, 2_000), (RunStatus::Failed, 9_000)] {
        let mut records = envelopes(vec![cycle.clone(), end(status)]);
        let mut last = (*records[1]).clone();
        // a boot later, for the killed one
        last.at = Stamp {
            mono_ns: STARTED_AT.mono_ns + 9_000,
            unix_ns: STARTED_AT.unix_ns + 9_000,
        };
        records[1] = Arc::new(last);
        let plan = with(&OtlpConfig::default(), &State::default(), &records);
        let all = spans(&plan);
        let run = all.last().unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(run.end_time_unix_nano, STARTED_AT.unix_ns as u64 + ended);
        assert_eq!(run.status.as_ref().unwrap().code, 2);
    }
}

#[test]
fn a_large_batch_becomes_messages_that_receivers_take() {
    let points: Vec<(u64, Option<f64>)> =
        (0..60_000).map(|t| (t * 1_000, Some(t as f64))).collect();
    let records = envelopes(vec![samples("sample.power", &points)]);
    let started = golden::started();
    let config = OtlpConfig::default();
    let scope = Scope {
        run_id: RUN_ID,
        started: &started,
        started_at: STARTED_AT,
        config: &config,
    };
    let mut plan = with(&config, &State::default(), &records);
    let wrapped = Envelopes::new(&scope);
    let requests = requests(&mut plan, &config.limits);
    assert!(requests.len() > 1);
    assert_eq!(requests.iter().map(|r| r.items()).sum::<u64>(), 60_000);
    for request in &requests {
        let size = request.encode(&wrapped).len();
        assert!(size < 3 << 20, "{size}");
    }
}

proptest! {
    /// Whatever the sizes of the batches, the same is sent.
    #[test]
    fn the_sizes_of_batches_change_nothing(cuts in prop::collection::vec(1usize..40, 1..40), delta in any::<bool>()) {
        let config = OtlpConfig {
            temporality: if delta { Temporality::Delta } else { Temporality::Cumulative },
            ..OtlpConfig::default()
        };
        let records = golden_records();
        let whole = with(&config, &State::default(), &records);
        let (mut state, mut pieces) = (State::default(), Vec::new());
        let mut rest = records.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (batch, after) = rest.split_at((*cut).min(rest.len()));
            let plan = with(&config, &state, batch);
            // through a cursor file
            state = serde_json::from_str(&serde_json::to_string(&plan.state).unwrap()).unwrap();
            pieces.extend(plan.pieces);
            rest = after;
        }
        prop_assert_eq!(whole.pieces, pieces);
        prop_assert_eq!(whole.state, state);
    }
}

#[test]
fn the_golden_configuration_goes_without_its_secrets() {
    let plan = golden_plan(&OtlpConfig::default());
    let text: Vec<Value> = logs(&plan)
        .iter()
        .map(|log| serde_json::to_value(log).unwrap())
        .collect();
    let config = text[0].to_string();
    assert!(
        config.contains("lem.run.config") && config.contains("***"),
        "{config}"
    );
}
