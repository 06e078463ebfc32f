#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use lem_record::{Artifact, ArtifactKind, Envelope, Record, RunFinished, RunStatus, Seal, Stamp};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{Report, Verdict, verify};
use crate::analysis;
use crate::results::store;

/// The golden run, closed as lem closes a run.
fn closed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let measured = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/analysis/run.jsonl"
    ));
    let folder = dir.path();
    fs::write(folder.join("records.jsonl"), measured).unwrap();
    let data = store::load(folder)
        .unwrap()
        .with_status(RunStatus::Finished, None);
    store::write_series(folder, &data).unwrap();
    let mut log = Log {
        text: measured.to_owned(),
        n: measured.lines().count() as u64,
        at: data.last_at.unwrap(),
        run: data.run_id.clone(),
    };
    for record in analysis::records(&data, &analysis::analyse(&data)) {
        log.push(record);
    }
    let bytes = fs::read(folder.join("timeseries.parquet")).unwrap();
    log.push(Record::Artifact(Artifact {
        path: "timeseries.parquet".into(),
        artifact: ArtifactKind::Series,
        sha256: hex::encode(Sha256::digest(&bytes)),
        bytes: bytes.len() as u64,
    }));
    log.end(folder);
    dir
}

struct Log {
    text: String,
    n: u64,
    at: Stamp,
    run: String,
}

impl Log {
    fn push(&mut self, record: Record) {
        let envelope = Envelope {
            run: self.run.clone(),
            n: self.n,
            at: self.at,
            record,
        };
        self.n += 1;
        self.text += &envelope.encode().unwrap();
        self.text.push('\n');
    }

    fn end(mut self, folder: &Path) {
        self.push(Record::Seal(Seal {
            sha256: hex::encode(Sha256::digest(&self.text)),
            bytes: self.text.len() as u64,
        }));
        self.push(Record::RunFinished(RunFinished {
            status: RunStatus::Finished,
            reason: None,
            analysis: analysis::VERSION,
        }));
        fs::write(folder.join("records.jsonl"), &self.text).unwrap();
        let result = store::rebuild(folder, Vec::new()).unwrap();
        store::write(folder, &result).unwrap();
    }
}

fn verdict(report: &Report, check: &str) -> Verdict {
    report
        .checks
        .iter()
        .find(|c| c.check == check)
        .unwrap()
        .verdict
}

fn failed(report: &Report) -> Vec<&str> {
    let failed = report
        .checks
        .iter()
        .filter(|c| c.verdict == Verdict::Failed);
    failed.map(|c| c.check).collect()
}

fn edit(folder: &Path, file: &str, edit: impl FnOnce(String) -> String) {
    let path = folder.join(file);
    let text = fs::read_to_string(&path).unwrap();
    let edited = edit(text.clone());
    assert_ne!(text, edited, "the edit changes something");
    fs::write(path, edited).unwrap();
}

#[test]
fn a_run_as_it_was_written_passes_everything() {
    let dir = closed();
    let report = verify(dir.path()).unwrap();
    assert!(report.ok, "{report:#?}");
    let passed = report.checks.iter().all(|c| c.verdict == Verdict::Passed);
    assert!(passed, "{report:#?}");
    assert_eq!(report.checks.len(), 7);
    // Also from another place, and by another path.
    let moved = tempfile::tempdir().unwrap();
    for file in ["records.jsonl", "result.json", "timeseries.parquet"] {
        fs::copy(dir.path().join(file), moved.path().join(file)).unwrap();
    }
    assert!(verify(moved.path()).unwrap().ok);
}

#[test]
fn one_edited_sample_is_found_three_times() {
    let dir = closed();
    edit(dir.path(), "records.jsonl", |log| {
        log.replacen("660.", "560.", 1)
    });
    let report = verify(dir.path()).unwrap();
    assert_eq!(
        failed(&report),
        ["seal", "metrics", "result", "series"],
        "{report:#?}"
    );
    let metrics = report.checks.iter().find(|c| c.check == "metrics").unwrap();
    let told = metrics.found.join("\n");
    assert!(
        told.contains("the log has") && told.contains("the records give"),
        "{told}"
    );
}

#[test]
fn an_edited_result_is_named_by_its_path() {
    let dir = closed();
    edit(dir.path(), "result.json", |result| {
        let value: serde_json::Value = serde_json::from_str(&result).unwrap();
        let joules = value["total_energy_j"]["value"].as_f64().unwrap();
        result.replacen(&joules.to_string(), &(2.0 * joules).to_string(), 1)
    });
    let report = verify(dir.path()).unwrap();
    assert_eq!(failed(&report), ["result"]);
    let result = report.checks.iter().find(|c| c.check == "result").unwrap();
    assert!(result.found[0].contains("_j/value"), "{result:?}");
}

#[test]
fn files_that_were_changed_or_are_gone_are_named() {
    let dir = closed();
    let path = dir.path().join("timeseries.parquet");
    let mut bytes = fs::read(&path).unwrap();
    bytes[1_000] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(failed(&report), ["artifacts", "series"]);
    fs::remove_file(&path).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(failed(&report), ["artifacts", "series"]);
    fs::remove_file(dir.path().join("result.json")).unwrap();
    assert!(failed(&verify(dir.path()).unwrap()).contains(&"result"));
}

#[test]
fn torn_cut_and_reordered_logs_fail() {
    let dir = closed();
    let whole = fs::read_to_string(dir.path().join("records.jsonl")).unwrap();
    let path = dir.path().join("records.jsonl");
    // Without its last bytes: the run never ended.
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(verdict(&report, "log"), Verdict::Failed);
    assert_eq!(verdict(&report, "result"), Verdict::Skipped);
    // Without a record in the middle.
    let mut lines: Vec<&str> = whole.lines().collect();
    let span = lines.iter().position(|l| l.contains("\"phase\"")).unwrap();
    let taken = lines.remove(span);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(&failed(&report)[..2], ["log", "seal"], "{report:#?}");
    // With it put elsewhere.
    lines.insert(3, taken);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    assert!(failed(&verify(dir.path()).unwrap()).contains(&"log"));
    // A line that is no record.
    fs::write(&path, whole.replacen("{\"run\"", "{\"ran\"", 3)).unwrap();
    match verify(dir.path()) {
        Err(why) => assert!(why.contains("does not tell how its run started"), "{why}"),
        Ok(report) => assert!(!report.ok),
    }
}

#[test]
fn a_record_with_an_impossible_time_fails() {
    let dir = closed();
    edit(dir.path(), "records.jsonl", |log| {
        let lines: Vec<String> = log
            .lines()
            .map(|line| match line.contains("\"n\":20,") {
                true => {
                    let from = line.find("\"mono_ns\":").unwrap() + "\"mono_ns\":".len();
                    let to = from + line[from..].find(',').unwrap();
                    format!("{}1{}", &line[..from], &line[to..])
                }
                false => line.to_owned(),
            })
            .collect();
        lines.join("\n") + "\n"
    });
    assert!(failed(&verify(dir.path()).unwrap()).contains(&"clock"));
}

#[test]
fn other_formulas_are_told_and_are_no_fault() {
    let dir = closed();
    edit(dir.path(), "records.jsonl", |log| {
        let own = format!("\"analysis\":{}}}", analysis::VERSION);
        log.replacen(&own, "\"analysis\":4000000}", 1)
    });
    edit(dir.path(), "result.json", |result| {
        let own = format!("\"analysis\": {}", analysis::VERSION);
        result.replacen(&own, "\"analysis\": 4000000", 1)
    });
    let report = verify(dir.path()).unwrap();
    assert!(report.ok, "{report:#?}");
    assert_eq!(verdict(&report, "result"), Verdict::Noted);
    assert_eq!(report.recorded_analysis, Some(4_000_000));
}

#[test]
fn a_log_without_a_seal_and_a_path_that_leads_out() {
    let dir = closed();
    edit(dir.path(), "records.jsonl", |log| {
        let kept: Vec<&str> = log
            .lines()
            .map(|line| match line.contains("\"kind\":\"seal\"") {
                // Numbers stay without a gap.
                true => "",
                false => line,
            })
            .collect();
        kept.join("\n").replace(
            "\"path\":\"timeseries.parquet\"",
            "\"path\":\"../../etc/passwd\"",
        ) + "\n"
    });
    let report = verify(dir.path()).unwrap();
    assert_eq!(verdict(&report, "seal"), Verdict::Skipped);
    let artifacts = report
        .checks
        .iter()
        .find(|c| c.check == "artifacts")
        .unwrap();
    assert!(
        artifacts.found[0].contains("it was not read"),
        "{artifacts:?}"
    );
}

#[test]
fn what_is_no_run_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(verify(dir.path()).unwrap_err().contains("records.jsonl"));
    fs::write(dir.path().join("records.jsonl"), "").unwrap();
    assert!(verify(dir.path()).is_err());
}
