//! What must be the same, however it arrived, and what differs by `wandb sync`'s own doing.

use std::collections::{BTreeMap, BTreeSet};

use lem_testkit::golden::RUN_ID;
use lem_testkit::wandb::{Artifact, FakeWandb, Run};
use serde_json::{Map, Value};

/// Every number as f64: 100 and 100.0 are one number in JSON.
fn numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(list) => list.iter().map(numbers).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(key, value)| (key.clone(), numbers(value)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn same_lists(expected: &[Value], found: &[Value], what: &str) {
    for (at, (expected, found)) in expected.iter().zip(found).enumerate() {
        assert_eq!(numbers(found), numbers(expected), "{what} {at}");
    }
    assert_eq!(found.len(), expected.len(), "{what}");
}

/// History, system metrics, console, summary.
pub fn lines(direct: &FakeWandb, synced: &FakeWandb) {
    let (direct, synced) = (direct.run(RUN_ID), synced.run(RUN_ID));
    assert!(direct.history().len() > 30);
    same_lists(&direct.history(), &synced.history(), "history");
    same_events(&direct, &synced);
    // the SDK puts the time of the upload before each line
    let text = |run: &Run| -> Vec<String> {
        let lines = run.lines["output.log"].values();
        lines
            .map(|line| {
                line.rsplit_once("Z ")
                    .map_or(line.as_str(), |(_, text)| text)
                    .to_owned()
            })
            .collect()
    };
    let ends = text(&direct).into_iter().zip(text(&synced));
    for (expected, found) in ends {
        assert!(
            found.ends_with(&expected),
            "{found} does not end with {expected}"
        );
    }
    assert_eq!(text(&direct).len(), text(&synced).len());
    assert_eq!(numbers(&synced.summary()), numbers(&direct.summary()));
}

/// The SDK counts in floating point what we have in whole nanoseconds.
fn same_events(direct: &Run, synced: &Run) {
    let without_times = |events: &[Value]| -> Vec<Value> {
        let events = events.iter().map(|event| {
            let mut fields = event.as_object().unwrap().clone();
            fields.retain(|key, _| !matches!(key.as_str(), "_timestamp" | "_runtime"));
            Value::Object(fields)
        });
        events.collect()
    };
    let (expected, found) = (direct.events(), synced.events());
    assert!(!expected.is_empty());
    same_lists(&without_times(&expected), &without_times(&found), "event");
    for (expected, found) in expected.iter().zip(&found) {
        for key in ["_timestamp", "_runtime"] {
            let (expected, found) = (
                expected[key].as_f64().unwrap(),
                found[key].as_f64().unwrap(),
            );
            assert!(
                (expected - found).abs() < 1e-6,
                "{key}: {found} is not {expected}"
            );
        }
    }
}

/// All of the run but its artifacts.
pub fn runs(direct: &FakeWandb, synced: &FakeWandb) {
    lines(direct, synced);
    let (direct, synced) = (direct.run(RUN_ID), synced.run(RUN_ID));
    assert_eq!(synced.exit_code, direct.exit_code);

    // by `wandb sync` the program is `wandb` itself
    let settings = |run: &Run| -> BTreeMap<String, Value> {
        let own = |name: &str| name != "jobProgram";
        let settings = run.settings.clone().into_iter();
        settings.filter(|(name, _)| own(name)).collect()
    };
    assert_eq!(settings(&synced), settings(&direct));

    // it makes `_wandb` itself, of the same step metrics
    let config = |run: &Run| -> Map<String, Value> {
        let config = run.config.clone().into_iter();
        config.filter(|(key, _)| key != "_wandb").collect()
    };
    assert_eq!(
        Value::Object(config(&synced)),
        Value::Object(config(&direct))
    );
    assert_eq!(step_metrics(&synced), step_metrics(&direct));

    // it adds files that say again what the run says
    let own = |name: &&String| {
        !matches!(
            name.as_str(),
            "config.yaml" | "output.log" | "wandb-summary.json"
        )
    };
    for run in [&direct, &synced] {
        let files: BTreeSet<_> = run.files.keys().filter(own).collect();
        let told: BTreeSet<_> = run.uploaded.iter().filter(own).collect();
        assert_eq!(files, told, "every file is announced");
    }
    let files = |run: &Run| -> BTreeMap<String, Vec<u8>> {
        let files = run.files.clone().into_iter();
        files.filter(|(name, _)| own(&name)).collect()
    };
    assert_eq!(files(&synced), files(&direct));
    assert!(
        files(&direct)
            .keys()
            .any(|name| name.starts_with("media/table/"))
    );
}

/// Each metric with its step metric and options, whatever their places.
fn step_metrics(run: &Run) -> BTreeMap<String, (Option<String>, Value)> {
    let list = run.config["_wandb"]["value"]["m"].as_array().unwrap();
    let name = |entry: &Value| entry["1"].as_str().unwrap().to_owned();
    let of = |entry: &Value| {
        let place = entry["5"].as_u64()?;
        Some(name(&list[place as usize - 1]))
    };
    list.iter()
        .map(|entry| (name(entry), (of(entry), entry["6"].clone())))
        .collect()
}

pub fn artifacts(direct: &FakeWandb, synced: &FakeWandb) {
    let told = |fake: &FakeWandb| -> Vec<String> {
        let world = fake.world();
        let mut all: Vec<String> = world.artifacts.iter().map(described).collect();
        all.sort();
        all
    };
    assert_eq!(told(synced), told(direct));
    assert_eq!(told(direct).len(), 6);
}

/// Without `local_path`, which `wandb sync` puts into the manifest.
fn described(artifact: &Artifact) -> String {
    let manifest = artifact.manifest.bytes.as_ref().unwrap();
    let mut manifest: Value = serde_json::from_slice(manifest).unwrap();
    for (_, entry) in manifest["contents"].as_object_mut().unwrap() {
        let entry = entry.as_object_mut().unwrap();
        entry.retain(|key, _| matches!(key.as_str(), "digest" | "size"));
    }
    let Artifact {
        run,
        collection,
        kind,
        digest,
        client_id,
        sequence_client_id,
        description,
        metadata,
        aliases,
        committed,
        ..
    } = artifact;
    let files: BTreeMap<_, _> = artifact
        .files
        .iter()
        .map(|(name, file)| (name, &file.md5))
        .collect();
    format!(
        "{collection} {kind} of {run} {digest} {client_id} {sequence_client_id} {description:?} \
         {metadata:?} {aliases:?} {committed} {manifest} {files:?}"
    )
}
