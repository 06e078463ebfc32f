//! The index is a cache: with it, without it and with a broken one the answers are the same.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{FILE, Index};
use crate::analysis::testing::{T0, TestLog};
use crate::analysis::{RunData, analyse};
use crate::results::query::{Answer, Query, ask};
use crate::results::{build, store};

struct Runs {
    dir: tempfile::TempDir,
}

impl Runs {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A run's folder as a measurement leaves it: log and result.
    fn add(&self, path: &str, watts: f64) -> PathBuf {
        let folder = self.path().join(path);
        let id = folder.file_name().unwrap().to_str().unwrap().to_owned();
        fs::create_dir_all(&folder).unwrap();
        let mut log = TestLog::modelled();
        log.cycle(0, T0, watts);
        let lines: Vec<String> = log
            .envelopes
            .iter()
            .map(|envelope| {
                let mut envelope = envelope.clone();
                envelope.run.clone_from(&id);
                envelope.encode().unwrap() + "\n"
            })
            .collect();
        fs::write(folder.join("records.jsonl"), lines.concat()).unwrap();
        let data =
            RunData::from_log(&log.envelopes).with_status(lem_record::RunStatus::Finished, None);
        let mut result = build(&data, &analyse(&data), Vec::new(), &folder);
        result.run_id = id;
        store::write(&folder, &result).unwrap();
        folder
    }

    fn ask(&self, columns: &[&str], filters: &[&str], sort: &[&str]) -> Answer {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let mut index = Index::open(self.path(), &mut |_| {}).unwrap();
        let query = Query {
            filters: owned(filters),
            sort: owned(sort),
            columns: owned(columns),
            limit: None,
        };
        ask(&mut index, &query).unwrap()
    }

    fn ids(&self, filters: &[&str], sort: &[&str]) -> Vec<String> {
        let answer = self.ask(&["id"], filters, sort);
        answer
            .hits
            .iter()
            .map(|hit| hit.values[0].as_str().unwrap().to_owned())
            .collect()
    }
}

fn to_read(root: &Path) -> usize {
    let mut read = 0;
    Index::open(root, &mut |n| read = n).unwrap();
    read
}

#[test]
fn runs_are_found_nested_filtered_and_sorted() {
    let runs = Runs::new();
    runs.add("a", 40.0);
    runs.add("b", 20.0);
    // A sweep has a log of its own, and its points below it.
    fs::create_dir_all(runs.path().join("sweep")).unwrap();
    for (name, text) in [("plan.json", "{}"), ("records.jsonl", "")] {
        fs::write(runs.path().join("sweep").join(name), text).unwrap();
    }
    runs.add("sweep/points/c", 30.0);
    fs::create_dir_all(runs.path().join("no-run/x/y/z")).unwrap();
    fs::create_dir_all(runs.path().join(".hidden")).unwrap();
    let points = ["id~."];
    assert_eq!(runs.ids(&points, &["energy.total"]), ["b", "c", "a"]);
    assert_eq!(runs.ids(&points, &["energy.total:desc"]), ["a", "c", "b"]);
    assert_eq!(
        runs.ids(&["energy.total<45", "status=finished"], &["id"]),
        ["b", "c"]
    );
    assert_eq!(runs.ids(&["folder~points"], &["id"]), ["c"]);
    assert_eq!(runs.ids(&["config.max_output_tokens=5"], &["id"]).len(), 3);
    let answer = runs.ask(
        &["total_energy_j", "decode_energy_j.how", "latency.queue"],
        &["id=b"],
        &[],
    );
    assert_eq!(
        answer.hits[0].values,
        [json!(30.0), json!("modelled"), Value::Null]
    );
    assert_eq!((answer.runs, answer.matched), (4, 1));
    let found = |root: &Path| -> Vec<String> {
        let found = super::scan::scan(root).unwrap();
        found.into_iter().map(|f| f.path).collect()
    };
    assert_eq!(found(runs.path()), ["a", "b", "sweep", "sweep/points/c"]);
    // One level above, and with a link that leads in a circle.
    let above = tempfile::tempdir().unwrap();
    let inside = above.path().join("runs");
    fs::rename(runs.path(), &inside).unwrap();
    std::os::unix::fs::symlink(inside.join("sweep"), inside.join("sweep/points/z")).unwrap();
    assert_eq!(
        found(above.path()),
        [
            "runs/a",
            "runs/b",
            "runs/sweep",
            "runs/sweep/points/c",
            "runs/sweep/points/z"
        ]
    );
}

#[test]
fn a_result_from_before_the_run_was_resumed_is_not_shown() {
    let runs = Runs::new();
    let folder = runs.add("a", 40.0);
    let log = folder.join("records.jsonl");
    let mut text = fs::read_to_string(&log).unwrap();
    let status = || runs.ask(&["status"], &[], &[]).hits[0].values[0].clone();
    let mut push = |line: &str| {
        text.push_str(line);
        text.push('\n');
        fs::write(&log, &text).unwrap();
    };
    // An end, later than the result was written: the result is of this end.
    push(
        r#"{"run":"a","n":900,"mono_ns":9,"unix_ns":9,"kind":"run_finished","data":{"status":"finished"}}"#,
    );
    assert!(super::is_current(&folder));
    assert_eq!(status(), "finished");
    push(
        r#"{"run":"a","n":901,"mono_ns":9,"unix_ns":9,"kind":"metric","data":{"note":"\"kind\":\"resumed\""}}"#,
    );
    assert!(super::is_current(&folder), "a text is no record");
    push(
        r#"{"run":"a","n":902,"mono_ns":9,"unix_ns":9,"kind":"resumed","data":{"hostname":"h","pid":1,"boot_id":"b","cycles":1}}"#,
    );
    assert!(!super::is_current(&folder));
    assert_ne!(status(), "finished", "the index has another stamp");
    // It goes on: it is read again each time.
    let _lock = lem_delivery::RunLock::acquire(&folder).unwrap();
    fs::write(&log, &text).unwrap();
    assert_eq!(status(), "running");
    assert_eq!(to_read(runs.path()), 1);
}

#[test]
fn a_result_with_too_many_fields_is_one_problem_and_no_burden_to_the_others() {
    let runs = Runs::new();
    runs.add("a", 40.0);
    let many: Vec<u32> = (0..30_000).collect();
    let wide = json!({"schema_version": "3.0.0", "status": "finished", "config": {"x": many}});
    fs::write(runs.path().join("wide.v3.json"), wide.to_string()).unwrap();
    let long: Vec<String> = (0..6_000).map(|n| format!("{n:01000}")).collect();
    let long = json!({"schema_version": "3.0.0", "status": "finished", "config": {"x": long}});
    fs::write(runs.path().join("long.v3.json"), long.to_string()).unwrap();
    let answer = runs.ask(&["status", "problem"], &["problem~."], &["folder"]);
    assert_eq!((answer.unreadable, answer.hits.len()), (2, 2));
    for hit in answer.hits {
        assert_eq!(hit.values[0], Value::Null);
        let told = hit.values[1].as_str().unwrap();
        assert!(told.contains("more fields than any result"), "{told}");
    }
    assert!(fs::metadata(runs.path().join(FILE)).unwrap().len() < 1 << 20);
    assert_eq!(runs.ids(&["status=finished"], &[]), ["a"]);
}

#[test]
fn what_the_index_leaves_out_is_read_from_the_result() {
    let runs = Runs::new();
    runs.add("a", 40.0);
    runs.add("b", 20.0);
    let answer = runs.ask(
        &[
            "id",
            "cycles.0.duration_s",
            "total_energy_j.uncertainty.expanded",
            "cycles.7.duration_s",
        ],
        &["cycles.0.total_energy_j<40"],
        &[],
    );
    assert_eq!(answer.matched, 1);
    let values = &answer.hits[0].values;
    assert_eq!(
        (&values[0], &values[1], &values[3]),
        (&json!("b"), &json!(1.0), &Value::Null)
    );
    assert!(values[2].as_f64().unwrap() > 0.0);
}

#[test]
fn only_what_is_new_or_changed_is_read_again() {
    let runs = Runs::new();
    for name in ["a", "b", "c"] {
        runs.add(name, 40.0);
    }
    assert_eq!(to_read(runs.path()), 3);
    assert_eq!(to_read(runs.path()), 0);
    runs.add("d", 10.0);
    let changed = runs.add("b", 15.0);
    assert_eq!(to_read(runs.path()), 2);
    fs::remove_dir_all(runs.path().join("a")).unwrap();
    assert_eq!(to_read(runs.path()), 0);
    assert_eq!(runs.ids(&[], &["energy.total"]), ["d", "b", "c"]);
    // A delivery changes what is owed.
    let cursor = lem_delivery::Cursor::new("b", "http://x");
    cursor.save(&changed, "mlflow").unwrap();
    assert_eq!(runs.ids(&["owed=mlflow"], &[]), ["b"]);
}

#[test]
fn a_torn_a_foreign_and_no_index_give_the_same() {
    let runs = Runs::new();
    for (name, watts) in [("a", 40.0), ("b", 20.0), ("c", 30.0)] {
        runs.add(name, watts);
    }
    let good = runs.ids(&[], &["energy.total"]);
    let file = runs.path().join(FILE);
    let whole = fs::read(&file).unwrap();
    let mut texts: Vec<Vec<u8>> = (0..whole.len())
        .step_by(97)
        .map(|n| whole[..n].to_vec())
        .collect();
    texts.push(b"\0\xff\n".to_vec());
    texts.push(
        String::from_utf8(whole.clone())
            .unwrap()
            .replacen("\"lem_index\":3", "\"lem_index\":9", 1)
            .into_bytes(),
    );
    texts.push(
        String::from_utf8(whole.clone())
            .unwrap()
            .replacen("{\"end\":3}", "{\"end\":4}", 1)
            .into_bytes(),
    );
    // A digit that another wrote over.
    let mut changed = whole.clone();
    let digit = changed
        .windows(6)
        .position(|w| w == b"=true]" || w.ends_with(b",30.0"))
        .unwrap_or(whole.len() / 2);
    changed[digit + 3] = if changed[digit + 3] == b'3' {
        b'4'
    } else {
        b'3'
    };
    texts.push(changed);
    for text in texts {
        fs::write(&file, &text).unwrap();
        assert_eq!(runs.ids(&[], &["energy.total"]), good);
        assert_eq!(
            fs::read(&file).unwrap().len(),
            whole.len(),
            "it is whole again"
        );
    }
    fs::remove_file(&file).unwrap();
    assert_eq!(runs.ids(&[], &["energy.total"]), good);
    // A folder where the file should be, and none may be written.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(runs.ids(&[], &["energy.total"]), good);
    fs::remove_dir(&file).unwrap();
    let mode = |mode| fs::set_permissions(runs.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runs.ids(&[], &["energy.total"])
    }));
    mode(0o755);
    assert_eq!(answer.unwrap(), good);
}

#[test]
fn a_run_without_a_usable_result_is_shown_by_its_log_and_what_cannot_be_read_is_told() {
    let runs = Runs::new();
    let torn = runs.add("torn", 40.0);
    fs::write(
        torn.join("result.json"),
        "{\"schema_version\": \"3.0.0\", \"status\": \"fin",
    )
    .unwrap();
    let empty = runs.add("empty", 40.0);
    fs::remove_file(empty.join("result.json")).unwrap();
    fs::write(empty.join("records.jsonl"), "").unwrap();
    fs::write(runs.path().join("old.v3.json"), "{}").unwrap();
    let answer = runs.ask(
        &["folder", "status", "num_cycles", "problem"],
        &[],
        &["folder"],
    );
    assert_eq!(answer.unreadable, 2);
    let [empty, old, torn] = answer.hits.as_slice() else {
        panic!("{answer:?}")
    };
    assert_eq!(&torn.values[1..], [json!("killed"), json!(1), Value::Null]);
    assert!(
        empty.values[3]
            .as_str()
            .unwrap()
            .contains("does not tell how its run started")
    );
    assert!(
        old.values[3]
            .as_str()
            .unwrap()
            .contains("no result of version 3")
    );
}

#[test]
fn many_at_once_do_not_spoil_it() {
    let runs = Runs::new();
    for i in 0..8 {
        runs.add(&format!("r{i}"), 40.0);
    }
    std::thread::scope(|scope| {
        for n in 0..6 {
            let runs = &runs;
            scope.spawn(move || {
                for i in 0..4 {
                    runs.add(&format!("t{n}-{i}"), 10.0);
                    assert!(runs.ask(&["id"], &[], &[]).matched >= 8);
                }
            });
        }
    });
    assert_eq!(runs.ids(&[], &["id"]).len(), 8 + 24);
    assert_eq!(to_read(runs.path()), 0);
    let left = fs::read_dir(runs.path()).unwrap().flatten();
    assert!(
        !left
            .into_iter()
            .any(|e| e.file_name().to_string_lossy().ends_with(".new"))
    );
}
