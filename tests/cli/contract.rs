//! What scripts rely on.

use lem_testkit::{FakeServer, Response};
use serde_json::Value;

use crate::support::{Bench, run_dir, stderr};

#[test]
fn a_run_gives_one_json_object_with_the_agreed_fields() {
    let bench = Bench::new();
    let result = bench.result(&[], 0);
    for field in [
        "schema_version",
        "producer",
        "run_id",
        "run_dir",
        "status",
        "prefill_time_ms",
        "decode_time_ms",
        "prefill_energy_j",
        "decode_energy_j",
        "prefill_tokens_per_sec",
        "decode_tokens_per_sec",
        "baseline_power_w",
        "time_series",
        "environment",
        "quality",
        "total_energy_j",
        "total_energy_corrected_j",
        "energy_per_output_token_j",
        "tokens",
        "cycles",
        "warnings",
        "exports",
        "provenance",
    ] {
        assert!(result.get(field).is_some(), "{field} is missing");
    }
    assert_eq!(result["schema_version"], "3.0.0");
    assert_eq!(result["status"], "finished");
    for latency in ["ttft_ms", "itl_ms", "tpot_ms", "e2e_ms"] {
        for quantile in ["mean", "p50", "p90", "p99"] {
            assert!(
                result["latency"][latency][quantile].is_number(),
                "{latency}.{quantile}"
            );
        }
    }
    assert_eq!(result["cycles"].as_array().unwrap().len(), 3);
    assert_eq!(result["tokens"]["input"], 3 * 4 * 16);
    assert_eq!(result["tokens"]["output"], 3 * 4 * 16);
    for energy in [
        "prefill_energy_j",
        "total_energy_j",
        "energy_per_output_token_j",
        "baseline_power_w",
    ] {
        let quantity = &result[energy];
        assert!(
            quantity.get("value").is_some() && quantity.get("how").is_some(),
            "{energy}: {quantity}"
        );
        assert!(
            quantity["value"].is_number() || quantity["reason"].is_string(),
            "{energy}: {quantity}"
        );
    }
    assert!(run_dir(&result).join("records.jsonl").exists());
    assert!(run_dir(&result).join("timeseries.parquet").exists());
    assert_eq!(bench.show(&run_dir(&result)), result);
}

#[test]
fn every_result_validates_against_the_published_schema() {
    let bench = Bench::new();
    let schema: Value =
        serde_json::from_str(include_str!("../../docs/result.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let result = bench.result(&[], 0);
    let wrong: Vec<_> = validator
        .iter_errors(&result)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_configuration_is_refused_whole_before_anything_is_touched() {
    let bench = Bench::new();
    let out = bench.run(&[
        "--set",
        "num_cycls=3",
        "--set",
        "batching.batch_size=0",
        "--set",
        "backend=vlm",
    ]);
    assert_eq!(out.status.code(), Some(2));
    assert!(out.stdout.is_empty());
    let told = stderr(&out);
    for expected in [
        "num_cycls",
        "num_cycles",
        "batching.batch_size",
        "vllm",
        "3 errors",
    ] {
        assert!(told.contains(expected), "{expected} is not in:\n{told}");
    }
    assert!(bench.runs().is_empty());
}

#[test]
fn flags_of_parts_that_are_not_built_are_refused_with_a_sentence() {
    let bench = Bench::new();
    let out = bench.run(&["--profile"]);
    assert_eq!(out.status.code(), Some(2));
    let told = stderr(&out);
    assert!(
        told.contains("--profile") && told.contains("has no profiler"),
        "{told}"
    );
    assert!(bench.runs().is_empty());
}

#[test]
fn a_model_that_is_not_there_fails_the_run_and_says_what_to_do() {
    let bench = Bench::new();
    let out = bench.run(&["--set", "model_name=./nowhere.gguf"]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert!(stderr(&out).contains("nowhere.gguf"));
    assert!(bench.runs().is_empty());
}

#[test]
fn the_environment_beats_the_file_and_a_flag_beats_both() {
    let bench = Bench::new();
    let show = |set: &[&str]| {
        let out = bench
            .lem()
            .args([
                "config",
                "show",
                "tiny.yaml",
                "--origin",
                "--format",
                "json",
            ])
            .args(set)
            .env("LEM_NUM_CYCLES", "5")
            .env("LEM_BATCHING__BATCH_SIZE", "4")
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    };
    let shown = show(&[]);
    assert_eq!(shown["num_cycles"]["value"], 5);
    assert_eq!(shown["num_cycles"]["origin"]["source"], "environment");
    assert_eq!(shown["num_cycles"]["origin"]["detail"], "LEM_NUM_CYCLES");
    assert_eq!(shown["num_input_prompts"]["origin"]["source"], "file");
    assert_eq!(shown["decoder.temperature"]["origin"]["source"], "default");
    let shown = show(&["--set", "num_cycles=7"]);
    assert_eq!(shown["num_cycles"]["value"], 7);
    assert_eq!(shown["num_cycles"]["origin"]["source"], "flag");
    assert_eq!(shown["batching.batch_size"]["value"], 4);
}

#[test]
fn the_catalogue_is_a_list_with_every_name() {
    let out = Bench::new()
        .lem()
        .args(["metrics", "--format", "json"])
        .output()
        .unwrap();
    let metrics: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    assert!(metrics.len() > 80);
    for metric in &metrics {
        for field in [
            "id",
            "unit",
            "kind",
            "attributes",
            "mlflow",
            "wandb",
            "otel",
            "prometheus",
        ] {
            assert!(metric.get(field).is_some(), "{metric}");
        }
    }
}

#[test]
fn this_machine_is_described() {
    let out = Bench::new()
        .lem()
        .args(["env", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let env: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(env["environment"]["cpu"].is_object());
    assert!(!env["measurable"]["sources"].as_array().unwrap().is_empty());
}

#[test]
fn a_baseline_is_measured_where_it_is_asked_for() {
    let bench = Bench::new();
    let quick = [
        "--set",
        "measurement.baseline.duration_s=0.5",
        "--set",
        "measurement.baseline.settle_s=0",
    ];
    let result = bench.result(&[&quick[..], &["--measure-baseline"]].concat(), 0);
    assert!(
        result["baseline_power_w"]["value"].as_f64().unwrap() > 0.0,
        "{}",
        result["baseline_power_w"]
    );
    assert!(result["total_energy_corrected_j"]["value"].is_number());
    let without = bench.result(&[], 0);
    assert!(without["baseline_power_w"]["value"].is_null());
    assert!(without["total_energy_corrected_j"]["reason"].is_string());
}

#[test]
fn a_dry_run_says_what_would_go_where_and_touches_nothing() {
    let bench = Bench::new();
    let server = FakeServer::start(|_| Response::new(500));
    let uri = format!("http://user:hunter2@{}", &server.url()["http://".len()..]);
    let variables = [
        ("MLFLOW_TRACKING_URI", uri.as_str()),
        ("MLFLOW_EXPERIMENT_NAME", "cost of tiny"),
    ];
    let asked = |format: &str| {
        let args = [
            "run",
            "tiny.yaml",
            "--dry-run",
            "--mlflow",
            "--name",
            "first try",
            "--set",
            "integrations.files.enabled=true",
            "--set",
            "integrations.files.path=copies",
            "--set",
            "integrations.mlflow.upload_artifacts=false",
            "--set",
            "tags.team=green",
            "--format",
            format,
        ];
        let out = bench.verb(&args, &variables);
        assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(!text.contains("hunter2") && !stderr_of(&out.stderr).contains("hunter2"));
        text
    };
    let told = asked("table");
    for expected in [
        "first try",
        "cost of tiny",
        "copies",
        "team: green",
        "metrics of each of 3 cycles",
        "about 12 requests",
        "No prompt and no output is sent",
        "records.jsonl",
        "Nothing was measured",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
    let intention: Value = serde_json::from_str(&asked("json")).unwrap();
    assert_eq!(intention["name"], "first try");
    let sinks = intention["sinks"].as_array().unwrap();
    let sends = |name: &str| {
        let sink = sinks.iter().find(|sink| sink["sink"] == name).unwrap();
        sink["sends"].as_array().unwrap().clone()
    };
    assert!(
        !sends("mlflow").contains(&"artifacts".into()),
        "it was turned off"
    );
    assert!(sends("files").contains(&"artifacts".into()));
    assert_eq!(server.request_count(), 0, "a dry run asks nobody");
    for untouched in ["lem-runs", "mlruns", "copies"] {
        assert!(!bench.path().join(untouched).exists(), "{untouched}");
    }
    let inline = [
        "run",
        "tiny.yaml",
        "--dry-run",
        "--mlflow",
        "--set",
        "prompts={type: inline, texts: [our secret recipe]}",
    ];
    let out = bench.verb(&inline, &[]);
    let told = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(told.contains("The prompts are"), "{told}{}", stderr(&out));
}

fn stderr_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_person_sees_every_name_of_a_metric_too() {
    let bench = Bench::new();
    let listed: Vec<Value> =
        serde_json::from_slice(&bench.verb(&["metrics", "--format", "json"], &[]).stdout).unwrap();
    for format in ["table", "markdown"] {
        let out = bench.verb(&["metrics", "--format", format], &[]);
        let text = String::from_utf8(out.stdout).unwrap();
        for metric in &listed {
            for name in ["id", "mlflow", "wandb", "otel", "prometheus"] {
                let name = metric[name].as_str().unwrap();
                assert!(text.contains(name), "{name} is not in the {format}");
            }
        }
    }
}
