//! What the points' folders say.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lem_delivery::{Log, LogError, Standing};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::command::Failure;
use crate::results::{RunResult, store};
use crate::sweep::front::front;
use crate::sweep::load_key::config_sha256;
use crate::sweep::plan::{POINTS_FOLDER, Plan, Point};
use crate::sweep::quantity::{self, ENERGY_PER_TOKEN, Estimate, QUANTITIES, THROUGHPUT};
use crate::sweep::state::PointState;

pub fn folder(sweep: &Path, point: &Point) -> PathBuf {
    sweep.join(POINTS_FOLDER).join(&point.run_id)
}

/// How far a point is. One that another process measures now is refused.
pub fn state(folder: &Path) -> Result<PointState, Failure> {
    let Some(log) = log(folder)? else {
        return Ok(PointState::Missing);
    };
    if let Standing::Running { pid } = log.standing {
        let pid = pid
            .map(|pid| format!(" by process {pid}"))
            .unwrap_or_default();
        return Err(Failure::failed(format!(
            "the point in {} is being measured{pid}. Wait for its end",
            folder.display()
        )));
    }
    Ok(of(&log))
}

/// As [`state`], of a folder that must hold this very point: cycles of two configurations are
/// no repetitions of one another.
pub fn state_of(folder: &Path, point: &Point) -> Result<PointState, Failure> {
    if let Some(log) = log(folder)?
        && config_sha256(&log.started.config) != point.config_sha256
    {
        return Err(Failure::usage(format!(
            "{} holds a point of another plan. Choose another --id when the plan is made, or another --output",
            folder.display()
        )));
    }
    state(folder)
}

fn log(folder: &Path) -> Result<Option<Log>, Failure> {
    match Log::read(folder) {
        Ok(log) => Ok(Some(log)),
        Err(LogError::NoLog { .. }) => Ok(None),
        Err(error) => Err(Failure::failed(error.to_string())),
    }
}

fn of(log: &Log) -> PointState {
    let end = log.finished.as_ref();
    let end = end.map(|end| (end.status, end.reason.as_deref()));
    PointState::of(log.done(), end)
}

/// All of a plan's, whoever measures them now.
pub fn looked_at(sweep: &Path, plan: &Plan) -> Result<Vec<PointState>, Failure> {
    let state = |point| Ok(log(&folder(sweep, point))?.map_or(PointState::Missing, |log| of(&log)));
    plan.points.iter().map(state).collect()
}

/// All of a plan's.
pub fn states(sweep: &Path, plan: &Plan) -> Result<Vec<PointState>, Failure> {
    let points = plan.points.iter();
    points
        .map(|point| state_of(&folder(sweep, point), point))
        .collect()
}

/// What came of a sweep, so far.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub sweep_id: String,
    pub sweep_dir: String,
    pub name: String,
    /// `finished` where every point is, else `failed` or `interrupted`.
    pub status: &'static str,
    /// The quantity that makes the best point.
    pub best_in: String,
    /// Index of the best point.
    pub best: Option<u32>,
    pub failed: usize,
    /// Cycles that were measured, of those that were planned.
    pub visits: u64,
    pub planned_visits: u64,
    pub points: Vec<PointReport>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PointReport {
    pub index: u32,
    pub run_id: String,
    pub run_dir: String,
    /// The configuration's file.
    pub config: String,
    pub parameters: Map<String, Value>,
    #[serde(flatten)]
    pub state: PointState,
    pub planned_cycles: u32,
    /// Why it ended with fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// By the quantities' ids.
    pub numbers: BTreeMap<&'static str, Estimate>,
    /// How the energy was obtained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy_how: Option<&'static str>,
    /// No other point has both more throughput and less energy a token.
    pub on_front: bool,
    pub best: bool,
}

/// The numbers of a point with at least one finished cycle.
pub fn result(folder: &Path) -> Option<RunResult> {
    store::rebuild(folder, Vec::new()).ok()
}

pub fn numbers(result: &RunResult) -> BTreeMap<&'static str, Estimate> {
    let all = QUANTITIES.iter();
    all.filter_map(|row| Some((row.id, (row.of)(result)?)))
        .collect()
}

pub fn report(sweep: &Path, plan: &Plan, states: &[PointState]) -> Report {
    let mut points: Vec<PointReport> = plan
        .points
        .iter()
        .zip(states)
        .map(|(point, state)| one(sweep, plan, point, state))
        .collect();
    // A failed point has numbers, but not those that were asked for.
    let counts = |point: &&PointReport| !matches!(point.state, PointState::Failed { .. });
    let of = |point: &PointReport, id: &str| {
        Some(point).filter(counts)?;
        point.numbers.get(id).copied()
    };
    let both: Vec<Option<(f64, f64)>> = points
        .iter()
        .map(|p| Some((of(p, THROUGHPUT)?.value, of(p, ENERGY_PER_TOKEN)?.value)))
        .collect();
    let on_front = front(&both);
    let by: Vec<Option<Estimate>> = points.iter().map(|p| of(p, &plan.best)).collect();
    let best = quantity::row(&plan.best)
        .ok()
        .and_then(|row| quantity::best(row, &by));
    for (n, (point, on_front)) in points.iter_mut().zip(on_front).enumerate() {
        point.on_front = on_front;
        point.best = best == Some(n);
    }
    let failed = points
        .iter()
        .filter(|p| matches!(p.state, PointState::Failed { .. }))
        .count();
    Report {
        sweep_id: plan.sweep_id.clone(),
        sweep_dir: sweep.display().to_string(),
        name: plan.name.clone(),
        status: match states.iter().all(PointState::is_ended) {
            false => "interrupted",
            true if failed > 0 => "failed",
            true => "finished",
        },
        best_in: plan.best.clone(),
        best: best.and_then(|n| points.get(n)).map(|point| point.index),
        failed,
        visits: states.iter().map(|state| u64::from(state.cycles())).sum(),
        planned_visits: plan.visits.len() as u64,
        points,
    }
}

fn one(sweep: &Path, plan: &Plan, point: &Point, state: &PointState) -> PointReport {
    let folder = folder(sweep, point);
    let result = Some(state)
        .filter(|s| s.cycles() > 0)
        .and_then(|_| result(&folder));
    let how = result
        .as_ref()
        .and_then(|r| r.numbers.energy_per_output_token_j.how);
    let short = matches!(state, PointState::Done { cycles } if *cycles < point.cycles);
    let config = plan.bases.get(point.config).map(|base| base.file.clone());
    PointReport {
        index: point.index,
        run_id: point.run_id.clone(),
        run_dir: folder.display().to_string(),
        config: config.unwrap_or_default(),
        parameters: point.parameters.clone(),
        state: state.clone(),
        planned_cycles: point.cycles,
        stopped: result
            .as_ref()
            .filter(|_| short)
            .and_then(|result| result.status_reason.clone()),
        numbers: result.as_ref().map(numbers).unwrap_or_default(),
        energy_how: how.map(|how| how.as_str()),
        on_front: false,
        best: false,
    }
}
