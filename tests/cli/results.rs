//! A folder of runs: listed, found, compared, put together, removed.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::{Bench, run_dir, stderr};

fn stdout(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn results(bench: &Bench, args: &[&str], code: i32) -> Output {
    let args: Vec<&str> = ["results"].iter().chain(args).copied().collect();
    let out = bench.verb(&args, &[]);
    assert_eq!(
        out.status.code(),
        Some(code),
        "{args:?}: {}{}",
        stdout(&out),
        stderr(&out)
    );
    out
}

fn rows(bench: &Bench, args: &[&str]) -> Vec<Value> {
    let args: Vec<&str> = args.iter().chain(&["--format", "json"]).copied().collect();
    serde_json::from_slice(&results(bench, &args, 0).stdout).unwrap()
}

/// Two runs of a name each, with different batches.
fn two() -> (Bench, [PathBuf; 2]) {
    let bench = Bench::new();
    let run = |name: &str, batch: &str| {
        let set = format!("batching.batch_size={batch}");
        run_dir(&bench.result(&["--name", name, "--set", &set], 0))
    };
    let runs = [run("first", "1"), run("second", "4")];
    (bench, runs.map(|run| Path::new(&run).to_owned()))
}

fn id(run: &Path) -> String {
    run.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn runs_are_listed_filtered_and_in_every_format() {
    let (bench, [first, second]) = two();
    let listed = rows(&bench, &["list", "--sort", "batch_size"]);
    let ids: Vec<&str> = listed
        .iter()
        .map(|row| row["run_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [id(&first), id(&second)]);
    let large = rows(
        &bench,
        &[
            "list",
            "--filter",
            "batching.batch_size>=2",
            "--columns",
            "name,energy.total",
        ],
    );
    assert_eq!((large.len(), &large[0]["name"]), (1, &"second".into()));
    assert!(large[0]["energy.total"].as_f64().unwrap() > 0.0);
    // The index changes nothing but time.
    assert!(bench.path().join("lem-runs/.lem-index.jsonl").is_file());
    std::fs::remove_file(bench.path().join("lem-runs/.lem-index.jsonl")).unwrap();
    assert_eq!(rows(&bench, &["list", "--sort", "batch_size"]), listed);
    for (format, sign) in [
        ("csv", "name,status\r\n"),
        ("markdown", "| name | status |"),
        ("latex", "\\toprule"),
    ] {
        let out = results(
            &bench,
            &["list", "--columns", "name,status", "--format", format],
            0,
        );
        assert!(stdout(&out).contains(sign), "{}", stdout(&out));
    }
    let wrong = results(&bench, &["list", "--filter", "decode_enrgy_j<1"], 2);
    assert!(
        stderr(&wrong).contains("did you mean `decode_energy_j`"),
        "{}",
        stderr(&wrong)
    );
    let old = results(&bench, &["list", "--columns", "avg_energy_per_token_j"], 0);
    assert!(
        stderr(&old).contains("is now `energy_per_output_token_j`"),
        "{}",
        stderr(&old)
    );
}

#[test]
fn a_run_is_found_by_id_its_beginning_and_name() {
    let (bench, [first, second]) = two();
    let shown = |run: &str| {
        let out = results(&bench, &["show", run, "--field", "name"], 0);
        stdout(&out).trim().to_owned()
    };
    assert_eq!(shown(&id(&first)), "first");
    assert_eq!(shown("second"), "second");
    assert_eq!(shown(first.to_str().unwrap()), "first");
    let common: String = id(&first)
        .chars()
        .zip(id(&second).chars())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a)
        .collect();
    let ambiguous = results(&bench, &["show", &common], 2);
    let told = stderr(&ambiguous);
    assert!(
        told.contains(&id(&first)) && told.contains(&id(&second)),
        "{told}"
    );
    assert!(stderr(&results(&bench, &["show", "no-such-run"], 2)).contains("lem results list"));
    let absent = results(&bench, &["show", "first", "--field", "flops.measured"], 1);
    assert!(
        stderr(&absent).contains("no profiler counted them"),
        "{}",
        stderr(&absent)
    );
    let csv = stdout(&results(&bench, &["show", "first", "--format", "csv"], 0));
    assert!(
        csv.contains("Energy per output token,") && csv.contains(",modelled"),
        "{csv}"
    );
}

#[test]
fn runs_are_compared() {
    let (bench, _) = two();
    let out = results(
        &bench,
        &["compare", "first", "second", "--format", "json"],
        0,
    );
    let compared: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(compared["parameters"][0]["key"], "batching.batch_size");
    let rows = compared["metrics"].as_array().unwrap();
    let energy = rows.iter().find(|m| m["path"] == "total_energy_j").unwrap();
    let ratio = energy["values"][1].as_f64().unwrap() / energy["values"][0].as_f64().unwrap();
    assert!((energy["compared"][0]["ratio"].as_f64().unwrap() - ratio).abs() < 1e-9 * ratio);
    assert!(
        compared["method"][1]
            .as_str()
            .unwrap()
            .contains("same sensors"),
        "{compared}"
    );
    let table = stdout(&results(&bench, &["compare", "first", "second"], 0));
    assert!(
        table.contains("Parameters that differ") && table.contains("B/A"),
        "{table}"
    );
    assert!(stderr(&results(&bench, &["compare", "first", "first"], 2)).contains("given twice"));
}

#[test]
fn processes_are_put_together_and_their_logs_stay() {
    let (bench, [first, second]) = two();
    let logs = |run: &Path| std::fs::read(run.join("records.jsonl")).unwrap();
    let before = [logs(&first), logs(&second)];
    let out = results(
        &bench,
        &[
            "aggregate",
            "first",
            "second",
            "--expect",
            "2",
            "--format",
            "json",
        ],
        0,
    );
    let result: Value = serde_json::from_slice(&out.stdout).unwrap();
    // One machine: its processor is one device, however many processes.
    let devices = result["aggregation"]["devices"].as_array().unwrap();
    assert!(
        devices
            .iter()
            .all(|d| d["runs"].as_array().unwrap().len() == 2),
        "{devices:?}"
    );
    assert_eq!(result["num_cycles"], 6, "they ran one after the other");
    let cycle = |name: &str| -> f64 {
        let shown = bench.show(&if name == "first" {
            first.clone()
        } else {
            second.clone()
        });
        let cycles = shown["cycles"].as_array().unwrap().clone();
        cycles
            .iter()
            .map(|c| c["total_energy_j"]["value"].as_f64().unwrap())
            .sum()
    };
    let whole: f64 = result["cycles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["total_energy_j"]["value"].as_f64().unwrap())
        .sum();
    let parts = cycle("first") + cycle("second");
    assert!(
        (whole - parts).abs() < 1e-6 * parts,
        "{whole} J, and {parts} J in parts"
    );
    assert_eq!([logs(&first), logs(&second)], before);
    // It is in the list, and valid, and can be shown.
    let listed = rows(
        &bench,
        &["list", "--filter", "name~aggregate", "--columns", "folder"],
    );
    let file = format!("lem-runs/{}", listed[0]["folder"].as_str().unwrap());
    assert!(stdout(&results(&bench, &["show", &file], 0)).contains("aggregate of 2 processes"));
}

#[test]
fn only_runs_are_removed_and_only_when_asked() {
    let (bench, [first, second]) = two();
    let other = bench.path().join("lem-runs/notes");
    std::fs::create_dir(&other).unwrap();
    let refused = results(&bench, &["rm", "first"], 2);
    assert!(stderr(&refused).contains("--yes") && first.exists());
    results(&bench, &["rm", "--filter", "name=second", "--dry-run"], 0);
    results(&bench, &["rm", "--older-than", "1d", "--yes"], 0);
    assert!(first.exists() && second.exists(), "nothing is a day old");
    assert!(stderr(&results(&bench, &["rm", "--older-than", "soon"], 2)).contains("30d"));
    results(&bench, &["rm", "lem-runs/notes", "--yes"], 2);
    assert!(other.exists());
    results(&bench, &["rm", "second", "--yes"], 0);
    assert!(first.exists() && !second.exists());
    assert_eq!(rows(&bench, &["list"]).len(), 1);
}

#[test]
fn a_run_that_is_in_use_is_not_removed() {
    let (bench, [first, _]) = two();
    let lock = std::fs::File::open(first.join("lock")).unwrap();
    lock.lock().unwrap();
    let refused = results(&bench, &["rm", "first", "--yes"], 1);
    assert!(stderr(&refused).contains("in use") && first.exists());
}

#[test]
fn several_results_are_rebuilt() {
    let (bench, [first, second]) = two();
    let path = |run: &Path| run.join("result.json");
    std::fs::write(path(&first), "{").unwrap();
    std::fs::remove_file(path(&second)).unwrap();
    results(&bench, &["rebuild", "--all"], 0);
    let ids: Vec<Value> = [&first, &second]
        .map(|run| bench.show(run)["run_id"].clone())
        .to_vec();
    assert_eq!(ids, [id(&first), id(&second)]);
}

/// What lies in a folder of results, by name.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn no_link_leads_to_what_is_removed() {
    let (bench, [first, second]) = two();
    let runs = bench.path().join("lem-runs");
    let away = bench.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let kept = away.join(id(&second));
    std::fs::rename(&second, &kept).unwrap();
    let before = names(&kept);
    std::os::unix::fs::symlink(&kept, runs.join("link")).unwrap();
    std::os::unix::fs::symlink(&away, runs.join("others")).unwrap();
    for link in ["lem-runs/link", "lem-runs/link/", "lem-runs/link/."] {
        let refused = stderr(&results(&bench, &["rm", link, "--yes"], 1));
        assert!(refused.contains("is a link"), "{link}: {refused}");
    }
    // By a condition neither the link nor what lies behind a link.
    let told = results(&bench, &["rm", "--filter", "name=second", "--yes"], 0);
    assert!(stderr(&told).contains("behind a link"), "{}", stderr(&told));
    assert_eq!(names(&kept), before);
    std::fs::write(runs.join("notes"), "").unwrap();
    results(&bench, &["rm", "lem-runs/notes", "--yes"], 2);
    // The same run by two ways is one.
    let twice = format!("lem-runs/{0}/", id(&first));
    let told = stderr(&results(&bench, &["rm", "first", &twice, "--yes"], 0));
    assert!(
        told.contains("Removed 1 of 1 run") && !first.exists(),
        "{told}"
    );
}

#[test]
fn a_sweep_goes_with_its_points_unless_one_is_in_use() {
    let (bench, [first, second]) = two();
    // The first as a sweep's parent, the second as its point.
    std::fs::write(first.join("plan.json"), "{}").unwrap();
    std::fs::create_dir(first.join("points")).unwrap();
    let point = first.join("points").join(id(&second));
    std::fs::rename(&second, &point).unwrap();
    assert_eq!(rows(&bench, &["list"]).len(), 2);
    let sweep = format!("lem-runs/{}", id(&first));
    let lock = std::fs::File::open(point.join("lock")).unwrap();
    lock.lock().unwrap();
    let refused = stderr(&results(&bench, &["rm", &sweep, "--yes"], 1));
    assert!(
        refused.contains("its point") && refused.contains("in use"),
        "{refused}"
    );
    assert!(point.exists());
    drop(lock);
    let told = stderr(&results(
        &bench,
        &["rm", "--filter", "status=finished", "--yes"],
        0,
    ));
    assert!(
        told.contains("1 points go with it") && told.contains("Removed 1 of 1 run"),
        "{told}"
    );
    assert!(!first.exists());
}

#[test]
fn a_condition_on_an_old_name_in_another_unit_removes_nothing() {
    let (bench, [first, second]) = two();
    let args = ["rm", "--filter", "emissions_kg_co2<1000", "--yes"];
    let refused = stderr(&results(&bench, &args, 2));
    assert!(refused.contains("carbon.emissions_g, in g"), "{refused}");
    assert!(first.exists() && second.exists());
    results(&bench, &["list", "--sort", "emissions_kg_co2"], 0);
}
