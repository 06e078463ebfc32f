//! How far a sweep is, from what its points' logs say: the logs are the truth, nothing else
//! keeps count.

use lem_record::RunStatus;
use serde::Serialize;

use super::order::Visit;
use super::plan::Plan;

/// A point, as its log has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PointState {
    /// There is no log.
    #[default]
    Missing,
    /// So many cycles are finished and the run is not ended, or was broken off.
    Going { cycles: u32 },
    /// Ended, whether with all cycles or stopped early.
    Done { cycles: u32 },
    /// Ended by a failure.
    Failed { cycles: u32, reason: String },
}

impl PointState {
    /// From the log's finished cycles and its last end.
    pub fn of(cycles: u32, end: Option<(RunStatus, Option<&str>)>) -> Self {
        match end {
            Some((RunStatus::Finished, _)) => Self::Done { cycles },
            Some((RunStatus::Failed, reason)) => Self::Failed {
                cycles,
                reason: reason.unwrap_or("the log does not say why").to_owned(),
            },
            // Interrupted or killed: it goes on where it was broken off.
            Some(_) | None => Self::Going { cycles },
        }
    }

    pub const fn cycles(&self) -> u32 {
        match self {
            Self::Missing => 0,
            Self::Going { cycles } | Self::Done { cycles } | Self::Failed { cycles, .. } => *cycles,
        }
    }

    /// Whether nothing more is to be measured of it.
    pub const fn is_ended(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. })
    }
}

/// The visits that are still to be made, in the plan's order.
pub fn missing(plan: &Plan, states: &[PointState]) -> Vec<Visit> {
    let left = |visit: &&Visit| {
        let state = states.get(visit.point as usize);
        state.is_none_or(|state| !state.is_ended() && visit.cycle >= state.cycles())
    };
    plan.visits.iter().filter(left).copied().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::plan::{Base, Making, Point};
    use super::*;
    use crate::config::SweepOrder;

    fn plan() -> Plan {
        let point = |index| Point {
            index,
            run_id: Plan::run_id("s", index),
            config: 0,
            parameters: serde_json::Map::new(),
            cycles: 3,
            config_sha256: String::new(),
            load_key: String::new(),
        };
        Plan::new(Making {
            sweep_id: "s".into(),
            name: "s".into(),
            order: SweepOrder::Blocks,
            seed: 7,
            stop_early: None,
            best: "throughput.total".into(),
            results_dir: ".".into(),
            bases: vec![Base {
                file: "a".into(),
                given: serde_json::Map::new(),
                left_out: Vec::new(),
            }],
            points: (0..4).map(point).collect(),
        })
        .unwrap()
    }

    #[test]
    fn what_is_there_is_not_measured_again() {
        let plan = plan();
        let failed = PointState::of(1, Some((RunStatus::Failed, Some("no memory"))));
        let states = [
            PointState::Missing,
            PointState::of(2, Some((RunStatus::Killed, None))),
            PointState::of(1, Some((RunStatus::Finished, None))),
            failed,
        ];
        let missing = missing(&plan, &states);
        let of = |point| {
            missing
                .iter()
                .filter(move |v| v.point == point)
                .map(|v| v.cycle)
        };
        assert_eq!(of(0).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(of(1).collect::<Vec<_>>(), [2]);
        assert_eq!(of(2).count() + of(3).count(), 0);
        let order: Vec<&Visit> = plan.visits.iter().filter(|v| missing.contains(v)).collect();
        assert!(missing.iter().eq(order), "the plan's order is kept");
    }
}
