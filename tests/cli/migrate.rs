//! `lem results migrate`: folders of version 2, good and bad files together.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Bench, stderr};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v2")
}

/// A `results` folder as an installation of version 2 left it.
fn results(bench: &Bench) -> PathBuf {
    let results = bench.path().join("results");
    let raw = results.join("raw/0042");
    fs::create_dir_all(&raw).unwrap();
    fs::create_dir_all(results.join("aggregated")).unwrap();
    fs::copy(data().join("raw.json"), raw.join("process_0.json")).unwrap();
    fs::write(raw.join(".completed_0"), "done").unwrap();
    fs::copy(
        data().join("agg.json"),
        results.join("aggregated/0042.json"),
    )
    .unwrap();
    fs::copy(
        data().join("multi_cycle.json"),
        results.join("0042_multi_cycle.json"),
    )
    .unwrap();
    results
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if path.is_file() {
                files.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_folder_migrates_to_the_same_places_and_is_not_touched() {
    let bench = Bench::new();
    let before = tree(&results(&bench));
    let out = bench.verb(&["results", "migrate", "results", "--format", "json"], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&report["migrated"], &report["refused"], &report["ignored"]),
        (&3.into(), &0.into(), &1.into())
    );
    assert_eq!(tree(&bench.path().join("results")), before);
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/result.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (old, new) in [
        ("raw/0042/process_0.json", "raw/0042/process_0.v3.json"),
        ("aggregated/0042.json", "aggregated/0042.v3.json"),
        ("0042_multi_cycle.json", "0042_multi_cycle.v3.json"),
    ] {
        let migrated = json(&bench.path().join("lem-migrated").join(new));
        let wrong: Vec<_> = validator
            .iter_errors(&migrated)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{new}: {wrong:#?}");
        assert_eq!(
            migrated["legacy"],
            json(&bench.path().join("results").join(old))
        );
        assert_eq!(migrated["migration"]["source"], old);
        let entry = report["files"]
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["source"] == old)
            .unwrap();
        assert_eq!(entry["counts"], migrated["migration"]["counts"]);
        assert_eq!(entry["written"], true);
    }
    // Again: nothing changes; and what was migrated is no input.
    let first = tree(&bench.path().join("lem-migrated"));
    let again = bench.verb(&["results", "migrate", "."], &[]);
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(
        again.status.code(),
        Some(1),
        "the model's config.json is foreign: {told}"
    );
    let again = bench.verb(&["results", "migrate", "results"], &[]);
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert_eq!(again.status.code(), Some(0), "{told}");
    assert_eq!(told.matches("stood there").count(), 3, "{told}");
    let now: Vec<_> = tree(&bench.path().join("lem-migrated"))
        .into_iter()
        .filter(|(path, _)| !path.to_string_lossy().contains("lem-migrated/results"))
        .collect();
    assert_eq!(now, first);
}

#[test]
fn bad_files_are_refused_one_by_one_and_the_rest_goes_on() {
    let bench = Bench::new();
    let results = results(&bench);
    let raw = fs::read_to_string(data().join("raw.json")).unwrap();
    let bad = results.join("bad");
    fs::create_dir(&bad).unwrap();
    let nested = "[".repeat(5_000_000) + &"]".repeat(5_000_000);
    for (name, bytes, code) in [
        (
            "torn.json",
            raw.as_bytes()[..raw.len() / 2].to_vec(),
            "torn",
        ),
        ("empty.json", Vec::new(), "torn"),
        (
            "nan.json",
            raw.replace("4.3", "NaN").into_bytes(),
            "not-a-number",
        ),
        ("nested.json", nested.into_bytes(), "hostile"),
        (
            "latin1.json",
            b"{\"experiment_id\": \"caf\xe9\"}".to_vec(),
            "text",
        ),
        (
            "twice.json",
            raw.replacen('{', "{\"gpu_id\": 7,", 1).into_bytes(),
            "ambiguous",
        ),
        (
            "package.json",
            b"{\"name\": \"x\", \"version\": \"1.0.0\"}".to_vec(),
            "foreign",
        ),
        ("list.json", b"[1, 2, 3]".to_vec(), "foreign"),
        ("binary.json", vec![0x89, b'P', b'N', b'G', 0, 0xff], "text"),
    ] {
        fs::write(bad.join(format!("{code}_{name}")), bytes).unwrap();
    }
    symlink(&results, bad.join("circle")).unwrap();
    symlink("/nowhere.json", bad.join("unreadable_gone.json")).unwrap();
    let before = tree(&results);
    let out = bench.verb(
        &[
            "results", "migrate", "results", "--out", "new", "--format", "json",
        ],
        &[],
    );
    assert_eq!(out.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&report["migrated"], &report["refused"]),
        (&3.into(), &10.into())
    );
    for entry in report["files"].as_array().unwrap() {
        let source = entry["source"].as_str().unwrap();
        let Some(name) = source.strip_prefix("bad/") else {
            assert_eq!(entry["status"], "migrated", "{entry}");
            continue;
        };
        assert_eq!(entry["status"], "refused");
        assert!(name.starts_with(entry["code"].as_str().unwrap()), "{entry}");
        assert!(
            entry["what"].as_str().unwrap().len() > 10
                && entry["remedy"].as_str().unwrap().len() > 10
        );
    }
    assert_eq!(tree(&results), before);
    assert_eq!(tree(&bench.path().join("new")).len(), 3);
    let table = bench.verb(&["results", "migrate", "results", "--out", "new"], &[]);
    let told = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        told.contains("refused: bad/torn_torn.json (torn): it ends early, at line"),
        "{told}"
    );
    assert!(
        told.contains(
            "3 migrated to new, 0 were of version 3 already, 10 refused, 2 other files ignored"
        ),
        "{told}"
    );
}

#[test]
fn another_file_is_never_written_over_unless_told_to() {
    let bench = Bench::new();
    fs::copy(data().join("raw.json"), bench.path().join("0042.json")).unwrap();
    fs::copy(data().join("early.json"), bench.path().join("0042.txt")).unwrap();
    fs::create_dir(bench.path().join("out")).unwrap();
    let target = bench.path().join("out/0042.v3.json");
    fs::write(&target, "mine").unwrap();
    let migrate = |more: &[&str]| {
        bench.verb(
            &[&["results", "migrate", "0042.json", "--out", "out"], more].concat(),
            &[],
        )
    };
    let out = migrate(&[]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stdout).contains("--force"));
    assert_eq!(fs::read(&target).unwrap(), b"mine");
    assert_eq!(migrate(&["--force"]).status.code(), Some(0));
    assert_eq!(json(&target)["migration"]["shape"], "raw");
    // Two files that would have the same name: the second is refused, even so.
    let both = migrate(&["0042.txt", "--force"]);
    assert_eq!(both.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&both.stdout).contains("made of another file just now"));
}

#[test]
fn a_wrong_call_is_told_before_anything_is_done() {
    let bench = Bench::new();
    results(&bench);
    fs::create_dir(bench.path().join("nothing")).unwrap();
    for (args, told) in [
        (&["results", "nowhere"][..], "nowhere cannot be read"),
        (&["nothing"], "there is no JSON file"),
        (&["results", "--zone", "Mars/Olympus"], "is no time zone"),
        (&[], "OLD"),
    ] {
        let out = bench.verb(&[&["results", "migrate"], args].concat(), &[]);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(stderr(&out).contains(told), "{}", stderr(&out));
    }
    assert!(!bench.path().join("lem-migrated").exists());
    let out = bench.verb(&["results", "migrate", "results", "--zone", "UTC"], &[]);
    assert_eq!(out.status.code(), Some(0));
    let raw = json(&bench.path().join("lem-migrated/raw/0042/process_0.v3.json"));
    assert_eq!(raw["started"], "2026-01-24T15:00:00.123Z");
}
