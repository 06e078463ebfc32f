//! `lem export`: many runs, copied ones, killed ones, and whatever is owed.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::{Bench, of_kind, records, run_dir, stderr};

/// A sink whose place is taken by a file.
const BLOCKED: &[&str] = &[
    "--set",
    "integrations.files.enabled=true",
    "--set",
    "integrations.files.path=copies",
];

const DEAD: &[&str] = &[
    "--mlflow",
    "--set",
    "integrations.mlflow.tracking_uri=http://127.0.0.1:9",
    "--set",
    "integrations.deadline_s=0.3",
];

fn json(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|_| panic!("{}{}", String::from_utf8_lossy(&out.stdout), stderr(out)))
}

fn stdout(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The runs of a local MLflow store, by the run id of lem.
fn stored(store: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for experiment in std::fs::read_dir(store).into_iter().flatten().flatten() {
        for run in std::fs::read_dir(experiment.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Ok(id) = std::fs::read_to_string(run.path().join("tags/lem.run_id")) {
                found.push((id, run.path()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn many_runs_go_to_several_sinks_and_a_broken_one_stops_none() {
    let bench = Bench::new();
    let first = run_dir(&bench.result(&["--cycles", "1"], 0));
    let second = run_dir(&bench.result(&["--cycles", "2"], 0));
    let broken = bench.path().join("lem-runs/broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("records.jsonl"), "no record\n").unwrap();
    let export = |runs: &[&Path], to: &str| {
        let mut args = vec!["export", "--format", "json", "--to", to];
        args.extend(runs.iter().map(|run| path(run)));
        args.extend(["--set", "integrations.files.path=copies"]);
        bench.verb(&args, &[])
    };
    let out = export(&[&first, &broken, &second], "mlflow,files");
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let report = json(&out);
    assert_eq!(
        (&report["looked_at"], &report["failed"]),
        (&3.into(), &1.into())
    );
    assert_eq!(
        (&report["deliveries"], &report["incomplete"]),
        (&4.into(), &0.into())
    );
    assert!(
        report["runs"][1]["problem"]
            .as_str()
            .unwrap()
            .contains("broken")
    );
    assert!(stderr(&out).contains("broken"), "{}", stderr(&out));
    for run in [&report["runs"][0], &report["runs"][2]] {
        assert_eq!(run["exports"][0]["sink"], "mlflow");
        assert_eq!(run["exports"][1]["sink"], "files");
        assert!(
            run["exports"]
                .as_array()
                .unwrap()
                .iter()
                .all(|e| e["state"] == "delivered")
        );
    }
    let ids = |runs: &[PathBuf]| -> Vec<String> {
        let names = runs.iter().map(|run| run.file_name().unwrap());
        names
            .map(|name| name.to_str().unwrap().to_owned())
            .collect()
    };
    let mut expected = ids(&[first.clone(), second.clone()]);
    expected.sort();
    let store = bench.path().join("mlruns");
    let mut there: Vec<String> = stored(&store).into_iter().map(|(id, _)| id).collect();
    there.sort();
    assert_eq!(there, expected);
    // Again, without the broken one: all is well, and nothing is there twice.
    let out = export(&[&first, &second], "mlflow,files");
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert_eq!(stored(&store).len(), 2);
    // The result of each tells of both sinks.
    let exports = bench.show(&first)["exports"].as_array().unwrap().clone();
    let names: Vec<_> = exports
        .iter()
        .map(|export| export["sink"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["mlflow", "files"]);
}

#[test]
fn a_folder_that_is_no_run_and_a_parent_of_runs_are_told_apart() {
    let bench = Bench::new();
    bench.result(&["--cycles", "1"], 0);
    let out = bench.verb(&["export", "--to", "mlflow", "lem-runs"], &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("/* names them all"),
        "{}",
        stderr(&out)
    );
    let out = bench.verb(&["export", "--to", "mlflow", "tiny"], &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(!stderr(&out).contains("names them all"), "{}", stderr(&out));
    // Neither sinks nor runs: clap says what is missing.
    let out = bench.verb(&["export", "lem-runs"], &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("--to"), "{}", stderr(&out));
}

#[test]
fn a_folder_from_another_machine_is_delivered_whole() {
    let bench = Bench::new();
    let store = bench.path().join("mlruns");
    let result = bench.result(&["--cycles", "2", "--mlflow"], 0);
    let here = stored(&store).pop().unwrap().1;
    // What a person would carry over: the folder, measured on another host that booted
    // another time and kept its store where this machine has nothing.
    let copy = bench.path().join("carried/over");
    std::fs::create_dir_all(bench.path().join("carried")).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-r", path(&run_dir(&result)), path(&copy)])
        .status();
    assert!(copied.unwrap().success());
    std::fs::remove_dir_all(copy.join("delivery")).unwrap();
    let log = std::fs::read_to_string(copy.join("records.jsonl")).unwrap();
    let started = of_kind(&records(&copy), "run_started")
        .next()
        .unwrap()
        .clone();
    let field = |pointer: &str| {
        started
            .pointer(pointer)
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    let log = log
        .replace(&field("/environment/host/hostname"), "bench7")
        .replace(&field("/boot_id"), "00000000-0000-4000-8000-000000000000")
        .replace(path(&store), "/home/ada/of/another/machine/mlruns");
    std::fs::write(copy.join("records.jsonl"), log).unwrap();

    let elsewhere = bench.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let out = bench
        .lem()
        .current_dir(&elsewhere)
        .args([
            "export",
            "../carried/over",
            "--to",
            "mlflow",
            "--format",
            "json",
        ])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let report = json(&out);
    let notes = report["runs"][0]["exports"][0]["notes"].to_string();
    assert!(
        notes.contains("bench7") && notes.contains("/home/ada"),
        "{notes}"
    );
    assert!(!Path::new("/home/ada/of").exists());
    let there = stored(&elsewhere.join("mlruns")).pop().unwrap();
    assert_eq!(there.0, result["run_id"].as_str().unwrap());
    // The same numbers at the same times, and the same artifacts.
    for same in [
        "metrics/energy/total_joules",
        "metrics/latency/ttft_p99_seconds",
        "metrics/sample/cpu0_power_watts",
        "artifacts/timeseries.parquet",
        "artifacts/artifacts/config.yaml",
    ] {
        let read = |run: &Path| std::fs::read(run.join(same)).ok();
        assert_eq!(read(&here), read(&there.1), "{same}");
    }
    assert!(there.1.join("metrics/energy/total_joules").exists());
    let kept = bench.show(&copy);
    assert_eq!(
        kept["run_dir"].as_str().map(Path::new),
        copy.canonicalize().ok().as_deref()
    );
}

#[test]
fn what_is_owed_is_told_and_delivered() {
    let bench = Bench::new();
    let pending = |more: &[&str]| {
        let args = [&["export", "--pending", "--format", "json"][..], more].concat();
        bench.verb(&args, &[])
    };
    // No folder of runs, then runs that were meant for no sink.
    let out = bench.verb(&["export", "--pending"], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    assert!(stdout(&out).contains("nothing is owed"), "{}", stdout(&out));
    bench.result(&["--cycles", "1"], 0);
    assert_eq!(pending(&[]).status.code(), Some(0));

    let blocked = bench.path().join("copies");
    std::fs::write(&blocked, "in the way").unwrap();
    let result = bench.result(&[&["--cycles", "1"], BLOCKED].concat(), 0);
    assert_eq!(result["exports"][0]["state"], "gave_up");
    assert!(result["exports"][0]["failures"].as_u64().unwrap() > 0);
    assert!(result["exports"][0]["owed"].as_u64().unwrap() > 0);
    let out = pending(&[]);
    assert_eq!(out.status.code(), Some(3), "{}", stderr(&out));
    let report = json(&out);
    assert_eq!(report["looked_at"], 2);
    let run = &report["runs"][0];
    assert_eq!(
        report["runs"].as_array().unwrap().len(),
        1,
        "one owes nothing"
    );
    assert_eq!(run["owed"][0]["sink"], "files");
    assert!(
        run["owed"][0]["last_error"]
            .as_str()
            .unwrap()
            .contains("copies")
    );
    assert!(
        stderr(&out).contains("records are owed to files"),
        "{}",
        stderr(&out)
    );

    std::fs::remove_file(&blocked).unwrap();
    let out = bench.verb(&["export", "--pending"], &[]);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}{}",
        stdout(&out),
        stderr(&out)
    );
    assert!(
        stdout(&out).contains("The delivery is complete"),
        "{}",
        stdout(&out)
    );
    let copy = blocked.join(result["run_id"].as_str().unwrap());
    assert!(copy.join("timeseries.parquet").exists());
    assert_eq!(
        bench.show(&run_dir(&result))["exports"][0]["state"],
        "delivered"
    );

    let out = bench.verb(&["export", "--pending", "lem-runs"], &[]);
    assert_eq!(out.status.code(), Some(0));
    assert!(
        stdout(&out).contains("Looked at 2 runs: nothing is owed"),
        "{}",
        stdout(&out)
    );
    assert_eq!(
        pending(&["nowhere"]).status.code(),
        Some(2),
        "a folder that was named must be there"
    );
}

#[test]
fn what_is_owed_to_one_place_is_not_paid_at_another_unasked() {
    let bench = Bench::new();
    bench.result(&[&["--cycles", "1"], DEAD].concat(), 0);
    bench.result(&[&["--cycles", "1"], DEAD].concat(), 0);
    // Dead still: the second run does not wait for it again.
    let args = ["export", "--pending", "--deadline", "0.5"];
    let out = bench.verb(&args, &[]);
    assert_eq!(out.status.code(), Some(3), "{}", stderr(&out));
    assert!(
        stdout(&out).contains("2 of 2 deliveries incomplete"),
        "{}",
        stdout(&out)
    );
    assert_eq!(
        stdout(&out).matches("not tried").count(),
        1,
        "{}",
        stdout(&out)
    );

    let store = bench.path().join("store");
    let elsewhere = [("MLFLOW_TRACKING_URI", path(&store))];
    let out = bench.verb(&["export", "--pending"], &elsewhere);
    assert_eq!(out.status.code(), Some(3), "{}", stderr(&out));
    assert!(
        stdout(&out).contains("owed to http://127.0.0.1:9"),
        "{}",
        stdout(&out)
    );
    assert!(!store.exists());
    let out = bench.verb(&["export", "--pending", "--to", "mlflow"], &elsewhere);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}{}",
        stdout(&out),
        stderr(&out)
    );
    assert_eq!(stored(&store).len(), 2);
    let out = bench.verb(&["export", "--pending"], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stdout(&out));
}

#[test]
fn a_killed_run_is_owed_and_closed_and_a_running_one_is_left_alone() {
    let bench = Bench::new();
    let meant = [&["run", "tiny.yaml", "--mlflow", "--cycles", "500"][..]].concat();
    let mut child = bench
        .lem()
        .args(&meant)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let finished_a_cycle = || {
        bench.runs().iter().any(|run| {
            std::fs::read_to_string(run.join("records.jsonl"))
                .is_ok_and(|log| log.contains("\"cycle_finished\""))
        })
    };
    while !finished_a_cycle() {
        assert!(std::time::Instant::now() < end, "no cycle in a minute");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let out = bench.verb(&["export", "--pending", "--format", "json"], &[]);
    let still_running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(still_running, "the run was over before it was looked at");
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let skipped = json(&out)["runs"][0]["skipped"].to_string();
    assert!(skipped.contains("still being measured"), "{skipped}");

    let out = bench.verb(&["export", "--pending"], &[]);
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}{}",
        stdout(&out),
        stderr(&out)
    );
    let run = bench.runs().pop().unwrap();
    let end = of_kind(&records(&run), "run_finished")
        .last()
        .unwrap()
        .clone();
    assert_eq!(end["status"], "killed");
    assert_eq!(stored(&bench.path().join("mlruns")).len(), 1);
}
