//! The golden run is whole, coherent, and the same every time.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use lem_record::{Envelope, Record, catalogue::METRICS};
use lem_testkit::golden;

#[test]
fn the_log_is_what_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(&folder.path().join("a"));
    let text = String::from_utf8(golden.log()).unwrap();
    let read: Vec<Envelope> = text
        .lines()
        .map(|line| Envelope::decode(line).unwrap())
        .collect();
    assert_eq!(read.len(), golden.envelopes.len());
    assert!(read.iter().zip(&golden.envelopes).all(|(a, b)| *a == **b));
    assert!(
        read.iter()
            .enumerate()
            .all(|(n, envelope)| envelope.n == n as u64)
    );
    assert_eq!(golden.log(), golden::run(&folder.path().join("b")).log());
}

#[test]
fn it_has_every_kind_of_record_and_every_metric() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::run(folder.path());
    let kinds: BTreeSet<&str> = golden.envelopes.iter().map(|e| e.record.kind()).collect();
    assert_eq!(kinds.len(), 11, "{kinds:?}");
    let mut named = BTreeSet::new();
    for envelope in &golden.envelopes {
        match &envelope.record {
            Record::Metric(metric) => drop(named.insert(metric.id.clone())),
            Record::Samples(samples) => {
                samples.check().unwrap();
                named.extend(samples.columns.iter().map(|column| column.metric.clone()));
            }
            Record::Artifact(artifact) => {
                let bytes = std::fs::read(folder.path().join(&artifact.path)).unwrap();
                assert_eq!(bytes.len() as u64, artifact.bytes);
            }
            _ => {}
        }
    }
    let missing: Vec<_> = METRICS
        .iter()
        .filter(|def| !def.id.starts_with("sample.") && !named.contains(def.id))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let unknown: Vec<_> = named
        .iter()
        .filter(|id| lem_record::catalogue::find(id).is_none())
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_killed_run_has_two_cycles_and_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden::killed(folder.path());
    let cycles = golden
        .envelopes
        .iter()
        .filter(|e| matches!(e.record, Record::CycleFinished(_)));
    assert_eq!(cycles.count(), 2);
    assert_eq!(golden.status, None);
}
