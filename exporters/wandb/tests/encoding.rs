//! What is sent of the golden run, and the rules that no snapshot shows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use lem_record::{
    Attributes, Column, Envelope, How, Metric, MetricValue, Record, RunFinished, RunStarted,
    RunStatus, Samples, Table,
};
use lem_testkit::golden::{self, STARTED_AT};
use lem_wandb::WandbConfig;
use lem_wandb::encode::{
    ArtifactSpec, Base, Item, Plan, Scope, State, encode, metadata, run_settings,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn with<T>(
    started: &RunStarted,
    base: Base,
    state: &State,
    records: &[Arc<Envelope>],
    look: impl FnOnce(&Scope<'_>, Plan<'_>) -> T,
) -> T {
    let config = WandbConfig::default();
    let scope = Scope {
        run_id: golden::RUN_ID,
        started,
        started_at: STARTED_AT,
        config: &config,
        base,
    };
    look(&scope, encode(&scope, state, records))
}

fn golden_plan<T>(look: impl FnOnce(&Scope<'_>, Plan<'_>) -> T) -> T {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(folder.path());
    let (started, state) = (golden::started(), State::default());
    with(&started, Base::default(), &state, &golden.envelopes, look)
}

fn envelopes(records: Vec<Record>) -> Vec<Arc<Envelope>> {
    let numbered = records.into_iter().zip(0..);
    let envelope = |(record, n)| {
        Arc::new(Envelope {
            run: golden::RUN_ID.into(),
            n,
            at: STARTED_AT,
            record,
        })
    };
    numbered.map(envelope).collect()
}

fn plan_of<T>(records: Vec<Record>, look: impl FnOnce(Plan<'_>) -> T) -> T {
    let (started, state) = (golden::started(), State::default());
    let records = envelopes(records);
    with(&started, Base::default(), &state, &records, |_, plan| {
        look(plan)
    })
}

fn rows(plan: &Plan<'_>) -> Vec<String> {
    let rows = plan.items.iter().filter_map(|item| match item {
        Item::Row(row) => Some(row.json()),
        _ => None,
    });
    rows.collect()
}

fn energy(value: f64, cycle: Option<u32>) -> Record {
    metric("energy.total", value, cycle)
}

fn metric(id: &str, value: f64, cycle: Option<u32>) -> Record {
    Record::Metric(Metric {
        id: id.into(),
        attributes: Attributes::new(),
        value: MetricValue::Number(value),
        t_ns: STARTED_AT.mono_ns + 5_000_000,
        cycle,
        how: How::Measured,
        uncertainty: None,
        interval: None,
        method: None,
    })
}

/// The first and the last of each kind, all in order.
fn shortened(all: Vec<String>) -> Vec<String> {
    let len = all.len();
    let keep = |at: usize| at < 3 || at + 3 >= len;
    let mut kept: Vec<String> = Vec::new();
    for (at, line) in all.into_iter().enumerate() {
        if keep(at) {
            kept.push(line);
        } else if at == 3 {
            kept.push(format!("… {} more", len - 6));
        }
    }
    kept
}

#[test]
fn history() {
    golden_plan(|_, plan| {
        assert!(plan.rejected.is_empty(), "{:?}", plan.rejected);
        insta::assert_yaml_snapshot!(shortened(rows(&plan)));
    });
}

#[test]
fn system_metrics_and_console() {
    golden_plan(|_, plan| {
        let events = plan.items.iter().filter_map(|item| match item {
            Item::Event(event) => Some(event.json()),
            _ => None,
        });
        let lines = plan.items.iter().filter_map(|item| match item {
            Item::Line(line) => Some(line.stamped()),
            _ => None,
        });
        insta::assert_yaml_snapshot!((shortened(events.collect()), lines.collect::<Vec<_>>()));
    });
}

#[test]
fn summary() {
    golden_plan(|_, plan| insta::assert_json_snapshot!(plan.state.summary()));
}

#[test]
fn the_run() {
    golden_plan(|scope, plan| {
        let settings = run_settings(scope, &plan.state);
        insta::assert_debug_snapshot!((
            &settings.id,
            &settings.project,
            &settings.name,
            &settings.host,
            &settings.commit,
        ));
        insta::assert_json_snapshot!((settings.config, metadata(scope)));
    });
}

#[test]
fn a_sweep_is_a_group_unless_the_user_names_one() {
    let mut started = golden::started();
    let tags = [("lem.sweep_id", "s1"), ("lem.kind", "sweep-point")];
    let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    started.tags.extend(tags);
    let of = |config: &WandbConfig| {
        let scope = Scope {
            run_id: golden::RUN_ID,
            started: &started,
            started_at: STARTED_AT,
            config,
            base: Base::default(),
        };
        let settings = run_settings(&scope, &State::default());
        (settings.group, settings.job_type)
    };
    let told = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
    assert_eq!(of(&WandbConfig::default()), told("s1", "sweep-point"));
    let own = WandbConfig {
        group: Some("mine".into()),
        job_type: Some("nightly".into()),
        ..WandbConfig::default()
    };
    assert_eq!(of(&own), told("mine", "nightly"));
}

#[test]
fn tables_and_artifacts() {
    golden_plan(|_, plan| {
        let mut told = Vec::new();
        for item in &plan.items {
            match item {
                Item::Table(table) => told.push(json!({
                    "path": table.path, "reference": table.reference(),
                    "body": String::from_utf8_lossy(&table.bytes),
                })),
                Item::Artifact(_, artifact) => {
                    let spec = ArtifactSpec::new("r1", artifact, artifact.bytes, [7; 16]);
                    told.push(json!({
                        "name": spec.name, "type": spec.kind, "metadata": spec.metadata,
                        "digest": spec.digest(), "manifest": spec.manifest(Some("a1")),
                    }));
                }
                _ => {}
            }
        }
        insta::assert_json_snapshot!(told);
    });
}

#[test]
fn metrics_of_a_cycle_share_a_row_and_another_record_ends_it() {
    let records = vec![
        energy(1.0, Some(0)),
        metric("time.decode", 2.0, Some(0)),
        energy(3.0, Some(1)),
        energy(4.0, Some(1)), // of an analysis that came again: apart
        energy(9.0, None),
        metric("time.decode", 5.0, Some(1)),
    ];
    plan_of(records, |plan| {
        let values: Vec<Value> = rows(&plan)
            .iter()
            .map(|row| serde_json::from_str(row).unwrap())
            .collect();
        let cell = |at: usize, key: &str| values[at].get(key).and_then(Value::as_f64);
        assert_eq!(values.len(), 3, "the last is not complete yet");
        assert_eq!(cell(0, "energy/total_joules"), Some(1.0));
        assert_eq!(cell(0, "time/decode_seconds"), Some(2.0));
        assert_eq!(cell(1, "energy/total_joules"), Some(3.0));
        assert_eq!(cell(2, "energy/total_joules"), Some(4.0));
        assert_eq!((cell(2, "cycle"), cell(2, "_step")), (Some(1.0), Some(2.0)));
        assert_eq!(plan.state.summary()["energy/total_joules"], 9.0);
    });
    let ended = vec![
        energy(1.0, Some(0)),
        Record::RunFinished(RunFinished {
            status: RunStatus::Finished,
            reason: None,
            analysis: 1,
        }),
    ];
    plan_of(ended, |plan| assert_eq!(rows(&plan).len(), 1));
}

#[test]
fn what_is_no_number_is_left_out_counted_and_told() {
    let samples = Record::Samples(Samples {
        source: "gpu0".into(),
        t_ns: (0..4).map(|i| STARTED_AT.mono_ns + i).collect(),
        columns: vec![Column {
            metric: "sample.power".into(),
            attributes: Attributes::new(),
            how: How::Measured,
            values: vec![Some(f64::NAN), Some(1.0), None, Some(f64::INFINITY)],
        }],
    });
    let records = vec![
        samples,
        energy(f64::NAN, None),
        energy(f64::INFINITY, Some(0)),
    ];
    plan_of(records, |plan| {
        let rows = rows(&plan);
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert!(
            rows[0].contains("\"sample/gpu0_power_watts\":1.0"),
            "{}",
            rows[0]
        );
        let told: Vec<u64> = plan.rejected.iter().map(|rejected| rejected.n).collect();
        assert_eq!(told, [0, 1, 2]);
        let events = plan
            .items
            .iter()
            .filter(|item| matches!(item, Item::Event(_)));
        assert_eq!(events.count(), 1);
    });
}

#[test]
fn a_long_table_is_cut_and_it_is_told() {
    let table = Table {
        name: "requests".into(),
        columns: vec!["a".into()],
        rows: (0..10_001).map(|i| vec![json!(i)]).collect(),
    };
    plan_of(vec![Record::Table(table)], |plan| {
        let Item::Table(file) = &plan.items[0] else {
            panic!("{:?}", plan.items[0])
        };
        assert_eq!(file.rows, 10_000);
        assert!(plan.rejected[0].reason.contains("10000 of its 10001 rows"));
    });
}

#[test]
fn lines_follow_those_of_another_writer() {
    let base = Base {
        rows: 10,
        step: 50,
        events: 3,
        lines: 2,
    };
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(folder.path());
    let started = golden::started();
    with(
        &started,
        base,
        &State::default(),
        &golden.envelopes,
        |scope, plan| {
            let places = plan.items.iter().filter_map(|item| match item {
                Item::Row(row) => Some((row.offset, row.step)),
                _ => None,
            });
            let places: Vec<_> = places.collect();
            assert_eq!(places[0], (10, 50));
            assert!(
                places
                    .windows(2)
                    .all(|two| two[1] == (two[0].0 + 1, two[0].1 + 1))
            );
            let config = run_settings(scope, &plan.state).config;
            let place = config["lem"]["value"]["bases"][golden::RUN_ID]["step"].as_u64();
            assert_eq!(place, Some(50));
        },
    );
}

proptest! {
    /// However the records are cut into batches, and whatever is kept of the state in
    /// between, the same lines come at the same places.
    #[test]
    fn batches_do_not_matter(cuts in proptest::collection::vec(1_usize..40, 1..20), hostile: bool) {
        let folder = tempfile::tempdir().unwrap();
        let golden = match hostile {
            true => golden::hostile(folder.path()),
            false => golden::run(folder.path()),
        };
        let started = golden.context().started;
        let whole = with(&started, Base::default(), &State::default(), &golden.envelopes,
            |_, plan| (format!("{:?}", plan.items), plan.state.clone()));
        let mut state = State::default();
        let mut items = Vec::new();
        let mut left = golden.envelopes.as_slice();
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (batch, rest) = left.split_at(cut.min(left.len()));
            left = rest;
            let next = with(&started, Base::default(), &state, batch, |_, plan| {
                items.extend(plan.items.iter().map(|item| format!("{item:?}")));
                plan.state
            });
            // as the cursor file gives it back
            state = serde_json::from_str(&serde_json::to_string(&next).unwrap()).unwrap();
        }
        prop_assert_eq!(format!("[{}]", items.join(", ")), whole.0);
        prop_assert_eq!(state, whole.1);
    }
}

#[test]
fn the_state_stays_small() {
    golden_plan(|_, plan| {
        let bytes = serde_json::to_string(&plan.state).unwrap().len();
        assert!(bytes < 32_000, "{bytes}");
    });
}
