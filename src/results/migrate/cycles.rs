//! The cycles of a file: one, or several and their own statistics.

use super::super::{CycleResult, OldShape};
use super::facts::{self, Facts};
use super::notes::*;
use super::old::Old;
use super::{numbers, times, together};
use crate::analysis::statistics;

/// One cycle, and where it stands in the run.
pub(super) struct Cycle {
    pub facts: Facts,
    start_s: Result<f64, String>,
}

pub(super) fn of(old: &Old<'_>, shape: OldShape) -> Vec<Cycle> {
    let alone = |facts| {
        vec![Cycle {
            facts,
            start_s: Ok(0.0),
        }]
    };
    match shape {
        OldShape::Raw => alone(facts::of_process(old, None)),
        OldShape::Aggregated | OldShape::LaterExperiment => {
            alone(together::of_aggregate(old, None))
        }
        OldShape::MultiCycle => several(old),
    }
}

fn several(old: &Old<'_>) -> Vec<Cycle> {
    let backend = old.at("backend").text();
    let results = old.at("cycle_results").items();
    let metadata = old.at("cycle_metadata").items();
    let mut first = None;
    let mut cycles = Vec::with_capacity(results.len());
    for (index, cycle) in results.iter().enumerate() {
        let facts = together::of_aggregate(cycle, backend);
        let told = metadata
            .get(index)
            .and_then(|m| times::read(m.at("timestamp").text()?));
        let began = told.or(facts.start);
        first = first.or(began);
        let start_s = began
            .zip(first)
            .and_then(|(began, first)| began.since(first));
        let start_s = match index {
            0 => Ok(0.0),
            _ => start_s.ok_or_else(|| "version 2 did not tell when the cycle began".to_owned()),
        };
        cycles.push(Cycle { facts, start_s });
    }
    let measured = cycles
        .iter()
        .filter(|cycle| cycle.facts.energy[0].is_ok())
        .count();
    if measured > 0 && measured < cycles.len() {
        let what = format!("{measured} of {} cycles have an energy", cycles.len());
        old.notes()
            .push("total_energy_j", ENERGY_PARTLY_FAILED, what);
    }
    for path in ["num_cycles", "statistics.num_cycles"] {
        if let Some(said) = old
            .at(path)
            .count()
            .filter(|said| *said != cycles.len() as u64)
        {
            let what = format!("the file says {said} cycles and holds {}", cycles.len());
            old.notes().push("num_cycles", CYCLES_COUNT, what);
        }
    }
    cycles
}

pub(super) fn result(index: usize, cycle: &Cycle) -> CycleResult {
    let mut numbers = numbers::of(&[&cycle.facts]).numbers;
    if let Err(why) = &cycle.start_s {
        numbers.absent.insert("start_s".into(), why.clone());
    }
    CycleResult {
        cycle: u32::try_from(index).unwrap_or(u32::MAX),
        complete: true,
        start_s: *cycle.start_s.as_ref().unwrap_or(&0.0),
        throttled_s: None,
        outlier_in: Vec::new(),
        numbers,
    }
}

/// The file's own statistics, against those of the numbers that it says they are of.
pub(super) fn check_statistics(old: &Old<'_>, made: &numbers::Made) {
    let fields = [
        (
            "energy_mean_j",
            "energy_std_j",
            "total_energy_j",
            "total_energy_j",
            "energy.total",
        ),
        (
            "throughput_mean_tps",
            "throughput_std_tps",
            "avg_tokens_per_second",
            "throughput.total_tokens_per_sec",
            "throughput.total",
        ),
    ];
    let cycles = old.at("cycle_results").items();
    for (mean, stddev, of, path, id) in fields {
        let values: Vec<f64> = cycles
            .iter()
            .filter_map(|one| one.at(of).amount())
            .collect();
        let pairs = [
            (mean, statistics::mean(&values)),
            (stddev, statistics::stddev(&values)),
        ];
        for (field, theirs) in pairs {
            let Some(told) = old.at("statistics").at(field).amount() else {
                continue;
            };
            let same =
                theirs.is_some_and(|theirs| (told - theirs).abs() <= 1e-6 * told.max(theirs));
            let anew = made.statistics.get(id);
            let anew = anew.map(|s| if field == mean { s.mean } else { s.stddev });
            let now = match anew {
                Some(anew) => format!("is {anew} here"),
                None => "cannot be computed here".to_owned(),
            };
            let (reason, what) = match same {
                true => (
                    CYCLES_ANEW,
                    format!("statistics.{field} was {told}, and {now}"),
                ),
                false => (
                    CYCLES_DIFFER,
                    format!(
                        "statistics.{field} was {told}, which is not that of the cycles' {of}; it {now}"
                    ),
                ),
            };
            old.notes().push(path, reason, what);
        }
    }
}
