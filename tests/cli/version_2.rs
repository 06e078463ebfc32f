//! The command line of version 2, as its users type it.

use crate::support::{Bench, stderr};

#[test]
fn an_experiment_of_version_2_runs() {
    let bench = Bench::new();
    let args = [
        "experiment",
        "tiny.yaml",
        "--cycles",
        "1",
        "-o",
        "elsewhere",
        "--yes",
        "--seed",
        "7",
        "--format",
        "json",
    ];
    let out = bench.verb(&args, &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let result: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(result["num_cycles"], 1);
    assert_eq!(result["config"]["random_seed"], 7);
    assert!(result["run_dir"].as_str().unwrap().contains("elsewhere"));
    let told = stderr(&out);
    for expected in [
        "`lem run`",
        "`--results-dir` of version 2 is now `--output`",
        "`--yes` of version 2 has no effect",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
}

#[test]
fn its_variables_are_taken_with_a_note_and_its_verbs_answer() {
    let bench = Bench::new();
    let show = ["config", "validate", "tiny.yaml"];
    let out = bench.verb(
        &show,
        &[
            ("LLM_ENERGY_RESULTS_DIR", "/r"),
            ("LLM_ENERGY_VERBOSITY", "quiet"),
        ],
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let told = format!("{}{}", stderr(&out), String::from_utf8_lossy(&out.stdout));
    for expected in [
        "is now `io.results_dir`",
        "LEM_IO__RESULTS_DIR",
        "`LLM_ENERGY_VERBOSITY` of version 2 has no effect",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
    let presets = bench.verb(&["presets"], &[]);
    assert_eq!(presets.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&presets.stdout).contains("deterministic"));
    let schedule = bench.verb(&["schedule", "tiny.yaml", "--interval", "6h"], &[]);
    assert_eq!(schedule.status.code(), Some(2));
    assert!(
        stderr(&schedule).contains("error: `lem schedule` of version 2 is now `lem run CONFIG`")
    );
    let unknown = bench.verb(&["measure"], &[]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        stderr(&unknown).contains("unrecognized subcommand"),
        "{}",
        stderr(&unknown)
    );
}
