//! Making the visits.
//!
//! A point is an ordinary run in its own folder. A visit takes it up, measures a cycle and puts
//! it away; the last visit ends it. What is loaded stays loaded while the visits' points share
//! it. A point that fails is ended with its reason, and the sweep goes on.

mod close;
mod loaded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lem_delivery::{Log, Outcome as Delivered, Standing};
use lem_record::{RunStatus, Stamp};

use super::parent::{self, Parent};
use super::resolve::{self, Besides};
use super::stops::Stops;
use super::{adopt, points, told};
use crate::cli::Format;
use crate::command::run::experiment::{Experiment, Place, status_of};
use crate::command::run::{DEADLINE_S, exporters, interrupt, prepare, resume, started};
use crate::command::{Exit, Failure, Outcome, json, say, show};
use crate::config::Resolved;
use crate::engine::Cancel;
use crate::results::RunResult;
use crate::sweep::order::Visit;
use crate::sweep::plan::{Plan, Point};
use crate::sweep::state::{PointState, missing};
use crate::sweep::{KIND, POINT, SWEEP_ID, SWEEP_POINT};
use loaded::Loaded;

/// A sweep that is going on.
struct Sweep<'a> {
    folder: &'a Path,
    plan: &'a Plan,
    besides: &'a Besides,
    cancel: Cancel,
    states: Vec<PointState>,
    loaded: Loaded,
    stops: Stops,
    /// Points below their sweep at the sinks already.
    adopted: Vec<u32>,
    /// Deliveries that are not complete.
    owing: bool,
    /// A sink did not take a run to its end: the next one is not waited for as long.
    silent: bool,
    /// Marking points at a sink failed: it is tried once more, at the end.
    unmarked: bool,
}

/// Between two visits the sinks get so long at most; what is left is sent with the next one.
const BETWEEN_S: f64 = 2.0;
/// Likewise, to mark points as the sweep's.
const MARKING: Duration = Duration::from_secs(3);
pub const MARKING_AT_THE_END: Duration = Duration::from_secs(30);

/// All points, in the plan's order; the sweep's own run is begun before and ended after them.
pub fn whole(
    folder: &Path,
    plan: &Plan,
    besides: &Besides,
    strict: bool,
    retry_failed: bool,
    format: Format,
) -> Outcome {
    let first = plan.point(0).map_err(|e| Failure::usage(e.to_string()))?;
    let first = resolve::point(plan, first, besides)?;
    let cancel = Cancel::default();
    interrupt::watch(&cancel);
    let parent = Parent::open(folder, plan, &first)?;
    let mut sweep = Sweep::new(folder, plan, besides, cancel, retry_failed)?;
    sweep.visits(Some(&first))?;
    sweep.end_stopped_and_broken_off()?;
    let report = points::report(folder, plan, &sweep.states);
    let delivered = parent.end(plan, &report)?;
    sweep.adopt(&first, true);
    show(&match format {
        Format::Json => json(&report)?,
        Format::Table => told::report(plan, &report),
    });
    if sweep.cancel.is_cancelled() {
        say(&format!(
            "Stopped with {} of {} cycles. Go on with: lem sweep --resume {}",
            report.visits,
            report.planned_visits,
            folder.display()
        ));
        return Ok(Exit::Interrupted);
    }
    if report.failed > 0 {
        return Err(Failure::failed(format!(
            "{} of {} failed; the others are measured. Put the reason right, then: lem sweep --resume {} --retry-failed",
            report.failed,
            told::counted(report.points.len(), "point"),
            folder.display()
        )));
    }
    let incomplete = sweep.owing || !delivered.iter().all(Delivered::complete);
    if incomplete {
        say(&format!(
            "Deliveries are owed: lem export --pending {0} {0}/points delivers them",
            folder.display()
        ));
    }
    Ok(match strict && incomplete {
        true => Exit::Owing,
        false => Exit::Done,
    })
}

/// One point with all its cycles, as one job of an array.
pub fn point(
    folder: &Path,
    plan: &Plan,
    point: &Point,
    besides: &Besides,
    strict: bool,
    retry_failed: bool,
    format: Format,
) -> Outcome {
    let resolved = resolve::point(plan, point, besides)?;
    let cancel = Cancel::default();
    interrupt::watch(&cancel);
    parent::keep_plan(folder, plan, point)?;
    let place = points::folder(folder, point);
    let mut states = vec![PointState::Done { cycles: 0 }; plan.points.len()];
    if let Some(state) = states.get_mut(point.index as usize) {
        *state = points::state_of(&place, point)?;
        if let PointState::Done { cycles } = state {
            say(&format!(
                "Point {} is finished, with {}: {}",
                point.index,
                told::counted(*cycles as usize, "cycle"),
                place.display()
            ));
        }
    }
    let mut sweep = Sweep::of(folder, plan, besides, cancel, states, retry_failed)?;
    sweep.visits(None)?;
    let state = sweep.states.get(point.index as usize).cloned();
    let state = state.unwrap_or_default();
    if let PointState::Going { cycles } = state
        && sweep.cancel.is_cancelled()
    {
        let why = Some("interrupted by a signal".to_owned());
        sweep.owing |= close::end(&place, &resolved, RunStatus::Interrupted, why)?;
        say(&format!(
            "Stopped with {cycles} of {} cycles; the same command goes on",
            point.cycles
        ));
        return Ok(Exit::Interrupted);
    }
    if place.exists() {
        let result =
            crate::results::store::read(&place).map_err(|e| Failure::failed(e.to_string()))?;
        show(&crate::command::results::text(&result, format)?);
    }
    match state {
        PointState::Failed { reason, .. } => Err(Failure::failed(format!(
            "point {} failed: {reason}. Put that right, then run the same command with --retry-failed",
            point.index
        ))),
        PointState::Done { .. } if strict && sweep.owing => Ok(Exit::Owing),
        PointState::Done { .. } => Ok(Exit::Done),
        _ => Ok(Exit::Interrupted),
    }
}

impl<'a> Sweep<'a> {
    fn new(
        folder: &'a Path,
        plan: &'a Plan,
        besides: &'a Besides,
        cancel: Cancel,
        retry_failed: bool,
    ) -> Result<Self, Failure> {
        let states = points::states(folder, plan)?;
        Self::of(folder, plan, besides, cancel, states, retry_failed)
    }

    fn of(
        folder: &'a Path,
        plan: &'a Plan,
        besides: &'a Besides,
        cancel: Cancel,
        mut states: Vec<PointState>,
        retry_failed: bool,
    ) -> Result<Self, Failure> {
        for state in &mut states {
            if let PointState::Failed { cycles, .. } = state
                && retry_failed
            {
                *state = PointState::Going { cycles: *cycles };
            }
        }
        let stops = Stops::new(folder, plan, &states)?;
        Ok(Self {
            folder,
            plan,
            besides,
            cancel,
            states,
            loaded: Loaded::default(),
            stops,
            adopted: Vec::new(),
            owing: false,
            silent: false,
            unmarked: false,
        })
    }

    /// Makes every visit that is missing, as long as nobody asks to stop. `parent` where the
    /// points are shown below a sweep meanwhile.
    fn visits(&mut self, parent: Option<&Resolved>) -> Result<(), Failure> {
        let left = self.left();
        if left.is_empty() {
            return Ok(());
        }
        self.join_clocks(&left)?;
        self.stops.decide(self.plan, &self.states);
        let total = self.plan.visits.len();
        let mut from = 0;
        while let Some(first) = left.get(from).copied() {
            // Visits of one point that follow one another are one.
            let same = left.get(from..).unwrap_or_default();
            let count = match self.stops.is_active() {
                true => 1,
                false => same.iter().take_while(|v| v.point == first.point).count(),
            };
            from += count.max(1);
            let is_ended = self
                .states
                .get(first.point as usize)
                .is_none_or(PointState::is_ended);
            if self.cancel.is_cancelled() || is_ended || self.stops.is_stopped(first.point) {
                continue;
            }
            let last = same.get(count.saturating_sub(1)).copied().unwrap_or(first);
            self.visit(last, total)?;
            if let Some(parent) = parent {
                self.adopt(parent, false);
            }
        }
        self.loaded.unload();
        Ok(())
    }

    /// What the plan has left, and a visit without a cycle for a point that lacks its end only.
    fn left(&self) -> Vec<Visit> {
        let mut left = missing(self.plan, &self.states);
        for (point, state) in self.plan.points.iter().zip(&self.states) {
            if matches!(state, PointState::Going { cycles } if *cycles >= point.cycles) {
                left.push(Visit {
                    point: point.index,
                    cycle: point.cycles.saturating_sub(1),
                });
            }
        }
        left
    }

    /// Logs of before the machine was last started: this process's times go on from them.
    fn join_clocks(&self, left: &[Visit]) -> Result<(), Failure> {
        let mut boot = None;
        for (point, state) in self.plan.points.iter().zip(&self.states) {
            let going = matches!(state, PointState::Going { .. });
            if !going || !left.iter().any(|visit| visit.point == point.index) {
                continue;
            }
            let folder = points::folder(self.folder, point);
            let log = Log::read(&folder).map_err(|e| Failure::failed(e.to_string()))?;
            let resolved = resolve::point(self.plan, point, self.besides)?;
            let now = boot.get_or_insert_with(|| {
                prepare::surroundings(&resolved)
                    .host
                    .boot_id
                    .value()
                    .cloned()
            });
            // An earlier resumption may have gone ahead of this boot's clock.
            if *now != log.boot_id || Stamp::mono_ns() < log.last_at.mono_ns {
                Stamp::go_on_from(log.last_at);
            }
        }
        Ok(())
    }

    /// Measures a point up to and with a cycle. What goes wrong with the point is the point's;
    /// an error is the sweep's own end.
    fn visit(&mut self, visit: Visit, total: usize) -> Result<(), Failure> {
        let Some(point) = self.plan.points.get(visit.point as usize) else {
            return Ok(());
        };
        let resolved = resolve::point(self.plan, point, self.besides)?;
        let folder = points::folder(self.folder, point);
        let name = point.told();
        match self.measured(point, visit, &resolved, &folder) {
            Ok(None) => {}
            Ok(Some(result)) => {
                self.stops
                    .saw(point.index, self.states.get(point.index as usize), &result);
                self.tell(point, visit, &name, &result, total);
                for (stopped, why) in self.stops.decide(self.plan, &self.states) {
                    say(&format!("Point {stopped} is {why}"));
                }
            }
            // Not the point's fault: another machine, another sink. It stays as it is.
            Err(failure)
                if failure.exit == Exit::Usage
                    && points::state(&folder)? != PointState::Missing =>
            {
                return Err(failure);
            }
            Err(failure) => {
                say(&format!(
                    "error: point {} ({name}) failed: {failure}",
                    point.index
                ));
                self.fail(point, &resolved, &folder, failure.message)?;
            }
        }
        Ok(())
    }

    /// `None` where it was interrupted.
    fn measured(
        &mut self,
        point: &Point,
        visit: Visit,
        resolved: &Resolved,
        folder: &Path,
    ) -> Result<Option<RunResult>, Failure> {
        let engines = self.folder.join("engines");
        let several = self.plan.points.len() > 1;
        let prepared = self
            .loaded
            .turn_to(point, resolved, several, &engines, &self.cancel)?;
        if self.cancel.is_cancelled() {
            return Ok(None);
        }
        let config = &resolved.config;
        let cycles = visit.cycle + 1;
        let last = cycles >= point.cycles;
        let mut state = self
            .states
            .get(point.index as usize)
            .cloned()
            .unwrap_or_default();
        if state != PointState::Missing && close::never_began(folder)? {
            close::set_aside(self.folder, folder)?;
            state = PointState::Missing;
        }
        let mut experiment = match &state {
            PointState::Missing => {
                prepared.note(resolved.notes.iter());
                let name = format!("{} {}", self.plan.name, point.told());
                let mut first = started::started(name.trim().to_owned(), resolved, prepared)?;
                first.tags.extend(tags(self.plan, point));
                let place = Place {
                    run_id: point.run_id.clone(),
                    folder: absolute(folder)?,
                };
                Experiment::begin(
                    resolved,
                    prepared,
                    &place,
                    first,
                    exporters(resolved, None)?,
                )?
            }
            _ => {
                let log = Log::read(folder).map_err(|e| Failure::failed(e.to_string()))?;
                let now = started::started(String::new(), resolved, prepared)?;
                let sinks = exporters(resolved, Some(&log.started))?;
                let run = resume::Resumable {
                    folder: folder.to_owned(),
                    log,
                    cycles: point.cycles,
                };
                run.same_machine(&now)?;
                // Both stand in the log since the point was begun.
                prepared.bare_baseline.clear();
                prepared.notes.clear();
                Experiment::resume(prepared, folder, point.cycles, sinks)?
            }
        };
        // The idle power is observed before a point's first cycle and after its last one.
        let mut rule = config.clone();
        rule.measurement.baseline.enabled &= last || matches!(state, PointState::Missing);
        let patience = config.integrations.deadline_s.unwrap_or(DEADLINE_S);
        if !last || self.silent {
            rule.integrations.deadline_s = Some(patience.min(BETWEEN_S));
        }
        let outcome = experiment.measure(&rule, prepared, cycles, last, &self.cancel);
        let done = experiment.done();
        let (status, reason) = status_of(&outcome);
        let mut set = |state| {
            if let Some(place) = self.states.get_mut(point.index as usize) {
                *place = state;
            }
        };
        if last || status == RunStatus::Failed {
            let cache = prepared.idle_cache.clone();
            // A signal between two cycles: the point goes on later.
            let closed = experiment.end(&rule, status, reason.clone(), cache.as_ref())?;
            self.silent = !closed.delivered.iter().all(Delivered::complete);
            self.owing |= self.silent;
            let log = Log::read(folder).map_err(|e| Failure::failed(e.to_string()))?;
            let cycles = log.done();
            set(PointState::of(cycles, Some((status, reason.as_deref()))));
            return match status {
                RunStatus::Failed => Err(Failure::failed(reason.unwrap_or_default())),
                RunStatus::Finished => Ok(Some(closed.result)),
                _ => Ok(None),
            };
        }
        experiment.suspend(&rule)?;
        if status != RunStatus::Finished {
            let log = Log::read(folder).map_err(|e| Failure::failed(e.to_string()))?;
            set(PointState::Going { cycles: log.done() });
            return Ok(None);
        }
        set(PointState::Going { cycles: done });
        Ok(points::result(folder))
    }

    /// A point that failed is a run that failed, whatever there is of it.
    fn fail(
        &mut self,
        point: &Point,
        resolved: &Resolved,
        folder: &Path,
        reason: String,
    ) -> Result<(), Failure> {
        // Nothing that it may have broken serves another point.
        self.loaded.unload();
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        let before = points::state(folder)?;
        if !before.is_ended() {
            let first = close::of_failed(self.plan, point, resolved)?;
            let folder = absolute(folder)?;
            self.owing |= close::fail(&folder, &point.run_id, first, resolved, &reason)?;
        }
        if let Some(state) = self.states.get_mut(point.index as usize) {
            *state = points::state(folder)?;
        }
        Ok(())
    }

    /// Points that are not gone on with are ended, so that their sinks know.
    fn end_stopped_and_broken_off(&mut self) -> Result<(), Failure> {
        for point in &self.plan.points {
            let Some(state) = self.states.get_mut(point.index as usize) else {
                continue;
            };
            if !matches!(state, PointState::Going { .. }) {
                continue;
            }
            let stopped = self.stops.why(point.index);
            let (status, reason) = match stopped {
                Some(why) => (RunStatus::Finished, why.to_owned()),
                None => (RunStatus::Interrupted, "interrupted by a signal".to_owned()),
            };
            let folder = points::folder(self.folder, point);
            let log = Log::read(&folder).map_err(|e| Failure::failed(e.to_string()))?;
            if log.standing == Standing::Ended(status) {
                continue;
            }
            let resolved = resolve::point(self.plan, point, self.besides)?;
            self.owing |= close::end(&folder, &resolved, status, Some(reason))?;
            *state = points::state(&folder)?;
        }
        Ok(())
    }

    /// Shows what is new below the sweep; at the end, says what could not be.
    fn adopt(&mut self, resolved: &Resolved, at_the_end: bool) {
        let there = |point: &&Point| {
            let state = self.states.get(point.index as usize);
            state.is_some_and(|state| *state != PointState::Missing)
                && !self.adopted.contains(&point.index)
        };
        let new: Vec<&Point> = self.plan.points.iter().filter(there).collect();
        let folders: Vec<PathBuf> = new.iter().map(|p| points::folder(self.folder, p)).collect();
        if folders.is_empty() || (self.unmarked && !at_the_end) {
            return;
        }
        let limit = match at_the_end {
            true => MARKING_AT_THE_END,
            false => MARKING,
        };
        match adopt::adopt(self.folder, &folders, resolved, limit) {
            Ok(done) if done.owed.is_empty() => {
                if done.marked >= folders.len() {
                    self.adopted.extend(new.iter().map(|point| point.index));
                }
            }
            Ok(done) if at_the_end => {
                for owed in done.owed {
                    say(&format!(
                        "warning: points are not shown below their sweep: {owed}. lem sweep --resume {} tries again",
                        self.folder.display()
                    ));
                }
            }
            Ok(_) => self.unmarked = true,
            Err(failure) if at_the_end => say(&format!("warning: {failure}")),
            Err(_) => {}
        }
    }

    fn tell(&self, point: &Point, visit: Visit, name: &str, result: &RunResult, total: usize) {
        let pairs = self.plan.points.iter().zip(&self.states);
        let done: u32 = pairs.map(|(p, s)| s.cycles().min(p.cycles)).sum();
        let numbers = points::numbers(result);
        let told: Vec<String> = [crate::sweep::quantity::THROUGHPUT, self.plan.best.as_str()]
            .iter()
            .filter_map(|id| crate::sweep::quantity::row(id).ok())
            .map(|row| format!("{} {}", told::estimate(numbers.get(row.id)), row.unit))
            .collect();
        say(&format!(
            "[{done}/{total}] Point {}{}, cycle {} of {}: {}",
            point.index,
            if name.is_empty() {
                String::new()
            } else {
                format!(" ({name})")
            },
            visit.cycle + 1,
            point.cycles,
            told.join(", ")
        ));
    }
}

/// What marks a run as a point of a sweep.
pub fn tags(plan: &Plan, point: &Point) -> BTreeMap<String, String> {
    [
        (SWEEP_ID, plan.sweep_id.clone()),
        (SWEEP_POINT, point.index.to_string()),
        (KIND, POINT.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The folder of a run, whose parent is made where it is missing.
fn absolute(folder: &Path) -> Result<PathBuf, Failure> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    let id = folder.file_name().unwrap_or_default().to_string_lossy();
    started::folder(&parent.display().to_string(), &id)
}
