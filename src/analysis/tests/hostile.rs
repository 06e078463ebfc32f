//! Logs that no lem wrote: numbers may be absent, but nothing panics and nothing is NaN.

use lem_record::{
    Attributes, Column, CycleFinished, FinishReason, How, Record, RequestTimeline, Samples, Span,
    SpanKind,
};
use proptest::prelude::*;
use serde_json::json;

use super::super::testing::{TestLog, source};
use super::super::{RunData, analyse, records};

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(u64::MAX), 0..5_000_000_000u64, any::<u64>()]
}

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        Just(None),
        Just(Some(f64::NAN)),
        Just(Some(f64::INFINITY)),
        Just(Some(f64::MAX)),
        Just(Some(-1e300)),
        (0.0..1e3f64).prop_map(Some),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let samples = (
        prop_oneof![Just("gpu0"), Just("cpu0"), Just("who")],
        proptest::collection::vec((time(), value(), value()), 0..8),
    )
        .prop_map(|(source, rows)| {
            let column = |metric: &str, values: Vec<Option<f64>>| Column {
                metric: metric.into(),
                attributes: Attributes::new(),
                how: How::Measured,
                values,
            };
            Record::Samples(Samples {
                source: source.into(),
                t_ns: rows.iter().map(|r| r.0).collect(),
                columns: vec![
                    column("sample.power", rows.iter().map(|r| r.1).collect()),
                    column("sample.energy", rows.iter().map(|r| r.2).collect()),
                    column("sample.gpu_memory_used", rows.iter().map(|r| r.2).collect()),
                ],
            })
        });
    let cycle = (0..3u32, time(), time(), any::<u64>()).prop_map(|(cycle, start_ns, end_ns, n)| {
        Record::CycleFinished(CycleFinished {
            cycle,
            start_ns,
            end_ns,
            requests: n,
            failed: n,
            samples_missed: n,
        })
    });
    let kinds = prop_oneof![
        Just(SpanKind::Baseline),
        Just(SpanKind::Phase),
        Just(SpanKind::Request),
        Just(SpanKind::Cycle)
    ];
    let names = prop_oneof![
        Just("prefill"),
        Just("decode"),
        Just("loaded"),
        Just("after")
    ];
    let span = (
        kinds,
        names,
        0..3u32,
        time(),
        time(),
        proptest::collection::vec(time(), 0..5),
        any::<u64>(),
    )
        .prop_map(
            |(span, name, cycle, start_ns, end_ns, mut token_ns, tokens)| {
                if tokens % 2 == 0 {
                    token_ns.sort_unstable();
                }
                let request = RequestTimeline {
                    id: 1,
                    input_tokens: tokens,
                    output_tokens: tokens,
                    scheduled_ns: Some(start_ns),
                    token_ns,
                    chunk_tokens: Vec::new(),
                    true_token_times: true,
                    answer_ns: None,
                    engine: Default::default(),
                    finish: FinishReason::Stop,
                    error: None,
                };
                Record::Span(Span {
                    span,
                    name: name.into(),
                    cycle: Some(cycle),
                    start_ns,
                    end_ns,
                    attributes: Attributes::new(),
                    request: Some(request),
                })
            },
        );
    prop_oneof![samples, cycle, span]
}

proptest! {
    #[test]
    fn any_log_gives_a_result_without_nan(list in proptest::collection::vec(record(), 0..40)) {
        let metrics = ["sample.power", "sample.energy"];
        let mut log = TestLog::started(json!([
            source("gpu0", "gpu", "measured", &metrics, &json!({"lag_s": 1e300, "update_s": -1.0, "gain_relative": 1e308})),
            source("cpu0", "cpu", "measured", &metrics, &json!({})),
        ]));
        for (i, record) in list.into_iter().enumerate() {
            log.push(record, i as u64);
        }
        let data = RunData::from_log(&log.envelopes);
        let analysis = analyse(&data);
        for record in records(&data, &analysis) {
            if let Record::Metric(metric) = &record {
                if let lem_record::MetricValue::Number(value) = metric.value {
                    prop_assert!(value.is_finite(), "{}", metric.id);
                }
                if let Some(u) = metric.uncertainty {
                    prop_assert!(u.expanded.is_finite());
                }
            }
        }
        let result = crate::results::build(&data, &analysis, Vec::new(), std::path::Path::new("run"));
        crate::results::assert_valid(&result);
        crate::results::show::render(&result);
        let mut bytes = Vec::new();
        crate::results::parquet::write(&data, &mut bytes).unwrap();
    }
}

#[test]
fn a_log_without_a_start_still_gives_a_result() {
    let mut log = TestLog::empty();
    log.cycle(0, 1_000_000_000, 50.0);
    let data = RunData::from_log(&log.envelopes);
    let analysis = analyse(&data);
    assert!(analysis.run.quantity("energy.total").value.is_none());
    assert!(analysis.run.value("time.prefill").is_some());
    assert!(
        data.notes.iter().any(|n| n.contains("did not describe")),
        "{:?}",
        data.notes
    );
}

#[test]
fn foreign_records_and_double_starts_are_noted() {
    let mut log = TestLog::modelled();
    let mut second = log.envelopes[0].clone();
    second.n = 1;
    let mut foreign = second.clone();
    foreign.run = "another".into();
    log.envelopes.extend([second, foreign]);
    let data = RunData::from_log(&log.envelopes);
    assert_eq!(data.notes.len(), 2, "{:?}", data.notes);
}
