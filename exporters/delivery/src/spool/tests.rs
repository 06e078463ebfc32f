#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};

use lem_record::{
    Attributes, Column, Histogram, How, Interval, Metric, MetricValue, RunFinished, RunStatus,
    Samples, Uncertainty, Warning,
};
use tempfile::TempDir;

use super::*;
use crate::log::{LogReader, Standing};

fn started() -> RunStarted {
    lem_testkit::golden::started()
}

fn warning(text: &str) -> Record {
    Record::Warning(Warning {
        code: "test".to_owned(),
        message: text.to_owned(),
        remedy: String::new(),
    })
}

fn new() -> (TempDir, PathBuf, Spool) {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("runs").join("r1");
    let spool = Spool::create(&folder, "r1", started()).unwrap();
    (scratch, folder, spool)
}

fn messages(folder: &Path) -> Vec<String> {
    let records = LogReader::open(folder)
        .unwrap()
        .map(|entry| entry.unwrap().envelope.record);
    let texts = records.filter_map(|record| match record {
        Record::Warning(warning) => Some(warning.message),
        _ => None,
    });
    texts.collect()
}

#[test]
fn a_run_is_written_and_read_back() {
    let (_scratch, folder, spool) = new();
    let log = Log::read(&folder).unwrap();
    assert_eq!(
        log.standing,
        Standing::Running {
            pid: Some(std::process::id())
        }
    );
    assert_eq!((log.next, log.run.as_str()), (1, "r1"));

    spool.record(warning("one\nline"));
    spool.record(warning("two"));
    assert!(
        messages(&folder).is_empty(),
        "nothing is written before a commit"
    );
    spool.commit().unwrap();
    spool.commit().unwrap();
    assert_eq!(messages(&folder), ["one\nline", "two"]);
    assert_eq!(spool.next_number(), 3);
    spool.record(Record::RunFinished(RunFinished {
        status: RunStatus::Finished,
        reason: None,
        analysis: 1,
    }));
    spool.commit().unwrap();
    drop(spool);
    let log = Log::read(&folder).unwrap();
    assert_eq!(log.standing, Standing::Ended(RunStatus::Finished));
    assert!(log.facts.clean(), "{:?}", log.facts);
    // nothing is left beside the log and the lock
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["lock", "records.jsonl"]);
    assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_run_is_never_overwritten_and_has_one_owner() {
    let (_scratch, folder, spool) = new();
    let again = Spool::create(&folder, "r1", started()).unwrap_err();
    assert!(matches!(again, SpoolError::Exists { .. }), "{again}");
    let second = Spool::reopen(&folder).unwrap_err();
    assert!(
        matches!(second, SpoolError::Lock(LockError::Locked { .. })),
        "{second}"
    );
    drop(spool);
    Spool::reopen(&folder).unwrap();
}

#[test]
fn a_folder_that_is_there_already_is_used() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("notes.txt"), "mine").unwrap();
    let spool = Spool::create(scratch.path(), "r1", started()).unwrap();
    drop(spool);
    assert_eq!(
        Log::read(scratch.path()).unwrap().standing,
        Standing::Killed
    );
    assert_eq!(
        fs::read_to_string(scratch.path().join("notes.txt")).unwrap(),
        "mine"
    );
}

#[test]
fn a_killed_run_is_taken_over_behind_its_last_whole_line() {
    let (_scratch, folder, spool) = new();
    spool.record(warning("kept"));
    spool.commit().unwrap();
    spool.record(warning("lost with the process"));
    drop(spool);
    let path = folder.join(RECORDS_FILE);
    let whole = fs::read(&path).unwrap();
    for torn in [&b"{\"run\":\"r1\",\"n\":2,\"mono"[..], &[0; 4096], b"{"] {
        fs::write(&path, [&whole, torn].concat()).unwrap();
        let log = Log::read(&folder).unwrap();
        assert_eq!(log.standing, Standing::Killed);
        assert_eq!(log.facts.torn.unwrap().bytes, torn.len() as u64);
        let (spool, log) = Spool::reopen(&folder).unwrap();
        assert_eq!((log.next, spool.next_number()), (2, 2));
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    let (spool, _) = Spool::reopen(&folder).unwrap();
    spool.record(warning("after"));
    spool.commit().unwrap();
    assert_eq!(messages(&folder), ["kept", "after"]);
    assert!(Log::read(&folder).unwrap().facts.clean());
}

#[test]
fn folders_that_hold_no_run_are_told_apart() {
    let scratch = tempfile::tempdir().unwrap();
    let error = Spool::reopen(scratch.path()).unwrap_err().to_string();
    assert!(
        error.contains("holds no run") && error.contains("<run id>"),
        "{error}"
    );
    assert!(!scratch.path().join("lock").exists());
    fs::write(scratch.path().join(RECORDS_FILE), "").unwrap();
    let error = Log::read(scratch.path()).unwrap_err();
    assert!(matches!(error, LogError::NoStart { .. }), "{error}");
    fs::write(scratch.path().join(RECORDS_FILE), "\u{0}garbage\n[]\n").unwrap();
    let error = Log::read(scratch.path()).unwrap_err().to_string();
    assert!(error.contains("line 1"), "{error}");
}

#[test]
fn what_json_cannot_hold_is_said_in_words() {
    let (_scratch, folder, spool) = new();
    let nan = f64::NAN;
    let metric = |value| Metric {
        id: "energy.total".to_owned(),
        attributes: Attributes::new(),
        value,
        t_ns: 1,
        cycle: None,
        how: How::Measured,
        uncertainty: Some(Uncertainty {
            expanded: nan,
            k: 2.0,
            systematic: None,
            statistical: None,
        }),
        interval: Some(Interval {
            low: f64::NEG_INFINITY,
            high: 1.0,
            level: 0.95,
        }),
        method: None,
    };
    let histogram = Histogram {
        bounds: vec![1.0],
        counts: vec![0, 0],
        count: 0,
        sum: 0.0,
        min: nan,
        max: nan,
        mean: nan,
        p50: nan,
        p90: nan,
        p99: nan,
    };
    spool.record(Record::Metric(metric(MetricValue::Number(f64::INFINITY))));
    spool.record(Record::Metric(metric(MetricValue::Histogram(Box::new(
        histogram,
    )))));
    let column = |values| Column {
        metric: "sample.power".to_owned(),
        attributes: BTreeMap::new(),
        how: How::Measured,
        values,
    };
    let samples = |values| Samples {
        source: "gpu0".to_owned(),
        t_ns: vec![1, 2],
        columns: vec![column(values)],
    };
    spool.record(Record::Samples(samples(vec![Some(nan), Some(1.0)])));
    spool.record(Record::Samples(samples(vec![Some(1.0)])));
    spool.commit().unwrap();

    let read: Vec<Record> = LogReader::open(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().envelope.record)
        .collect();
    assert_eq!(read.len(), 5);
    for record in &read[1..3] {
        let Record::Metric(metric) = record else {
            panic!("{record:?}")
        };
        assert!(matches!(&metric.value, MetricValue::Absent(why) if why.contains("came out")));
        assert_eq!((&metric.uncertainty, &metric.interval), (&None, &None));
    }
    let Record::Samples(samples) = &read[3] else {
        panic!("{:?}", read[3])
    };
    assert_eq!(samples.columns[0].values, [None, Some(1.0)]);
    assert!(matches!(&read[4], Record::Warning(w) if w.message.contains("1 values for 2 times")));
}

#[test]
fn a_disk_that_fails_loses_nothing() {
    let (_scratch, folder, spool) = new();
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let path = folder.join(RECORDS_FILE);
    let real = std::mem::replace(&mut spool.writer.lock().unwrap().file, full);
    spool.record(warning("one"));
    let error = spool.commit().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    let text = error.to_string();
    assert!(
        text.contains("1 records") && text.contains("free some space"),
        "{text}"
    );
    spool.record(warning("two"));
    assert!(
        spool
            .commit()
            .unwrap_err()
            .to_string()
            .contains("2 records")
    );
    assert!(messages(&folder).is_empty());

    // a half line that could not be cut off
    spool.writer.lock().unwrap().file = real;
    let mut log = OpenOptions::new().append(true).open(&path).unwrap();
    io::Write::write_all(&mut log, b"{\"run\":\"r1\",\"n\":1,\"mo").unwrap();
    spool.record(warning("three"));
    spool.commit().unwrap();
    assert_eq!(messages(&folder), ["one", "two", "three"]);
    let log = Log::read(&folder).unwrap();
    assert_eq!((log.facts.skipped, log.facts.missing, log.next), (1, 0, 4));
    let length = fs::metadata(&path).unwrap().len();
    assert_eq!(
        spool.gate.view().position,
        Position {
            bytes: length,
            next: 4
        }
    );
}
