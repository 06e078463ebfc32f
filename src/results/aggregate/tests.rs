//! Processes that are made up record by record: what each reads of a device is known.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use lem_record::{FinishReason, How, Record, SpanKind};
use serde_json::{Value, json};

use super::{Options, Part, of_parts};
use crate::analysis::RunData;
use crate::analysis::testing::{MS, T0, TestLog, source};
use crate::results::{RunResult, assert_valid};

const S: u64 = 1_000 * MS;

/// One process of a job.
struct Process {
    id: &'static str,
    host: &'static str,
    boot: &'static str,
    gpu: &'static str,
    /// What its boot's monotonic clock is behind the first's, nanoseconds.
    behind: u64,
    /// Start and end of each cycle in seconds.
    cycles: &'static [(f64, f64)],
    /// When it samples, beside the full tenth of a second.
    phase_ns: u64,
    /// Where its counter begins.
    counter_from: Option<f64>,
}

const ONE: Process = Process {
    id: "one",
    host: "a",
    boot: "boot-a",
    gpu: "GPU-1",
    behind: 0,
    cycles: &[(0.0, 10.0), (12.0, 22.0)],
    phase_ns: 0,
    counter_from: None,
};
const TWO: Process = Process {
    id: "two",
    phase_ns: 37 * MS,
    ..ONE
};

/// The power of the device at a time: a ramp within steps, so that a shift would show.
fn watts(seconds: f64) -> f64 {
    100.0 + 20.0 * (seconds * 0.7).sin() + 3.0 * seconds
}

/// Its integral from 0.
fn joules(seconds: f64) -> f64 {
    100.0 * seconds + 20.0 / 0.7 * (1.0 - (seconds * 0.7).cos()) + 1.5 * seconds * seconds
}

fn between(from: f64, to: f64) -> f64 {
    joules(to) - joules(from)
}

impl Process {
    fn config(&self) -> Value {
        json!({"model_name": "m", "backend": "torch", "num_cycles": self.cycles.len(),
               "measurement": {"interval_ms": 100}, "experiment_name": self.id})
    }

    fn part(&self) -> Part {
        self.try_part(self.config()).unwrap()
    }

    /// A log of this process: each cycle has two requests of five tokens.
    fn try_part(&self, config: Value) -> Result<Part, String> {
        let mut gpu = source(
            "gpu0",
            "gpu",
            "measured",
            &["sample.power"],
            &json!({"gain_relative": 0.05}),
        );
        gpu["device"] = json!(self.gpu);
        if self.counter_from.is_some() {
            gpu["columns"] = json!([{"metric": "sample.energy"}]);
        }
        let mut log = TestLog::started(json!([gpu]));
        if let Record::RunStarted(started) = &mut log.envelopes[0].record {
            started.config = config;
            started.boot_id = Some(self.boot.into());
            started.environment = json!({"host": {"hostname": self.host}});
            self.id.clone_into(&mut started.name);
        }
        let at = |seconds: f64| T0 + (seconds * 1e9) as u64;
        for (n, (from, to)) in self.cycles.iter().enumerate() {
            let (start, end) = (at(*from), at(*to));
            let mut times: Vec<u64> = (start..end)
                .step_by(100 * MS as usize)
                .map(|t| t + self.phase_ns)
                .filter(|t| *t < end)
                .collect();
            times.extend([start, end]);
            times.sort_unstable();
            times.dedup();
            let points: Vec<(u64, f64)> = times
                .iter()
                .map(|t| {
                    let seconds = (t - T0) as f64 / 1e9;
                    match self.counter_from {
                        Some(zero) => (t - self.behind, joules(seconds) - zero),
                        None => (t - self.behind, watts(seconds)),
                    }
                })
                .collect();
            let metric = if self.counter_from.is_some() {
                "sample.energy"
            } else {
                "sample.power"
            };
            log.samples("gpu0", metric, How::Measured, &points);
            let cycle = u32::try_from(n).unwrap();
            let (start, end) = (start - self.behind, end - self.behind);
            for request in 0..2 {
                let first = start + (request + 1) * 100 * MS;
                let tokens = (0..5).map(|i| first + i * 50 * MS).collect();
                log.request(cycle, request, start, tokens, FinishReason::Length);
            }
            log.span(SpanKind::Cycle, "cycle", Some(cycle), start, end);
            log.finished(cycle, start, end);
        }
        for envelope in &mut log.envelopes {
            envelope.run = self.id.into();
        }
        // The stamp of the start is of this boot's clock as well.
        log.envelopes[0].at.mono_ns = T0 - self.behind;
        let data =
            RunData::from_log(&log.envelopes).with_status(lem_record::RunStatus::Finished, None);
        Part::of(Path::new("runs/x"), data)
    }
}

fn aggregate(processes: &[&Process]) -> RunResult {
    let parts = processes.iter().map(|p| p.part()).collect();
    let result = of_parts(parts, &Options::default()).unwrap();
    assert_valid(&result);
    result
}

fn total(result: &RunResult) -> f64 {
    let cycles = result.cycles.iter().filter(|c| c.complete);
    cycles
        .map(|c| c.numbers.total_energy_j.value.unwrap())
        .sum()
}

fn near(ours: f64, theirs: f64, relative: f64) {
    assert!(
        (ours - theirs).abs() <= relative * theirs.abs(),
        "{ours}, not {theirs}"
    );
}

fn codes(result: &RunResult) -> Vec<&str> {
    result.warnings.iter().map(|w| w.code.as_str()).collect()
}

#[test]
fn two_processes_on_one_gpu_cost_its_energy_and_not_twice_it() {
    let alone = aggregate(&[&ONE]);
    let both = aggregate(&[&ONE, &TWO]);
    let truth = between(0.0, 10.0) + between(12.0, 22.0);
    near(total(&alone), truth, 1e-3);
    near(total(&both), truth, 1e-3);
    let how = both.aggregation.as_ref().unwrap();
    assert_eq!(how.devices.len(), 1);
    assert_eq!(how.devices[0].runs, ["one", "two"]);
    assert!(how.devices[0].difference.unwrap() < 1e-3);
    assert!(how.completeness.complete);
    assert_eq!((both.num_cycles, both.numbers.tokens.output), (2, 40));
    // Half the joules a token: the work of both is for the energy of one.
    near(
        both.numbers.energy_per_output_token_j.value.unwrap(),
        alone.numbers.energy_per_output_token_j.value.unwrap() / 2.0,
        1e-3,
    );
    near(
        both.numbers.throughput.total_tokens_per_sec.unwrap(),
        40.0 / 20.0,
        1e-9,
    );
    assert_eq!(both.numbers.latency.ttft_ms.count, 8);
    let why = both.numbers.prefill_energy_j.reason.as_ref().unwrap();
    assert!(why.contains("lie across each other"), "{why}");
}

#[test]
fn counters_that_begin_anywhere_are_pieced_together() {
    let early = Process {
        counter_from: Some(-500.0),
        cycles: &[(0.0, 10.0)],
        ..ONE
    };
    let late = Process {
        counter_from: Some(9_000.0),
        cycles: &[(6.0, 16.0)],
        ..TWO
    };
    let both = aggregate(&[&early, &late]);
    assert_eq!(both.num_cycles, 1);
    near(total(&both), between(0.0, 16.0), 1e-3);
    let how = both.aggregation.as_ref().unwrap();
    near(how.overlap.all_s, 4.0, 1e-9);
    near(how.overlap.some_s, 16.0, 1e-9);
    near(how.devices[0].seconds, 16.0, 1e-9);
}

#[test]
fn one_gpu_is_counted_once_whatever_each_process_reads_of_it() {
    let counter = Process {
        counter_from: Some(-500.0),
        cycles: &[(0.0, 10.0)],
        ..ONE
    };
    let power = Process {
        cycles: &[(6.0, 16.0)],
        ..TWO
    };
    for order in [[&counter, &power], [&power, &counter]] {
        let both = aggregate(&order);
        let how = both.aggregation.as_ref().unwrap();
        assert_eq!(how.devices.len(), 1, "{:?}", how.devices);
        assert_eq!(how.devices[0].runs.len(), 2);
        assert!(how.devices[0].difference.unwrap() < 1e-3);
        near(total(&both), between(0.0, 16.0), 1e-3);
    }
    // Before, after, and with a pause between, in which nobody looked.
    let later = Process {
        cycles: &[(12.0, 16.0)],
        ..TWO
    };
    let both = aggregate(&[&counter, &later]);
    near(total(&both), between(0.0, 10.0) + between(12.0, 16.0), 1e-3);
}

#[test]
fn cycles_that_lie_across_each_other_are_one_stretch() {
    let shifted = Process {
        cycles: &[(5.0, 13.0), (20.0, 25.0)],
        ..TWO
    };
    let both = aggregate(&[&ONE, &shifted]);
    // 0 to 10, 5 to 13 and 12 to 22 hang together, and 20 to 25 with them.
    assert_eq!(both.num_cycles, 1);
    near(total(&both), between(0.0, 25.0), 1e-3);
    assert!(codes(&both).contains(&"aggregate.little_overlap"));
}

#[test]
fn two_gpus_add_up_each_in_its_own_time() {
    let other = Process {
        gpu: "GPU-2",
        cycles: &[(3.0, 10.0), (12.0, 22.0)],
        ..TWO
    };
    let both = aggregate(&[&ONE, &other]);
    let how = both.aggregation.as_ref().unwrap();
    assert_eq!(how.devices.len(), 2);
    assert_ne!(how.devices[0].id, how.devices[1].id);
    // The second GPU is not guessed before its process began its cycle.
    near(
        total(&both),
        between(0.0, 10.0) + between(3.0, 10.0) + 2.0 * between(12.0, 22.0),
        1e-3,
    );
    let one = both
        .numbers
        .total_energy_j
        .uncertainty
        .unwrap()
        .systematic
        .unwrap();
    let alone = aggregate(&[&ONE])
        .numbers
        .total_energy_j
        .uncertainty
        .unwrap()
        .systematic
        .unwrap();
    assert!(one > 1.5 * alone, "gains of one make add up as they are");
}

#[test]
fn hosts_are_joined_by_wall_time_and_it_is_said() {
    let behind = 500 * S;
    let other = Process {
        host: "b",
        boot: "boot-b",
        gpu: "GPU-2",
        behind,
        ..TWO
    };
    let both = aggregate(&[&ONE, &other]);
    near(
        total(&both),
        2.0 * (between(0.0, 10.0) + between(12.0, 22.0)),
        1e-3,
    );
    let how = both.aggregation.as_ref().unwrap();
    near(how.overlap.all_s, 20.0, 1e-6);
    assert!(
        how.overlap.clock.contains("2 boots"),
        "{}",
        how.overlap.clock
    );
    assert!(codes(&both).contains(&"aggregate.wall_clock"));
    assert_eq!(both.environment["hosts"].as_array().unwrap().len(), 2);
    // The same path on two machines is two devices.
    let here = Process {
        gpu: "/sys/x",
        ..ONE
    };
    let there = Process {
        gpu: "/sys/x",
        ..other
    };
    assert_eq!(
        aggregate(&[&here, &there])
            .aggregation
            .unwrap()
            .devices
            .len(),
        2
    );
}

#[test]
fn processes_one_after_the_other_are_told_and_no_time_between_counts() {
    let later = Process {
        cycles: &[(100.0, 110.0)],
        ..TWO
    };
    let both = aggregate(&[&ONE, &later]);
    assert_eq!(both.num_cycles, 3);
    near(
        total(&both),
        between(0.0, 10.0) + between(12.0, 22.0) + between(100.0, 110.0),
        1e-3,
    );
    assert!(codes(&both).contains(&"aggregate.apart"));
    assert!(
        codes(&both).contains(&"aggregate.incomplete"),
        "two cycles and one"
    );
}

#[test]
fn what_does_not_belong_together_is_refused_unless_allowed() {
    let refused = |parts: Vec<Part>| of_parts(parts, &Options::default()).unwrap_err();
    let mut config = TWO.config();
    config["model_name"] = json!("other");
    let mixed = || vec![ONE.part(), TWO.try_part(config.clone()).unwrap()];
    let why = refused(mixed());
    assert!(
        why.contains("different models (m; other)") && why.contains("--allow-mixed"),
        "{why}"
    );
    let allowed = Options {
        allow_mixed: true,
        ..Options::default()
    };
    let result = of_parts(mixed(), &allowed).unwrap();
    assert!(codes(&result).contains(&"aggregate.mixed"));
    assert_eq!(result.model_name, None, "which it was, cannot be said");
    assert!(refused(vec![ONE.part(), ONE.part()]).contains("given twice"));
    let none = Process { cycles: &[], ..ONE };
    assert!(
        none.try_part(none.config())
            .err()
            .unwrap()
            .contains("no finished cycle")
    );
}

#[test]
fn what_is_missing_is_told() {
    let mut short = TWO.part();
    short.data.status = Some(lem_record::RunStatus::Killed);
    let options = Options {
        expect: Some(3),
        ..Options::default()
    };
    let result = of_parts(vec![ONE.part(), short], &options).unwrap();
    let completeness = result.aggregation.unwrap().completeness;
    assert!(!completeness.complete);
    let missing = completeness.missing.join("\n");
    assert!(
        missing.contains("3 processes were expected, and 2 are there")
            && missing.contains("two did not finish"),
        "{missing}"
    );
    assert_eq!(result.status, lem_record::RunStatus::Killed);
}

#[test]
fn the_same_runs_give_the_same_result_in_any_order() {
    let mut forth = aggregate(&[&ONE, &TWO]);
    let back = aggregate(&[&TWO, &ONE]);
    forth.run_dir.clone_from(&back.run_dir);
    assert_eq!(forth, back);
}
