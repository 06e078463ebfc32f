//! `lem exec`: real commands, real signals, marks good and bad.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Bench, of_kind, records, run_dir, stderr};

fn exec(bench: &Bench, args: &[&str], command: &[&str]) -> Output {
    let mut lem = bench.lem();
    lem.args(["exec", "--interval-ms", "20"])
        .args(args)
        .arg("--")
        .args(command);
    lem.output().unwrap()
}

fn result(out: &Output, code: i32) -> Value {
    assert_eq!(out.status.code(), Some(code), "{}", stderr(out));
    serde_json::from_slice(&out.stdout).unwrap()
}

fn shell(bench: &Bench, script: &str, code: i32) -> Value {
    result(
        &exec(bench, &["--format", "json"], &["sh", "-c", script]),
        code,
    )
}

fn phase<'a>(result: &'a Value, name: &str) -> &'a Value {
    let phases = result["marked_phases"].as_array().unwrap();
    phases.iter().find(|p| p["name"] == name).unwrap()
}

fn value(quantity: &Value) -> f64 {
    quantity["value"]
        .as_f64()
        .unwrap_or_else(|| panic!("{quantity}"))
}

fn codes(result: &Value) -> Vec<&str> {
    let warnings = result["warnings"].as_array().unwrap();
    warnings
        .iter()
        .map(|w| w["code"].as_str().unwrap())
        .collect()
}

#[test]
fn a_burner_costs_more_than_sleeping_and_both_say_that_they_are_modelled() {
    let bench = Bench::new();
    let run = |script: &str| shell(&bench, script, 0);
    let asleep = run("sleep 1");
    let busy = run("timeout 1 sh -c 'while :; do :; done'; true");
    for result in [&asleep, &busy] {
        assert_eq!(result["status"], "finished");
        assert_eq!(result["num_cycles"], 1);
        let seconds = result["duration_s"].as_f64().unwrap();
        assert!((0.9..10.0).contains(&seconds), "{seconds}");
        let (energy, power) = (
            value(&result["total_energy_j"]),
            value(&result["power"]["mean_w"]),
        );
        assert!((energy / (power * seconds) - 1.0).abs() < 1e-6);
        let how = &result["total_energy_j"]["how"];
        let modelled = codes(result).contains(&"energy.modelled");
        assert_eq!(how == "modelled", modelled, "{how}");
        // What only an engine has is absent, with a reason of a command's.
        assert_eq!(result["model"], Value::Null);
        assert_eq!(result["backend"], Value::Null);
        assert!(
            result["absent"]["tokens.output"]
                .as_str()
                .unwrap()
                .contains("$LEM_PHASES")
        );
        assert_eq!(result["config"].get("max_output_tokens"), None);
        assert!(!codes(result).contains(&"cycles.single"));
    }
    let cpu = |result: &Value| result["command"]["cpu_seconds"].as_f64().unwrap();
    assert!(
        cpu(&busy) > 10.0 * cpu(&asleep),
        "{} {}",
        cpu(&busy),
        cpu(&asleep)
    );
    // Other tests run beside: a quiet machine would allow more than this.
    let joules =
        |result: &Value| value(&result["total_energy_j"]) / result["duration_s"].as_f64().unwrap();
    assert!(joules(&busy) >= 0.8 * joules(&asleep));
}

#[test]
fn output_and_exit_codes_are_the_commands() {
    let bench = Bench::new();
    let out = exec(&bench, &[], &["sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!(out.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "out\n");
    let said = stderr(&out);
    assert!(
        said.starts_with("err\n") && said.contains("exit code 7"),
        "{said}"
    );

    let out = exec(
        &bench,
        &["--format", "json"],
        &["sh", "-c", "echo out; exit 3"],
    );
    assert!(stderr(&out).starts_with("out\n"));
    let told = result(&out, 3);
    assert_eq!(told["command"]["exit_code"], 3);
    assert_eq!(told["status"], "failed");
    assert!(
        told["total_energy_j"]["value"].is_f64(),
        "and its numbers stand"
    );

    let killed = shell(&bench, "kill -9 $$", 137);
    assert_eq!(killed["command"]["signal"], 9);

    let out = exec(&bench, &[], &["no-such-program"]);
    assert_eq!(out.status.code(), Some(127));
    assert!(
        stderr(&out).contains("no-such-program cannot be started"),
        "{}",
        stderr(&out)
    );
    std::fs::write(bench.path().join("text"), "x").unwrap();
    let out = exec(&bench, &[], &["./text"]);
    assert_eq!(out.status.code(), Some(126));
    let runs = bench.runs();
    assert_eq!(bench.show(runs.last().unwrap())["status"], "failed");

    let out = bench.lem().args(["exec", "sleep", "1"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "the command stands behind --");
}

#[test]
fn standard_input_is_the_commands() {
    let bench = Bench::new();
    let mut child = bench
        .lem()
        .args(["exec", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"hello").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(
        (out.status.code(), out.stdout.as_slice()),
        (Some(0), &b"hello"[..])
    );
}

#[test]
fn a_signal_reaches_the_whole_group_and_the_run_is_kept() {
    let bench = Bench::new();
    // The shell and a child of it: both have to hear of it.
    let script = "sh -c 'trap \"echo child >&2; exit\" TERM; touch ready; while :; do sleep 0.05; done' & \
                  trap 'wait; echo parent >&2; exit 5' TERM; wait";
    let child = bench
        .lem()
        .args(["exec", "--format", "json", "--", "sh", "-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !bench.path().join("ready").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let out = child.wait_with_output().unwrap();
    let said = stderr(&out);
    assert!(
        said.contains("child\n") && said.contains("parent\n"),
        "{said}"
    );
    let told = result(&out, 5);
    assert_eq!(told["status"], "interrupted");
    assert_eq!(told["cycles"][0]["complete"], true);
    assert!(told["status_reason"].as_str().unwrap().contains("SIGTERM"));
}

#[test]
fn marks_become_phases_with_energy_and_tokens() {
    let bench = Bench::new();
    let told = shell(
        &bench,
        "say() { echo \"$@\" > $LEM_PHASES; }
         say begin prefill; sleep 0.3; say tokens 40 input; say end prefill
         for i in 1 2 3; do say begin step; sleep 0.2; say tokens 2; say end step; done
         say mark half; say begin decode; sleep 0.2; say tokens 10 output; say end decode",
        0,
    );
    let step = phase(&told, "step");
    assert_eq!(step["count"], 3);
    assert_eq!(step["output_tokens"], 6);
    let seconds = step["seconds"].as_f64().unwrap();
    assert!((0.55..5.0).contains(&seconds), "{seconds}");
    let energy = value(&step["energy_j"]);
    assert!((value(&step["energy_each_j"]) * 3.0 / energy - 1.0).abs() < 1e-9);
    assert!((value(&step["power_w"]) * seconds / energy - 1.0).abs() < 1e-9);
    assert!((value(&step["energy_per_output_token_j"]) * 6.0 / energy - 1.0).abs() < 1e-9);
    let uncertainty = step["energy_j"]["uncertainty"]["expanded"]
        .as_f64()
        .unwrap();
    assert!(uncertainty > 0.0);
    // prefill and decode are those of any run
    assert_eq!(
        value(&told["prefill_energy_j"]),
        value(&phase(&told, "prefill")["energy_j"])
    );
    assert_eq!(
        value(&told["decode_energy_j"]),
        value(&phase(&told, "decode")["energy_j"])
    );
    assert_eq!(
        (&told["tokens"]["input"], &told["tokens"]["output"]),
        (&40.into(), &16.into())
    );
    let total = value(&told["total_energy_j"]);
    assert!((value(&told["energy_per_output_token_j"]) * 16.0 / total - 1.0).abs() < 1e-9);
    let parts: f64 = ["prefill", "decode", "other"]
        .iter()
        .map(|p| value(&told[format!("{p}_energy_j")]))
        .sum();
    assert!((parts / total - 1.0).abs() < 1e-6);
    assert_eq!(told["command"]["marks"]["refused"], 0);

    let log = records(&run_dir(&told));
    let tables: Vec<&Value> = of_kind(&log, "table").collect();
    let table = tables.iter().find(|t| t["name"] == "phases").unwrap();
    assert_eq!(
        table["rows"].as_array().unwrap().len(),
        3,
        "a mark is no phase"
    );
    assert!(
        of_kind(&log, "metric")
            .any(|m| m["id"] == "energy.marked_each" && m["attributes"]["lem.phase"] == "step")
    );
    assert!(of_kind(&log, "span").any(|s| s["name"] == "half" && s["start_ns"] == s["end_ns"]));
}

#[test]
fn a_senders_own_times_count() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: no python3");
        return;
    }
    let bench = Bench::new();
    let script = "
import os, time
out = open(os.environ['LEM_PHASES'], 'w', buffering=1)
a = time.monotonic_ns(); time.sleep(0.3); b = time.monotonic_ns()
time.sleep(0.2)
print('begin', 'work', a, file=out)
print('end work', b, file=out)
print('begin work', time.time_ns(), file=out)
print('begin work', 5, file=out)
open('length', 'w').write(str(b - a))";
    let out = exec(&bench, &["--format", "json"], &["python3", "-c", script]);
    let told = result(&out, 0);
    let sent: f64 = std::fs::read_to_string(bench.path().join("length"))
        .unwrap()
        .parse()
        .unwrap();
    let work = phase(&told, "work");
    assert_eq!(work["count"], 1);
    assert!(
        (work["seconds"].as_f64().unwrap() - sent / 1e9).abs() < 1e-9,
        "to the nanosecond"
    );
    assert_eq!(told["command"]["marks"]["by_arrival"], 0);
    assert_eq!(
        told["command"]["marks"]["refused"], 2,
        "another clock's times"
    );
    let said = told["warnings"].to_string();
    assert!(said.contains("CLOCK_MONOTONIC"), "{said}");
}

#[test]
fn hostile_marks_are_counted_and_cost_nothing_else() {
    let bench = Bench::new();
    let told = shell(
        &bench,
        "{ printf 'begin a\\nhunter2 hunter2\\nbegin ../../etc\\nend never\\n\\377\\376\\n\\n# nothing\\n';
           head -c 100000 /dev/zero; printf '\\ntokens 99999999999999999999\\nbegin open'; } > $LEM_PHASES",
        0,
    );
    assert_eq!(told["command"]["marks"]["accepted"], 2);
    assert_eq!(told["command"]["marks"]["refused"], 6);
    assert!(codes(&told).contains(&"marks.open"));
    assert_eq!(
        codes(&told)
            .iter()
            .filter(|c| **c == "marks.refused")
            .count(),
        6
    );
    let log = std::fs::read_to_string(run_dir(&told).join("records.jsonl")).unwrap();
    // Only as the argument that it was: what is refused is not repeated.
    assert_eq!(log.lines().filter(|l| l.contains("hunter2")).count(), 1);
}

#[test]
fn a_long_command_is_written_in_parts_that_add_up() {
    let bench = Bench::new();
    let script = "for i in 1 2 3 4 5 6 7 8; do echo begin s >$LEM_PHASES; sleep 0.3; echo end s >$LEM_PHASES; done";
    let args = ["--format", "json", "--set", "measurement.segment_s=1"];
    let told = result(&exec(&bench, &args, &["sh", "-c", script]), 0);
    let log = records(&run_dir(&told));
    assert!(of_kind(&log, "segment_written").count() >= 2);
    assert_eq!(phase(&told, "s")["count"], 8);
    let times: Vec<u64> = of_kind(&log, "samples")
        .filter(|s| s["source"] == "cpu0")
        .flat_map(|s| s["t_ns"].as_array().unwrap().clone())
        .map(|t| t.as_u64().unwrap())
        .collect();
    assert!(times.is_sorted() && times.len() > 50);
}

#[test]
fn secrets_in_arguments_are_not_recorded() {
    let bench = Bench::new();
    let out = exec(
        &bench,
        &["--format", "json"],
        &[
            "sh",
            "-c",
            "true",
            "--api-key",
            "hunter2",
            "--password=hunter2",
            "steps=3",
        ],
    );
    let told = result(&out, 0);
    assert_eq!(told["command"]["arguments"][5], "steps=3");
    for entry in std::fs::read_dir(run_dir(&told)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            assert!(!text.contains("hunter2"), "{path:?}");
        }
    }
    assert!(!stderr(&out).contains("hunter2"));
}

#[test]
fn the_idle_power_before_is_taken_away() {
    let bench = Bench::new();
    let args = [
        "--format",
        "json",
        "--measure-baseline",
        "--set",
        "measurement.baseline={duration_s: 0.5, settle_s: 0}",
    ];
    let told = result(&exec(&bench, &args, &["sleep", "0.5"]), 0);
    let bare = value(&told["baseline"]["bare_w"]);
    let above = value(&told["total_energy_above_bare_j"]);
    let total = value(&told["total_energy_j"]);
    let seconds = told["duration_s"].as_f64().unwrap();
    assert!((total - above - bare * seconds).abs() < 1e-6 * total);
    let why = told["total_energy_corrected_j"]["reason"].as_str().unwrap();
    assert!(why.contains("total_energy_above_bare_j"), "{why}");
}

#[test]
fn sinks_get_it_like_any_run() {
    let bench = Bench::new();
    let args = [
        "--format",
        "json",
        "--set",
        "integrations.files={enabled: true, path: copy}",
        "--name",
        "named",
    ];
    let out = exec(
        &bench,
        &args,
        &["sh", "-c", "echo begin x >$LEM_PHASES; sleep 0.3"],
    );
    let told = result(&out, 0);
    assert_eq!(told["name"], "named");
    assert_eq!(told["exports"][0]["state"], "delivered", "{told:#}");
}
