//! What is sent of the golden run, and the rules that no snapshot shows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use lem_mlflow::MlflowConfig;
use lem_mlflow::encode::{Plan, Scope, State, encode, metric_bodies, pair_bodies, table_body};
use lem_record::{
    Column, CycleFinished, Envelope, How, Metric, MetricValue, Record, RunStarted, Samples, Stamp,
};
use lem_testkit::golden::{self, Golden, STARTED_AT};
use serde_json::{Value, json};

fn with<T>(
    started: &RunStarted,
    config: &MlflowConfig,
    state: &State,
    records: &[Arc<Envelope>],
    look: impl FnOnce(Plan<'_>) -> T,
) -> T {
    let scope = Scope {
        run_id: golden::RUN_ID,
        started,
        started_at: STARTED_AT,
        config,
    };
    look(encode(&scope, state, records))
}

fn golden_plan<T>(look: impl FnOnce(&Golden, Plan<'_>) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(folder.path());
    let config = MlflowConfig::default();
    with(
        &golden::started(),
        &config,
        &State::default(),
        &golden.envelopes,
        |plan| look(&golden, plan),
    )
}

fn envelopes(records: Vec<Record>) -> Vec<Arc<Envelope>> {
    let numbered = records.into_iter().zip(0..);
    numbered
        .map(|(record, n)| {
            let at = Stamp {
                mono_ns: STARTED_AT.mono_ns,
                ..STARTED_AT
            };
            Arc::new(Envelope {
                run: golden::RUN_ID.into(),
                n,
                at,
                record,
            })
        })
        .collect()
}

fn started() -> RunStarted {
    golden::started()
}

fn metric(value: f64, cycle: Option<u32>) -> Record {
    Record::Metric(Metric {
        id: "energy.total".into(),
        attributes: Default::default(),
        value: MetricValue::Number(value),
        t_ns: STARTED_AT.mono_ns + 5_000_000,
        cycle,
        how: How::Measured,
        uncertainty: None,
        interval: None,
        method: None,
    })
}

fn power(t_ns: Vec<u64>, values: Vec<Option<f64>>) -> Record {
    Record::Samples(Samples {
        source: "gpu0".into(),
        t_ns: t_ns.into_iter().map(|t| STARTED_AT.mono_ns + t).collect(),
        columns: vec![Column {
            metric: "sample.power".into(),
            attributes: Default::default(),
            how: How::Measured,
            values,
        }],
    })
}

/// Key, value, time from the start, step.
fn points(plan: &Plan<'_>) -> Vec<(String, f64, i64, i64)> {
    let start = STARTED_AT.unix_ms();
    plan.series
        .iter()
        .flat_map(|s| {
            s.points()
                .map(|(v, t, step)| (s.key.clone(), v, t - start, step))
        })
        .collect()
}

#[test]
fn the_golden_run() {
    golden_plan(|_, plan| {
        insta::assert_yaml_snapshot!("params", plan.params);
        insta::assert_yaml_snapshot!("tags", plan.tags);
        let datasets: Vec<Value> = plan.datasets.iter().map(|d| d.body("R")).collect();
        insta::assert_yaml_snapshot!("log_inputs", datasets);
        let tables: Vec<String> = plan
            .tables
            .iter()
            .map(|(_, table)| String::from_utf8(table_body(table).unwrap()).unwrap())
            .collect();
        insta::assert_yaml_snapshot!("tables", tables);
        // one line a series: its key, how many points, the first and the last
        let series: Vec<String> = plan
            .series
            .iter()
            .map(|s| {
                let points: Vec<_> = s.points().collect();
                format!(
                    "{}: {} from {:?} to {:?}",
                    s.key,
                    points.len(),
                    points[0],
                    points.last().unwrap()
                )
            })
            .collect();
        insta::assert_yaml_snapshot!("series", series);
        assert_eq!(plan.rejected, []);
    });
}

#[test]
fn a_body_is_what_the_server_reads() {
    let records = envelopes(vec![
        Record::RunStarted(Box::new(started())),
        power(vec![0, 1_000_000], vec![Some(100.0), Some(0.1 + 0.2)]),
        metric(f64::MIN_POSITIVE, Some(0)),
    ]);
    let config = MlflowConfig {
        log_system_metrics: false,
        ..MlflowConfig::default()
    };
    with(&started(), &config, &State::default(), &records, |plan| {
        let bodies: Vec<String> = metric_bodies("R", &plan.series)
            .map(|body| String::from_utf8(body.bytes).unwrap())
            .collect();
        insta::assert_yaml_snapshot!(bodies);
        let params = pair_bodies(
            "R",
            "params",
            plan.params.iter().take(2).map(|(k, v)| (k, v)),
        );
        assert_eq!(
            params[0].bytes,
            br#"{"run_id":"R","params":[{"key":"model_name","value":"golden/model"},{"key":"backend","value":"candle"}]}"#
        );
    });
}

#[test]
fn a_batch_that_comes_again_is_the_same_byte_for_byte() {
    let bodies = |plan: &Plan<'_>| -> Vec<Vec<u8>> {
        metric_bodies("R", &plan.series)
            .map(|body| body.bytes)
            .chain(
                pair_bodies("R", "tags", &plan.tags)
                    .into_iter()
                    .map(|body| body.bytes),
            )
            .collect()
    };
    let once = golden_plan(|_, plan| (bodies(&plan), plan.state));
    let again = golden_plan(|_, plan| (bodies(&plan), plan.state));
    assert_eq!(once, again);
    // and the state reads back from a cursor file as it was
    let text = serde_json::to_string(&once.1).unwrap();
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), once.1);
    assert!(text.len() < 40_000, "{} bytes", text.len());
}

#[test]
fn the_run_s_own_value_is_the_latest_of_its_key() {
    let cycle = |cycle| {
        Record::CycleFinished(CycleFinished {
            cycle,
            start_ns: 0,
            end_ns: 0,
            requests: 1,
            failed: 0,
            samples_missed: 0,
        })
    };
    let records = envelopes(vec![
        cycle(0),
        cycle(1),
        metric(30.0, Some(0)),
        metric(20.0, Some(1)),
        metric(25.0, None),
    ]);
    with(
        &started(),
        &MlflowConfig::default(),
        &State::default(),
        &records,
        |plan| {
            let mut points = points(&plan);
            points.sort_by_key(|(_, value, time, step)| (*step, *time, *value as i64));
            assert_eq!(points.last().unwrap().1, 25.0);
            assert_eq!(points.iter().map(|p| p.3).collect::<Vec<_>>(), [0, 1, 2]);
        },
    );
}

#[test]
fn two_samples_of_one_millisecond_have_two_steps_also_across_batches() {
    let first = envelopes(vec![power(
        vec![1_000_000, 1_200_000, 1_900_000, 2_000_000],
        vec![Some(1.0), Some(2.0), None, Some(3.0)],
    )]);
    let config = MlflowConfig {
        log_system_metrics: false,
        ..MlflowConfig::default()
    };
    let state = with(&started(), &config, &State::default(), &first, |plan| {
        let steps: Vec<i64> = points(&plan).iter().map(|p| p.3).collect();
        assert_eq!(steps, [1, 2, 4]);
        plan.state
    });
    let second = envelopes(vec![power(
        vec![4_100_000, 9_000_000],
        vec![Some(4.0), Some(5.0)],
    )]);
    with(&started(), &config, &state, &second, |plan| {
        let points = points(&plan);
        assert_eq!(points.iter().map(|p| p.3).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(points.iter().map(|p| p.2).collect::<Vec<_>>(), [4, 9]);
    });
}

#[test]
fn what_is_no_number_is_skipped_counted_and_told() {
    let records = envelopes(vec![
        metric(f64::NAN, None),
        metric(f64::INFINITY, Some(0)),
        power(
            vec![0, 1, 2, 3],
            vec![Some(f64::NAN), Some(f64::NEG_INFINITY), None, Some(1.0)],
        ),
    ]);
    with(
        &started(),
        &MlflowConfig::default(),
        &State::default(),
        &records,
        |plan| {
            for body in metric_bodies("R", &plan.series) {
                let text = String::from_utf8(body.bytes).unwrap();
                for token in ["NaN", "inf", "Infinity", "null"] {
                    assert!(!text.contains(token), "{text}");
                }
            }
            let told: Vec<(u64, &str)> = plan
                .rejected
                .iter()
                .map(|r| (r.n, r.reason.as_str()))
                .collect();
            assert_eq!(
                told,
                [
                    (0, "energy/total_joules is NaN, which MLflow cannot keep"),
                    (1, "energy/total_joules is inf, which MLflow cannot keep"),
                    (
                        2,
                        "sample/gpu0_power_watts: 2 values are no numbers, which MLflow cannot keep"
                    ),
                ]
            );
        },
    );
}

#[test]
fn the_user_s_own_tags_go_before_ours_but_for_those_that_lem_needs() {
    let mut started = started();
    let tags = [
        ("mlflow.source.name", "their.py"),
        ("mlflow.note.content", "their note"),
        ("mlflow.runName", "another name"),
        ("lem.run_id", "another id"),
        ("odd#key", "1"),
    ];
    started
        .tags
        .extend(tags.map(|(k, v)| (k.to_owned(), v.to_owned())));
    let records = envelopes(vec![Record::RunStarted(Box::new(started.clone()))]);
    with(
        &started,
        &MlflowConfig::default(),
        &State::default(),
        &records,
        |plan| {
            let tag = |key: &str| plan.tags.get(key).map(String::as_str);
            assert_eq!(tag("mlflow.source.name"), Some("their.py"));
            assert_eq!(tag("mlflow.note.content"), Some("their note"));
            assert_eq!(tag("lem.run_id"), Some(golden::RUN_ID));
            assert_eq!(tag("odd_key"), Some("1"));
            // unlike the name given at creation it would be refused
            assert_eq!(tag("mlflow.runName"), None);
        },
    );
}

#[test]
fn tags_stay_within_their_limit_and_say_what_is_missing() {
    let absent: Vec<Record> = (0..400)
        .map(|i| {
            let Record::Metric(mut metric) = metric(0.0, None) else {
                unreachable!()
            };
            metric.id = "energy.closure".into();
            metric.attributes.insert("hw.id".into(), format!("gpu{i}"));
            metric.value = MetricValue::Absent("no counter \"x\"".into());
            Record::Metric(metric)
        })
        .collect();
    let records = envelopes(absent);
    with(
        &started(),
        &MlflowConfig::default(),
        &State::default(),
        &records,
        |plan| {
            let tag = &plan.tags["lem.absent"];
            assert!(tag.chars().count() <= 8000);
            let tag: Value = serde_json::from_str(tag).unwrap();
            let listed = tag.as_object().unwrap().len() - 1;
            assert_eq!(tag["…"], json!(format!("{} more", 400 - listed)));
        },
    );
}

#[test]
fn a_dataset_that_mlflow_would_refuse_is_told() {
    let dataset = |dataset: Value| {
        let mut started = started();
        started.environment = json!({"dataset": dataset});
        let records = envelopes(vec![Record::RunStarted(Box::new(started.clone()))]);
        with(
            &started,
            &MlflowConfig::default(),
            &State::default(),
            &records,
            |plan| {
                (
                    plan.datasets,
                    plan.rejected
                        .into_iter()
                        .map(|r| r.reason)
                        .collect::<Vec<_>>(),
                )
            },
        )
    };
    let (sent, told) = dataset(json!({"name": "n".repeat(600), "digest": "d".repeat(64)}));
    assert_eq!(
        (sent[0].name.chars().count(), sent[0].digest.len()),
        (500, 36)
    );
    assert_eq!(told, Vec::<String>::new());
    let (sent, told) = dataset(json!([
        {"digest": "d"},
        {"name": "n"},
        {"name": "n", "digest": "d", "source": "s".repeat(70_000)},
        {"name": "n", "digest": "d", "profile": "p".repeat(400_000)},
        5,
    ]));
    assert_eq!((sent.len(), sent[0].profile.clone()), (1, None));
    assert_eq!(told.len(), 5, "{told:?}");
}
