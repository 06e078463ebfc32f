//! `lem sweep` from end to end on the embedded engine.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::{Bench, of_kind, records, stderr};

pub fn sweep(bench: &Bench, args: &[&str]) -> Output {
    bench.verb(&[&["sweep"], args].concat(), &[])
}

/// Sweeps, expects an exit code, and gives the report.
fn report(bench: &Bench, args: &[&str], code: i32) -> Value {
    let out = sweep(bench, &[args, &["--format", "json"]].concat());
    assert_eq!(out.status.code(), Some(code), "{}", stderr(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn points(report: &Value) -> &Vec<Value> {
    report["points"].as_array().unwrap()
}

pub fn folder(bench: &Bench, point: &Value) -> PathBuf {
    bench.path().join(point["run_dir"].as_str().unwrap())
}

/// The cycles in order, as the log has them finished.
pub fn cycles(run: &Path) -> Vec<u64> {
    let records = records(run);
    of_kind(&records, "cycle_finished")
        .map(|c| c["cycle"].as_u64().unwrap())
        .collect()
}

#[test]
fn every_point_is_measured_and_compared() {
    let bench = Bench::new();
    let out = report(
        &bench,
        &[
            "tiny.yaml",
            "--vary",
            "batching.batch_size=1,2,4",
            "--vary",
            "max_output_tokens=8,16",
            "--set",
            "prompts.output_tokens=8",
            "--skip",
            "batching.batch_size > 2 and max_output_tokens == 16",
            "--id",
            "s",
            "--mlflow",
        ],
        0,
    );
    assert_eq!(out["status"], "finished");
    assert_eq!(points(&out).len(), 5);
    let mut front = 0;
    for (n, point) in points(&out).iter().enumerate() {
        assert_eq!(point["index"], n);
        assert_eq!(point["state"], "done");
        assert_eq!(cycles(&folder(&bench, point)), [0, 1, 2]);
        front += usize::from(point["on_front"] == true);
        // The numbers are those of the run's own result.
        let result = bench.show(&folder(&bench, point));
        assert_eq!(result["status"], "finished");
        assert_eq!(
            point["numbers"]["throughput.total"]["value"],
            result["throughput"]["total_tokens_per_sec"]
        );
        let energy = &result["energy_per_output_token_j"];
        assert_eq!(
            point["numbers"]["energy.per_output_token"]["low"],
            energy["interval"]["low"]
        );
        let batch = &point["parameters"]["batching.batch_size"];
        assert_eq!(&result["config"]["batching"]["batch_size"], batch);
        assert!(
            result["config"]["sweep"].is_null(),
            "a point is one configuration"
        );
        let records = records(&folder(&bench, point));
        let tags = &records[0]["data"]["tags"];
        assert_eq!(tags["lem.sweep_id"], "s");
        assert_eq!(tags["lem.sweep_point"], n.to_string());
    }
    assert!(front >= 1);
    // The best is the best by its own numbers.
    let energy = |point: &Value| point["numbers"]["energy.per_output_token"]["value"].as_f64();
    let least = points(&out)
        .iter()
        .filter_map(energy)
        .fold(f64::INFINITY, f64::min);
    let best = &points(&out)[out["best"].as_u64().unwrap() as usize];
    assert_eq!(energy(best), Some(least));

    // One loaded model: no load between the blocks, each of which visits every point once.
    let plan: Value = read(&bench.path().join("lem-runs/s/plan.json"));
    let visits: Vec<(u64, u64)> = serde_json::from_value(plan["visits"].clone()).unwrap();
    for (block, visits) in visits.chunks(5).enumerate() {
        assert!(visits.iter().all(|(_, cycle)| *cycle == block as u64));
    }
    // The sweep is a run of its own, whole and shown as what it is.
    let sweep = bench.path().join("lem-runs/s");
    let shown = bench.verb(&["results", "show", "lem-runs/s"], &[]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("Pareto") && shown.contains("Best in energy"),
        "{shown}"
    );
    let parent = records(&sweep);
    let table = of_kind(&parent, "table")
        .find(|t| t["name"] == "points")
        .unwrap();
    assert_eq!(table["rows"].as_array().unwrap().len(), 5);
    for run in ["lem-runs/s", "lem-runs/s/points/s-p0003"] {
        let out = bench.verb(&["verify", run], &[]);
        assert_eq!(
            out.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&out.stdout)
        );
    }
    // A second time there is nothing to do, and nothing is done.
    let before: Vec<u64> = lengths(&bench, &out);
    let again = report(&bench, &["--resume", "s"], 0);
    assert_eq!(again["points"], out["points"]);
    assert_eq!(lengths(&bench, &out), before);
    // And another sweep does not overwrite it.
    let out = sweep_again(&bench);
    assert!(
        stderr(&out).contains("holds a sweep already"),
        "{}",
        stderr(&out)
    );
}

fn sweep_again(bench: &Bench) -> Output {
    let out = sweep(
        bench,
        &["tiny.yaml", "--vary", "num_cycles=1,2", "--id", "s"],
    );
    assert_eq!(out.status.code(), Some(2));
    out
}

fn lengths(bench: &Bench, report: &Value) -> Vec<u64> {
    let of = |point: &Value| {
        let log = folder(bench, point).join("records.jsonl");
        std::fs::metadata(log).unwrap().len()
    };
    points(report).iter().map(of).collect()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_point_that_fails_does_not_end_the_sweep() {
    let bench = Bench::new();
    let args = [
        "tiny.yaml",
        "--vary",
        "model_name=gone,tiny",
        "--cycles",
        "2",
        "--id",
        "s",
    ];
    let failed = report(
        &bench,
        &[&args[..], &["--order", "interleaved"]].concat(),
        1,
    );
    assert_eq!(failed["status"], "failed");
    let [gone, tiny] = points(&failed).as_slice() else {
        panic!("two points")
    };
    assert_eq!(
        (&gone["state"], &tiny["state"]),
        (&json!("failed"), &json!("done"))
    );
    assert!(gone["reason"].as_str().unwrap().contains("gone"), "{gone}");
    assert_eq!(cycles(&folder(&bench, tiny)), [0, 1]);
    assert_eq!(failed["best"], 1);
    // It is a run that says why.
    let result = bench.show(&folder(&bench, gone));
    assert_eq!(result["status"], "failed");
    assert_eq!(result["status_reason"], gone["reason"]);
    assert!(result["model"].is_null());

    let again = report(&bench, &["--resume", "s"], 1);
    assert_eq!(again["points"], failed["points"], "it is not tried unasked");
    let model = bench.path().join("gone");
    std::fs::create_dir(&model).unwrap();
    std::fs::copy(
        bench.path().join("tiny/config.json"),
        model.join("config.json"),
    )
    .unwrap();
    let mended = report(&bench, &["--resume", "s", "--retry-failed"], 0);
    assert_eq!(mended["status"], "finished");
    let [gone, tiny] = points(&mended).as_slice() else {
        panic!("two points")
    };
    assert_eq!(cycles(&folder(&bench, gone)), [0, 1]);
    assert_eq!(cycles(&folder(&bench, tiny)), [0, 1]);
}

#[test]
fn everything_that_is_wrong_is_told_before_anything_is_measured() {
    let bench = Bench::new();
    let out = sweep(
        &bench,
        &[
            "tiny.yaml",
            "--vary",
            "batching.batch_size=0,2,four",
            "--vary",
            "bathing.x=1",
        ],
    );
    assert_eq!(out.status.code(), Some(2));
    let told = stderr(&out);
    for part in [
        "in the point batching.batch_size=0, bathing.x=1",
        "in the point batching.batch_size=four, bathing.x=1",
        "unknown key `bathing`",
        "in every point",
        "3 of 3 points",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    for (args, part) in [
        (vec!["tiny.yaml"], "nothing varies"),
        (vec![], "no configuration is given"),
        (vec!["tiny.yaml", "--vary", "num_cycles"], "is not KEY="),
        (
            vec!["tiny.yaml", "--vary", "num_cycles=1,1"],
            "the value `1` twice",
        ),
        (
            vec![
                "tiny.yaml",
                "--vary",
                "num_cycles=1",
                "--skip",
                "num_cycles >",
            ],
            "cannot be read",
        ),
        (
            vec![
                "tiny.yaml",
                "--vary",
                "num_cycles=1",
                "--skip",
                "num_cycls > 1",
            ],
            "no key",
        ),
        (
            vec![
                "tiny.yaml",
                "--vary",
                "num_cycles=1",
                "--skip",
                "num_cycles == 1",
            ],
            "every point",
        ),
        (
            vec!["tiny.yaml", "--vary", "num_cycles=1", "--best", "beauty"],
            "compared by `beauty`",
        ),
        (
            vec!["tiny.yaml", "--vary", "num_cycles=1", "--stop-early", "x"],
            "has no factor",
        ),
        (
            vec!["tiny.yaml", "--vary", "num_cycles=1", "--id", "../x"],
            "cannot name a folder",
        ),
        (
            vec!["tiny.yaml", "--vary", "io.results_dir=a,b"],
            "cannot be varied",
        ),
        (vec!["--resume", "nothing"], "there is no sweep nothing"),
        (vec!["run", "tiny.yaml", "--index", "0"], "is no plan"),
        (vec!["run", "no.json", "--index", "0"], "cannot be read"),
    ] {
        let out = sweep(&bench, &args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(part), "{args:?}: {}", stderr(&out));
    }
    assert!(bench.runs().is_empty(), "nothing was made");
}

#[test]
fn a_plan_is_all_that_another_machine_needs() {
    let bench = Bench::new();
    let tiny = std::fs::read_to_string(bench.path().join("tiny.yaml")).unwrap();
    let section = "
integrations: { mlflow: { enabled: true, tracking_uri: 'http://u:hunter2@127.0.0.1:9/' } }
sweep:
  vary: { batching.batch_size: [1, 2] }
  zip: [{ num_input_prompts: [4, 8], prompts.input_tokens: [16, 8] }]
  skip: ['batching.batch_size == 2 and num_input_prompts == 8']
  order: interleaved
";
    std::fs::write(bench.path().join("swept.yaml"), tiny + section).unwrap();
    let plan = ["plan", "swept.yaml", "--id", "array", "--cycles", "2"];
    let first = sweep(&bench, &plan);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert_eq!(
        first.stdout,
        sweep(&bench, &plan).stdout,
        "the same each time"
    );
    let told = stderr(&first);
    assert!(told.contains("integrations.mlflow.tracking_uri"), "{told}");
    let text = String::from_utf8(first.stdout).unwrap();
    assert!(!text.contains("hunter2"), "{text}");

    // Elsewhere: the model and the plan.
    let there = Bench::new();
    std::fs::remove_file(there.path().join("tiny.yaml")).unwrap();
    std::fs::write(there.path().join("plan.json"), &text).unwrap();
    let store = there.path().join("mlruns").display().to_string();
    let uri = format!("integrations.mlflow.tracking_uri={store}");
    for index in ["1", "0", "2"] {
        let run = [
            "run",
            "plan.json",
            "--index",
            index,
            "--format",
            "json",
            "--set",
            &uri,
        ];
        let out = sweep(&there, &run);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let result: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(result["num_cycles"], 2);
        assert_eq!(
            result["exports"][0]["state"],
            "delivered",
            "{}",
            stderr(&out)
        );
    }
    let again = sweep(&there, &["run", "plan.json", "--index", "0", "--set", &uri]);
    assert!(stderr(&again).contains("is finished"), "{}", stderr(&again));
    let out = sweep(&there, &["run", "plan.json", "--index", "3"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("0-2"), "{}", stderr(&out));
    // What a point is cannot be changed on the way.
    let other = ["run", "plan.json", "--index", "0", "--set", "random_seed=9"];
    let out = sweep(&there, &other);
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert!(
        stderr(&out).contains("another configuration"),
        "{}",
        stderr(&out)
    );
    assert!(
        !there.path().join("lem-runs/array/records.jsonl").exists(),
        "nobody made a parent"
    );

    // Whoever gathers them makes it, and nothing is measured again.
    let report = report(&there, &["--resume", "array", "--set", &uri], 0);
    assert_eq!(report["visits"], 6);
    for point in points(&report) {
        assert_eq!(cycles(&folder(&there, point)), [0, 1]);
    }
    let (parents, children) = in_file_store(there.path());
    assert_eq!((parents.len(), children.len()), (1, 3));
    assert!(
        children.iter().all(|(_, parent)| *parent == parents[0]),
        "{children:?}"
    );
}

/// Ids of the sweeps' runs, and of the points' runs with their parents.
pub fn in_file_store(root: &Path) -> (Vec<String>, Vec<(String, String)>) {
    let (mut parents, mut children) = (Vec::new(), Vec::new());
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    for run in folders(&root.join("mlruns"))
        .iter()
        .flat_map(|e| folders(e))
    {
        let tag = |name: &str| std::fs::read_to_string(run.join("tags").join(name)).ok();
        let id = run.file_name().unwrap().to_string_lossy().into_owned();
        match tag("lem.kind").as_deref() {
            Some("sweep") => parents.push(id),
            Some(_) => children.push((id, tag("mlflow.parentRunId").unwrap_or_default())),
            None => {}
        }
    }
    children.sort();
    (parents, children)
}

#[test]
fn several_configurations_are_one_campaign() {
    let bench = Bench::new();
    let tiny = std::fs::read_to_string(bench.path().join("tiny.yaml")).unwrap();
    std::fs::write(bench.path().join("b.yaml"), tiny + "config_name: other\n").unwrap();
    for (order, expected) in [
        ("interleaved", json!([[0, 0], [1, 0], [0, 1], [1, 1]])),
        ("grouped", json!([[0, 0], [0, 1], [1, 0], [1, 1]])),
    ] {
        let args = [
            "plan",
            "tiny.yaml",
            "b.yaml",
            "--cycles",
            "2",
            "--order",
            order,
        ];
        let out = sweep(&bench, &args);
        let plan: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(plan["visits"], expected, "{order}");
        assert_eq!(plan["bases"][1]["file"], "b.yaml");
    }
    let out = report(
        &bench,
        &[
            "tiny.yaml",
            "b.yaml",
            "--cycles",
            "1",
            "--order",
            "shuffled",
        ],
        0,
    );
    let files: Vec<&Value> = points(&out).iter().map(|p| &p["config"]).collect();
    assert_eq!(files, ["tiny.yaml", "b.yaml"]);
}

#[test]
fn a_point_that_is_certainly_poor_is_ended() {
    let bench = Bench::new();
    let args = [
        "tiny.yaml",
        "--zip",
        "prompts.output_tokens=4,256 max_output_tokens=4,256",
        "--cycles",
        "12",
        "--stop-early",
        "latency.e2e_mean:1.5",
        "--id",
        "s",
        "--mlflow",
    ];
    let out = report(&bench, &args, 0);
    let [quick, slow] = points(&out).as_slice() else {
        panic!("two points")
    };
    assert_eq!(quick["cycles"], 12);
    assert_eq!(slow["state"], "done");
    let done = slow["cycles"].as_u64().unwrap();
    assert!((3..12).contains(&done), "{slow}");
    assert!(
        slow["stopped"]
            .as_str()
            .unwrap()
            .contains("than that of point 0"),
        "{slow}"
    );
    let result = bench.show(&folder(&bench, slow));
    assert_eq!(result["status"], "finished");
    assert_eq!(result["num_cycles"], done);
    // It stays ended.
    let again = report(&bench, &["--resume", "s"], 0);
    assert_eq!(points(&again)[1]["cycles"], done);
}

#[test]
fn a_real_model_is_swept() {
    let Ok(model) = std::env::var("LEM_TEST_MODEL") else {
        eprintln!("skipped: LEM_TEST_MODEL names no model; ./test sets it");
        return;
    };
    let bench = Bench::new();
    let config = format!(
        "model_name: {model}\nnum_input_prompts: 2\nnum_cycles: 2\nmax_output_tokens: 4\n\
         prompts: {{ type: synthetic, input_tokens: 16, output_tokens: 4 }}\n\
         measurement: {{ warmup: {{ min_rounds: 1, max_rounds: 1 }} }}\n"
    );
    std::fs::write(bench.path().join("real.yaml"), config).unwrap();
    let out = report(
        &bench,
        &["real.yaml", "--vary", "batching.batch_size=1,2"],
        0,
    );
    for point in points(&out) {
        assert_eq!(cycles(&folder(&bench, point)), [0, 1]);
        let result = bench.show(&folder(&bench, point));
        assert!(result["model"]["parameters"].as_u64().unwrap() > 1_000_000);
        assert!(result["tokens"]["output"].as_u64().unwrap() > 0);
    }
}
