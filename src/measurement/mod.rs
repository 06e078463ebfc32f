//! Where an engine and a meter meet: baseline, warm-up, cycles.
//!
//! A cycle answers the whole workload once. From the first edge read of the meter
//! to the last, nothing runs but the engine, the sampler and appends to memory: the
//! quiet window. Records are written between cycles. A cycle that is longer than a
//! segment is written in parts, each marked in the log, because losing an hour is
//! worse than one disturbed moment that is known.

mod baseline;
mod beside;
mod collect;
mod cool_down;
mod cycle;
mod idle_cache;
mod probe;
mod rounds;
mod shown;
#[cfg(test)]
mod tests;
mod warmup;

use std::cell::RefCell;
use std::time::Duration;

use lem_record::{Recorder, Warning};

use crate::config;
use crate::engine::{Cancel, Engine, EngineError, Work};

pub use baseline::{BaselineKind, observe};
pub(crate) use beside::{lock, written_beside};
pub use cool_down::Temperatures;
pub use cycle::CycleDone;
pub use idle_cache::IdleCache;
pub use probe::{Probe, Sampling, Window};
pub use rounds::Rounds;
pub use shown::Shown;

/// What a measurement works with.
pub struct Session<'a> {
    pub engine: &'a mut dyn Engine,
    pub probe: &'a dyn Probe,
    pub recorder: &'a dyn Recorder,
    pub observer: &'a mut dyn Observer,
    pub cancel: &'a Cancel,
    /// For sinks that show the run while it goes on.
    pub shown: &'a Shown,
    /// How warm the devices were when the first cycle began, of all that is measured with the
    /// engine as it is loaded; looked at where a rule asks for it.
    pub first_start: &'a RefCell<Option<Temperatures>>,
}

/// Hears of progress, between the measured windows only.
pub trait Observer {
    fn stage(&mut self, _what: &str) {}
    fn warmup_round(&mut self, _round: u32, _most: u32) {}
    fn cycle_starts(&mut self, _cycle: u32, _of: u32) {}
    fn cycle_done(&mut self, _done: &CycleDone) {}
    /// Whether so many cycles are enough, where the plan allows for more.
    fn enough(&mut self, _done: u32) -> bool {
        true
    }
    /// Records are on disk and the next window has not begun: the time to send.
    fn between_cycles(&mut self) {}
}

/// For those who do not want to hear.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every cycle was measured.
    Complete,
    /// The user asked to stop; what was finished before stands.
    Interrupted,
}

#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(
        "the run's log could not be written: {0}. Free some space or choose another folder with --output; what was measured before is kept"
    )]
    Log(#[from] std::io::Error),
}

/// How many of what; the part of the configuration that the measurement obeys.
#[derive(Clone, Debug)]
pub struct Plan {
    pub work: Work,
    pub cycles: u32,
    /// More than `cycles`, where those are not enough.
    pub most: u32,
    /// Cycles that an earlier process finished: they are not measured again.
    pub first_cycle: u32,
    /// Whether the run ends with these cycles: then what follows the last one follows.
    pub last: bool,
    pub measurement: config::Measurement,
    /// Extra rounds after the cycles.
    pub rounds: Rounds,
}

/// Measures. The recorder's log must have been started.
pub fn measure(session: &mut Session<'_>, plan: &Plan) -> Result<Ended, MeasureError> {
    // Loading is over: whatever is sent from here on would disturb.
    session.recorder.quiet(true);
    let ended = measure_quietly(session, plan);
    session.shown.phase("ended");
    session.recorder.quiet(false);
    session.recorder.commit()?;
    ended
}

fn measure_quietly(session: &mut Session<'_>, plan: &Plan) -> Result<Ended, MeasureError> {
    warm_up(session, plan)?;
    if session.cancel.is_cancelled() {
        return Ok(Ended::Interrupted);
    }
    take_baseline(session, plan, BaselineKind::Loaded)?;
    let first = match plan.measurement.cool_down.enabled {
        true => {
            let mut first = session.first_start.borrow_mut();
            first
                .get_or_insert_with(|| cool_down::look(session.probe, session.cancel))
                .clone()
        }
        false => Temperatures::new(),
    };
    let most = plan.most.max(plan.cycles);
    let mut cycle = plan.first_cycle;
    while cycle < most && !(cycle >= plan.cycles && session.observer.enough(cycle)) {
        if session.cancel.is_cancelled() {
            return Ok(Ended::Interrupted);
        }
        // Also before the first of a later visit.
        if cycle > 0 {
            pause(
                Duration::from_secs_f64(plan.measurement.pause_s),
                session.cancel,
            );
        }
        cool_down::wait(session, &plan.measurement.cool_down, &first, cycle);
        session.observer.cycle_starts(cycle, most);
        session.shown.cycle(cycle);
        let done = cycle::run(session, plan, cycle)?;
        session.recorder.quiet(false);
        session.observer.cycle_done(&done);
        session.observer.between_cycles();
        session.recorder.quiet(true);
        if !done.complete {
            return Ok(Ended::Interrupted);
        }
        cycle += 1;
    }
    if cycle == most && most > plan.cycles {
        // So that it is known how near the last cycle came.
        session.observer.enough(most);
    }
    if plan.last {
        rounds::run(session, plan)?;
        take_baseline(session, plan, BaselineKind::After)?;
    }
    Ok(Ended::Complete)
}

fn take_baseline(
    session: &mut Session<'_>,
    plan: &Plan,
    kind: BaselineKind,
) -> Result<(), MeasureError> {
    let rule = &plan.measurement.baseline;
    if !rule.enabled || session.cancel.is_cancelled() {
        return Ok(());
    }
    session.observer.stage(kind.told());
    session.shown.phase("baseline");
    for record in observe(session.probe, rule, kind, session.cancel) {
        session.recorder.record(record);
    }
    session.recorder.commit()?;
    Ok(())
}

fn warm_up(session: &mut Session<'_>, plan: &Plan) -> Result<(), MeasureError> {
    let rule = &plan.measurement.warmup;
    let most = rule.max_rounds.max(rule.min_rounds);
    if most == 0 {
        return Ok(());
    }
    session.observer.stage("Warming up");
    session.shown.phase("warmup");
    let (mut seconds_per_token, mut watts) = (Vec::new(), Vec::new());
    let verdict = loop {
        if let Some(verdict) = warmup::verdict(&[&seconds_per_token, &watts], rule) {
            break verdict;
        }
        if session.cancel.is_cancelled() {
            return Ok(());
        }
        let round = u32::try_from(seconds_per_token.len()).unwrap_or(u32::MAX);
        session.observer.warmup_round(round, most);
        let done = cycle::warmup_round(session, plan, round)?;
        seconds_per_token.push(done.seconds_per_token);
        watts.extend(done.watts);
    };
    if !verdict.steady && rule.max_rounds > rule.min_rounds {
        session.recorder.record(lem_record::Record::Warning(Warning {
            code: "warmup.unsteady".into(),
            message: match verdict.spread {
                Some(spread) => format!(
                    "After {} warm-up rounds time per token or power still vary, by {:.0} % (allowed: {:.0} %), or drift",
                    verdict.rounds,
                    spread * 100.0,
                    rule.tolerance * 100.0
                ),
                None => format!(
                    "After {} warm-up rounds it cannot be told whether the time per token is steady: that takes more rounds",
                    verdict.rounds
                ),
            },
            remedy: "Look for other work on this machine, or raise measurement.warmup.max_rounds"
                .into(),
        }));
    }
    Ok(())
}

/// Sleeps, but not through an interrupt.
fn pause(time: Duration, cancel: &Cancel) {
    let end = std::time::Instant::now() + time;
    while !cancel.is_cancelled() {
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(100)));
    }
}
