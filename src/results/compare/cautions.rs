//! What a reader of a comparison must know of the runs.

use lem_record::RunStatus;
use serde_json::Value;

use super::FEW_CYCLES;
use super::differences::host;
use crate::results::RunResult;

pub fn of(results: &[RunResult]) -> Vec<String> {
    let mut told: Vec<String> = results.iter().flat_map(of_run).collect();
    let mut differs = |what: &str, of: fn(&RunResult) -> Option<String>, therefore: &str| {
        let mut values: Vec<Option<String>> = results.iter().map(of).collect();
        values.sort();
        values.dedup();
        if values.len() > 1 {
            told.push(format!("{what} differ: {therefore}"));
        }
    };
    differs("the machines", host, "a difference may be theirs");
    differs(
        "the engines",
        |r| {
            r.model
                .as_ref()
                .map(|m| format!("{} {}", m.engine, m.engine_version))
        },
        "a difference may be theirs",
    );
    differs(
        "the versions of lem or of its formulas",
        |r| Some(format!("{} {}", r.producer.version, r.producer.analysis)),
        "lem results rebuild makes the older results anew with today's",
    );
    told
}

fn of_run(result: &RunResult) -> Vec<String> {
    let name = format!("{} ({})", result.name, result.run_id);
    let mut told = Vec::new();
    if result.status != RunStatus::Finished {
        told.push(format!(
            "{name} did not finish: it is {}",
            result.status.as_str()
        ));
    }
    if result.num_cycles < FEW_CYCLES {
        told.push(format!(
            "{name} has {} finished cycles: with fewer than {FEW_CYCLES} an interval is very wide or absent. --cycles or num_cycles asks for more",
            result.num_cycles
        ));
    }
    if !result.throttling.is_empty() {
        let mut reasons: Vec<&str> = result
            .throttling
            .iter()
            .map(|t| t.reason.as_str())
            .collect();
        reasons.sort_unstable();
        reasons.dedup();
        told.push(format!("{name} was throttled ({})", reasons.join(", ")));
    }
    if result
        .config
        .pointer("/profiling/enabled")
        .and_then(Value::as_bool)
        == Some(true)
    {
        told.push(format!("{name} was profiled, after its cycles"));
    }
    if result.requests_failed() > 0 {
        told.push(format!(
            "{name} has failed requests: what was not answered costs too"
        ));
    }
    told
}

impl RunResult {
    const fn requests_failed(&self) -> u64 {
        self.numbers.requests.failed
    }
}
