//! Early stopping, where it is asked for: what is known of each point, and who is ended.

use std::path::Path;

use super::points;
use crate::command::Failure;
use crate::results::RunResult;
use crate::sweep::plan::Plan;
use crate::sweep::state::PointState;
use crate::sweep::stop::{Rule, Seen};

pub struct Stops {
    rule: Option<Rule>,
    seen: Vec<Option<Seen>>,
    why: Vec<Option<String>>,
}

impl Stops {
    pub fn new(folder: &Path, plan: &Plan, states: &[PointState]) -> Result<Self, Failure> {
        let rule = plan.stop_early.as_deref().map(Rule::parse).transpose();
        let rule = rule.map_err(|error| Failure::usage(error.to_string()))?;
        let mut stops = Self {
            rule,
            seen: vec![None; plan.points.len()],
            why: vec![None; plan.points.len()],
        };
        if stops.rule.is_none() {
            return Ok(stops);
        }
        for (point, state) in plan.points.iter().zip(states) {
            // A failed point's numbers are not those that were asked for.
            if state.cycles() > 0
                && !matches!(state, PointState::Failed { .. })
                && let Some(result) = points::result(&points::folder(folder, point))
            {
                stops.saw(point.index, Some(state), &result);
            }
        }
        Ok(stops)
    }

    /// Whether any point may be ended early: then each cycle is a moment to decide.
    pub const fn is_active(&self) -> bool {
        self.rule.is_some()
    }

    pub fn saw(&mut self, point: u32, state: Option<&PointState>, result: &RunResult) {
        let Some(rule) = &self.rule else { return };
        let estimate = (rule.row().of)(result);
        if let Some(seen) = self.seen.get_mut(point as usize) {
            *seen = estimate.map(|estimate| Seen {
                cycles: state.map_or(0, PointState::cycles),
                estimate,
            });
        }
    }

    /// The points that are ended now, with the reason. Those that have all their cycles, or were
    /// ended before, are compared with, and there is nothing left to end.
    pub fn decide(&mut self, plan: &Plan, states: &[PointState]) -> Vec<(u32, String)> {
        let Some(rule) = &self.rule else {
            return Vec::new();
        };
        let mut new = Vec::new();
        for stopped in rule.poor(&self.seen) {
            let point = plan.points.get(stopped.point);
            let going = point
                .zip(states.get(stopped.point))
                .is_some_and(|(p, state)| !state.is_ended() && state.cycles() < p.cycles);
            if let (true, Some(why @ None)) = (going, self.why.get_mut(stopped.point)) {
                *why = Some(stopped.reason.clone());
                new.push((
                    u32::try_from(stopped.point).unwrap_or(u32::MAX),
                    stopped.reason,
                ));
            }
        }
        new
    }

    pub fn is_stopped(&self, point: u32) -> bool {
        self.why(point).is_some()
    }

    pub fn why(&self, point: u32) -> Option<&str> {
        self.why.get(point as usize)?.as_deref()
    }
}
