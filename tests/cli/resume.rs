//! `lem run --resume`: what was finished is kept, what was broken is measured again, and the
//! sinks go on with the same run.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Bench, of_kind, records, stderr};

/// Starts a run of 200 cycles and ends it by a signal once `cycles` are in its log.
fn broken_off(bench: &Bench, cycles: usize, signal: &str, flags: &[&str]) -> std::path::PathBuf {
    let mut child = bench
        .lem()
        .args(["run", "tiny.yaml", "--cycles", "200"])
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    let finished = || {
        let run = bench.runs().pop()?;
        let text = std::fs::read_to_string(run.join("records.jsonl")).ok()?;
        (text.matches("\"cycle_finished\"").count() >= cycles).then_some(run)
    };
    let run = loop {
        if let Some(run) = finished() {
            break run;
        }
        assert!(Instant::now() < end, "no cycle was finished");
        std::thread::sleep(Duration::from_millis(2));
    };
    let status = std::process::Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
    child.wait().unwrap();
    run
}

fn resume(bench: &Bench, run: &Path, args: &[&str]) -> std::process::Output {
    let mut command = bench.lem();
    command.args(["run", "--resume"]).arg(run);
    command
        .args(["--format", "json"])
        .args(args)
        .output()
        .unwrap()
}

/// The cycles in order, as the log has them finished.
fn cycles(run: &Path) -> Vec<u64> {
    let records = records(run);
    of_kind(&records, "cycle_finished")
        .map(|c| c["cycle"].as_u64().unwrap())
        .collect()
}

fn complete(result: &Value) -> usize {
    let cycles = result["cycles"].as_array().unwrap();
    cycles.iter().filter(|c| c["complete"] == true).count()
}

#[test]
fn a_killed_run_goes_on_in_the_same_folder_and_the_same_remote_run() {
    let bench = Bench::new();
    let run = broken_off(&bench, 3, "-KILL", &["--mlflow"]);
    let kept = cycles_of_torn(&run);
    assert!(kept >= 3);
    let wanted = (kept + 2).to_string();
    // Named by its id, from where the runs are.
    let id = run.file_name().unwrap().to_str().unwrap().to_owned();
    let out = resume(&bench, Path::new(&id), &["--cycles", &wanted]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    // Of a configuration that was checked once nothing is said again.
    assert!(!stderr(&out).contains("has no effect"), "{}", stderr(&out));
    let result: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(result["status"], "finished");
    assert_eq!(complete(&result), kept + 2);
    assert_eq!(cycles(&run), (0..kept as u64 + 2).collect::<Vec<_>>());
    assert_eq!(bench.runs().len(), 1);
    let remote = mlflow_runs(&bench);
    assert_eq!(remote, [(id, "3".to_owned())], "one run, FINISHED");
    let verified = bench.verb(&["verify", run.to_str().unwrap()], &[]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}

#[test]
fn an_interrupted_run_goes_on_and_what_its_end_said_is_replaced() {
    let bench = Bench::new();
    let run = broken_off(&bench, 2, "-INT", &["--mlflow"]);
    let before = bench.show(&run);
    assert_eq!(before["status"], "interrupted");
    let kept = complete(&before);
    let out = resume(&bench, &run, &["--cycles", &(kept + 1).to_string()]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let after = bench.show(&run);
    assert_eq!(
        (&after["status"], complete(&after)),
        (&"finished".into(), kept + 1)
    );
    let warnings = after["warnings"].to_string();
    assert!(!warnings.contains("interrupted"), "{warnings}");
    let remote = mlflow_runs(&bench);
    assert_eq!(remote.len(), 1);
    assert_eq!(remote[0].1, "3", "FINISHED");

    // Complete: nothing is measured again, and more only where it is asked for.
    let out = resume(&bench, &run, &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("is complete"), "{}", stderr(&out));
    let out = resume(&bench, &run, &["--cycles", "1"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(cycles(&run).len(), kept + 1);
}

#[test]
fn other_conditions_are_refused_before_anything_is_touched() {
    let bench = Bench::new();
    let run = broken_off(&bench, 1, "-KILL", &[]);
    let log = std::fs::read(run.join("records.jsonl")).unwrap();
    let refused = |args: &[&str], why: &str| {
        let out = resume(&bench, &run, args);
        assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
        assert!(stderr(&out).contains(why), "{}", stderr(&out));
    };
    refused(
        &["--set", "batching.batch_size=1"],
        "batching.batch_size: was 2, is 1",
    );
    refused(&["--set", "batching.batch_size=0"], "batching.batch_size");
    let out = resume(&bench, Path::new("nowhere"), &[]);
    assert!(
        stderr(&out).contains("there is no run nowhere"),
        "{}",
        stderr(&out)
    );
    assert_eq!(std::fs::read(run.join("records.jsonl")).unwrap(), log);
}

#[test]
fn another_machine_changes_nothing_and_another_boot_goes_on_in_time() {
    let bench = Bench::new();
    let run = broken_off(&bench, 1, "-KILL", &[]);
    let path = run.join("records.jsonl");
    let begun = std::fs::read_to_string(&path).unwrap();
    let (first, rest) = begun.split_once('\n').unwrap();
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut record: Value = serde_json::from_str(first).unwrap();
        change(&mut record["data"]);
        format!("{record}\n{rest}")
    };
    let elsewhere = edited(&|data| data["environment"]["host"]["hostname"] = "elsewhere".into());
    std::fs::write(&path, &elsewhere).unwrap();
    let out = resume(&bench, &run, &[]);
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert!(stderr(&out).contains("elsewhere"), "{}", stderr(&out));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), elsewhere);

    // The log of an earlier boot that had lasted long: this one's clock is behind it.
    let ahead = 1_000_000_000_000_000_000u64;
    let lines = edited(&|data| data["boot_id"] = "earlier".into());
    let later: String = lines
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| {
            let mut record: Value = serde_json::from_str(line).unwrap();
            let mono = record["mono_ns"].as_u64().unwrap();
            record["mono_ns"] = (mono + ahead).into();
            format!("{record}\n")
        })
        .collect();
    std::fs::write(&path, later).unwrap();
    let kept = cycles(&run).len();
    for more in 1..=2 {
        let wanted = (kept + more).to_string();
        let out = resume(&bench, &run, &["--cycles", &wanted]);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    }
    let records = records(&run);
    let times: Vec<u64> = records
        .iter()
        .map(|r| r["mono_ns"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted(), "both resumptions go on from the log");
    let new: Vec<u64> = of_kind(&records, "cycle_finished")
        .skip(kept)
        .map(|c| c["start_ns"].as_u64().unwrap())
        .collect();
    assert!(
        new.len() == 2 && ahead < new[0] && new[0] < new[1],
        "{new:?}"
    );
}

/// Finished cycles of a log whose last line may be torn.
fn cycles_of_torn(run: &Path) -> usize {
    let text = std::fs::read_to_string(run.join("records.jsonl")).unwrap();
    let lines = text.split_inclusive('\n').filter(|l| l.ends_with('\n'));
    lines
        .filter(|l| l.contains("\"kind\":\"cycle_finished\""))
        .count()
}

/// Run id and status of every run in the local MLflow store.
fn mlflow_runs(bench: &Bench) -> Vec<(String, String)> {
    let mut runs = Vec::new();
    let experiments = std::fs::read_dir(bench.path().join("mlruns")).unwrap();
    for experiment in experiments.flatten() {
        for run in std::fs::read_dir(experiment.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let Ok(id) = std::fs::read_to_string(run.path().join("tags/lem.run_id")) else {
                continue;
            };
            let meta = std::fs::read_to_string(run.path().join("meta.yaml")).unwrap();
            let status = meta.lines().find_map(|line| line.strip_prefix("status: "));
            runs.push((id, status.unwrap_or_default().to_owned()));
        }
    }
    runs
}
