//! What remote write sends, and what it does with a receiver's refusals.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod receiver;

use std::sync::Arc;
use std::time::Duration;

use lem_prometheus::remote_write::proto::MetricType;
use lem_prometheus::remote_write::{
    Protocol, RemoteWriteConfig, RemoteWriteExporter, STALE, State, encode, v1,
};
use lem_record::{Envelope, ExportError, Exporter, Rejected, RunContext, RunStatus};
use lem_testkit::golden::{self, Golden};
use lem_testkit::{Fault, Response, Rule};
use receiver::{Habits, Receiver};
use serde_json::Value;

/// Later than any golden run.
const NOW: i64 = 1_900_000_000_000;

fn config(receiver: &Receiver) -> RemoteWriteConfig {
    RemoteWriteConfig {
        url: Some(receiver.url()),
        ..RemoteWriteConfig::default()
    }
}

async fn deliver(config: RemoteWriteConfig, golden: &Golden) -> Vec<Rejected> {
    let mut exporter = RemoteWriteExporter::new(config).unwrap();
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    let mut rejected = Vec::new();
    for batch in golden.envelopes.chunks(10) {
        rejected.extend(exporter.write(batch).await.unwrap().rejected);
    }
    exporter
        .finish(RunStatus::Finished, Duration::from_secs(5))
        .await
        .unwrap();
    rejected
}

fn scratch() -> (tempfile::TempDir, Golden) {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("run"));
    (folder, golden)
}

fn all(run: &RunContext, envelopes: &[Arc<Envelope>]) -> lem_prometheus::remote_write::Plan {
    encode(run, &State::default(), envelopes, NOW)
}

#[test]
fn what_is_sent() {
    let (_folder, golden) = scratch();
    let plan = all(&golden.context(), &golden.envelopes);
    assert_eq!(plan.rejected, []);
    let atoms: Vec<_> = plan.atoms.iter().collect();
    let request = v1(&atoms);
    let mut lines: Vec<String> = request
        .timeseries
        .iter()
        .map(|series| {
            let labels: Vec<String> = series
                .labels
                .iter()
                .map(|label| format!("{}={:?}", label.name, label.value))
                .collect();
            let samples: Vec<String> = series
                .samples
                .iter()
                .map(|sample| match sample.value.to_bits() {
                    STALE => format!("{}:stale", sample.timestamp - 1_750_000_000_000),
                    _ => format!("{}:{}", sample.timestamp - 1_750_000_000_000, sample.value),
                })
                .collect();
            format!("{} {}", labels.join(","), samples.join(" "))
        })
        .collect();
    lines.sort();
    insta::assert_snapshot!("samples", lines.join("\n"));
    let metadata: Vec<String> = request
        .metadata
        .iter()
        .map(|family| {
            let kind = MetricType::try_from(family.kind).unwrap();
            format!(
                "{} {kind:?} {:?} {}",
                family.metric_family_name, family.unit, family.help
            )
        })
        .collect();
    insta::assert_snapshot!("metadata", metadata.join("\n"));
}

#[tokio::test]
async fn every_series_ends() {
    let (_folder, golden) = scratch();
    let receiver = Receiver::start(Habits::default());
    assert_eq!(deliver(config(&receiver), &golden).await, []);
    let series = receiver.series();
    assert!(series.len() > 100, "{}", series.len());
    for (name, points) in series {
        let is_stale = |(_, value): &&(i64, f64)| value.to_bits() == STALE;
        let stale = points.iter().filter(is_stale).count();
        assert_eq!(stale, 1, "{name}");
        assert_eq!(points.last().unwrap().1.to_bits(), STALE, "{name}");
        assert!(points.len() > 1, "{name}");
    }
    let plan = all(&golden.context(), &golden.envelopes);
    assert_eq!(plan.state.next, golden.envelopes.len() as u64);
    let state = serde_json::to_string(&plan.state).unwrap();
    assert!(state.len() < 100, "nothing is left to be ended: {state}");
}

#[tokio::test]
async fn what_is_too_old_is_rejected_with_the_setting_to_change() {
    let (_folder, golden) = scratch();
    for window in [None, Some(86_400_000)] {
        let receiver = Receiver::start(Habits {
            window,
            newest: Some(NOW),
            ..Habits::default()
        });
        let rejected = deliver(config(&receiver), &golden).await;
        assert!(receiver.facts().is_empty());
        assert!(!rejected.is_empty());
        for rejected in &rejected {
            let says = [
                "out_of_order_time_window",
                "promtool",
                "samples were not stored",
            ];
            assert!(
                says.iter().all(|word| rejected.reason.contains(word)),
                "{rejected:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_receiver_of_small_requests_gets_small_ones() {
    let (_folder, golden) = scratch();
    let control = Receiver::start(Habits::default());
    deliver(config(&control), &golden).await;
    let receiver = Receiver::start(Habits {
        most: Some(100),
        ..Habits::default()
    });
    assert_eq!(deliver(config(&receiver), &golden).await, []);
    assert_eq!(receiver.facts(), control.facts());

    // less than a record's part: that is split as well
    let receiver = Receiver::start(Habits {
        most: Some(3),
        ..Habits::default()
    });
    assert_eq!(deliver(config(&receiver), &golden).await, []);
    assert_eq!(receiver.facts(), control.facts());

    // nothing at all: each record is named once
    let receiver = Receiver::start(Habits {
        most: Some(0),
        ..Habits::default()
    });
    let rejected = deliver(config(&receiver), &golden).await;
    assert!(
        rejected.iter().all(|r| r.reason.contains("too large")),
        "{rejected:?}"
    );
    let records = golden.envelopes.iter().filter(|envelope| {
        !encode(
            &golden.context(),
            &State::default(),
            &[Arc::clone(envelope)],
            NOW,
        )
        .atoms
        .is_empty()
    });
    // the last one has the ends of the series, which alone it has not
    assert_eq!(rejected.len(), records.count() + 1);
}

/// A group is refused for one series that somebody else writes: that one is named,
/// and the others are stored.
#[tokio::test]
async fn a_series_that_another_source_writes_is_told() {
    let (_folder, golden) = scratch();
    let control = Receiver::start(Habits::default());
    deliver(config(&control), &golden).await;
    let receiver = Receiver::start(Habits::default());
    let mut exporter = RemoteWriteExporter::new(config(&receiver)).unwrap();
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    let (first, rest) = golden.envelopes.split_at(8);
    assert_eq!(exporter.write(first).await.unwrap().rejected, []);
    let scraped = control
        .series()
        .into_keys()
        .find(|name| name.contains("\"hw_power_watts\"") && name.contains("gpu1"))
        .unwrap();
    receiver.hold(&scraped, NOW, 1.0);
    let rejected = exporter.write(rest).await.unwrap().rejected;
    assert!(!rejected.is_empty());
    for rejected in &rejected {
        assert!(rejected.reason.contains("another source"), "{rejected:?}");
        assert!(rejected.reason.contains("out of order"), "{rejected:?}");
    }
    let missing: Vec<_> = control
        .series()
        .into_keys()
        .filter(|name| !receiver.series().contains_key(name))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

/// The same refusal means that the samples are there, where they may have been sent
/// before: the answer was lost, or the process died.
#[tokio::test]
async fn a_sample_that_is_there_already_is_no_refusal() {
    let (_folder, golden) = scratch();
    let receiver = Receiver::start(Habits::default());
    deliver(config(&receiver), &golden).await;
    let facts = receiver.facts();
    assert_eq!(deliver(config(&receiver), &golden).await, []);
    assert_eq!(receiver.facts(), facts);

    let receiver = Receiver::start(Habits::default());
    let lost = Rule::new(Fault::Close).skip(2).times(2).applied();
    receiver.server.script(lost);
    let mut exporter = RemoteWriteExporter::new(config(&receiver)).unwrap();
    exporter
        .open(&golden.context(), &Value::Null)
        .await
        .unwrap();
    let mut failures = 0;
    for batch in golden.envelopes.chunks(10) {
        let written = loop {
            match exporter.write(batch).await {
                Ok(written) => break written,
                Err(ExportError::Retry { .. }) => failures += 1,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(written.rejected, []);
    }
    assert_eq!(
        failures, 1,
        "the client tries a broken connection once more itself"
    );
    assert_eq!(receiver.facts(), facts);
}

#[tokio::test]
async fn version_2_is_left_where_nothing_proves_that_it_stores() {
    let (_folder, golden) = scratch();
    let auto = |receiver: &Receiver| RemoteWriteConfig {
        protocol: Protocol::Auto,
        ..config(receiver)
    };
    let versions = |receiver: &Receiver| -> Vec<String> {
        let requests = receiver.server.requests();
        let version = |r: &lem_testkit::Request| {
            r.header("x-prometheus-remote-write-version")
                .map(str::to_owned)
        };
        requests.iter().filter_map(version).collect()
    };
    let one = Receiver::start(Habits::default());
    assert_eq!(deliver(auto(&one), &golden).await, []);
    let spoken = versions(&one);
    assert_eq!(spoken.first().map(String::as_str), Some("2.0.0"));
    assert!(
        spoken.iter().skip(1).all(|version| version == "0.1.0"),
        "{spoken:?}"
    );

    let two = Receiver::start(Habits {
        two: true,
        ..Habits::default()
    });
    assert_eq!(deliver(auto(&two), &golden).await, []);
    assert!(versions(&two).iter().all(|version| version == "2.0.0"));
    assert_eq!(one.facts(), two.facts());

    // one that refuses it outright
    let strict = Receiver::start(Habits::default());
    let refuses = Fault::Answer(Response::text(415, "unsupported media type"));
    let version_2 = |r: &lem_testkit::Request| {
        r.header("content-type")
            .is_some_and(|kind| kind.contains("v2"))
    };
    strict.server.script(Rule::new(refuses).matching(version_2));
    assert_eq!(deliver(auto(&strict), &golden).await, []);
    assert_eq!(strict.facts(), one.facts());
}

#[test]
fn a_point_in_the_future_is_not_sent() {
    let (_folder, golden) = scratch();
    let early = golden::STARTED_AT.unix_ns / 1_000_000 - 3_600_000;
    let plan = encode(
        &golden.context(),
        &State::default(),
        &golden.envelopes,
        early,
    );
    assert!(plan.atoms.is_empty());
    assert!(
        plan.rejected.iter().all(|r| r.reason.contains("future")),
        "{:?}",
        plan.rejected
    );
}

#[test]
fn a_configuration_is_refused_with_all_its_reasons_and_without_secrets() {
    let wrong = RemoteWriteConfig {
        url: None,
        password: Some(lem_record::Secret::new("hunter2")),
        timeout_s: f64::NAN,
        max_samples: 0,
        ..RemoteWriteConfig::default()
    };
    let errors = RemoteWriteExporter::new(wrong).unwrap_err();
    let keys: Vec<_> = errors.iter().map(|error| error.key).collect();
    assert_eq!(keys, ["timeout_s", "password", "url", "max_samples"]);
    let text: String = errors
        .iter()
        .map(|error| format!("{error} {error:?}"))
        .collect();
    assert!(
        !text.contains("hunter2") && text.contains("integrations.remote-write.url"),
        "{text}"
    );
    let with = RemoteWriteConfig {
        url: Some("https://ann:hunter2@h/api/v1/write".into()),
        token: Some(lem_record::Secret::new("hunter2")),
        ..RemoteWriteConfig::default()
    };
    let shown = format!("{with:?} {}", serde_json::to_string(&with).unwrap());
    assert!(!shown.contains("hunter2"), "{shown}");
}
