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
    runs.add("sweep/points/c", 30.0);
    fs::create_dir_all(runs.path().join("no-run/x/y/z")).unwrap();
    fs::create_dir_all(runs.path().join(".hidden")).unwrap();
    assert_eq!(runs.ids(&[], &["energy.total"]), ["b", "c", "a"]);
    assert_eq!(runs.ids(&[], &["energy.total:desc"]), ["a", "c", "b"]);
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
    assert_eq!((answer.runs, answer.matched), (3, 1));
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
