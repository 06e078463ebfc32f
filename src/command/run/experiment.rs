//! One experiment in its folder: begun or taken up again, measured cycle by cycle, put away for
//! later or brought to its end. `lem run` goes the whole way at once; a sweep comes back to
//! each of its points.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use lem_delivery::{Delivery, Outcome as Delivered, Policy, Spool};
use lem_record::{Exporter, Record, Recorder as _, Resumed, RunStarted, RunStatus, Warning};

use super::enough::Enough;
use super::prepare::Prepared;
use super::progress::Progress;
use super::{DEADLINE_S, profile, started, thermal_at_end};
use crate::command::{Failure, close, say};
use crate::config::{Config, Resolved};
use crate::engine::Cancel;
use crate::measurement::{self, Ended, IdleCache, MeasureError, Plan, Rounds, Session, Shown};
use crate::results::RunResult;

/// Between two cycles, sinks get at most this long before the next cycle starts.
const BETWEEN: Duration = Duration::from_secs(2);

/// Where a new run is put.
pub struct Place {
    pub run_id: String,
    /// Does not exist yet: it appears together with its log.
    pub folder: PathBuf,
}

/// A run that this process has in hand: it owns the folder.
pub struct Experiment {
    spool: Spool,
    delivery: Rc<Delivery>,
    /// Cycles that are finished.
    done: u32,
}

/// What came of a run.
pub struct Closed {
    pub result: RunResult,
    pub delivered: Vec<Delivered>,
    pub folder: PathBuf,
}

impl Experiment {
    /// Begins a run: its folder, its log and its deliveries.
    pub fn begin(
        resolved: &Resolved,
        prepared: &mut Prepared,
        place: &Place,
        started: RunStarted,
        exporters: Vec<Box<dyn Exporter>>,
    ) -> Result<Self, Failure> {
        let spool = Spool::create(&place.folder, &place.run_id, started)
            .map_err(|e| Failure::failed(e.to_string()))?;
        started::write_config(&place.folder, resolved)?;
        Self::on(spool, prepared, exporters, 0)
    }

    /// Takes up a run where its log ends: finished cycles are kept, and what a broken cycle left
    /// behind is told to be none.
    pub fn resume(
        prepared: &mut Prepared,
        folder: &Path,
        cycles: u32,
        exporters: Vec<Box<dyn Exporter>>,
    ) -> Result<Self, Failure> {
        let (spool, log) = Spool::reopen(folder).map_err(|e| Failure::failed(e.to_string()))?;
        let done = log.done();
        spool.record(Record::Resumed(Resumed {
            from_cycle: done,
            cycles,
            producer: started::producer(),
            pid: std::process::id(),
            boot_id: prepared.environment.host.boot_id.value().cloned(),
        }));
        Self::on(spool, prepared, exporters, done)
    }

    fn on(
        spool: Spool,
        prepared: &mut Prepared,
        exporters: Vec<Box<dyn Exporter>>,
        done: u32,
    ) -> Result<Self, Failure> {
        if !prepared.serves_several
            && let Err(error) = prepared.engine.run_folder(spool.folder())
        {
            say(&format!(
                "warning: the engine's log could not be put into the run's folder: {error}"
            ));
        }
        for warning in prepared.notes.drain(..) {
            spool.record(Record::Warning(warning));
        }
        for record in prepared.bare_baseline.drain(..) {
            spool.record(record);
        }
        spool
            .commit()
            .map_err(|e| Failure::failed(MeasureError::Log(e).to_string()))?;
        let delivery = Delivery::start(&spool, exporters, &Policy::default())
            .map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self {
            spool,
            delivery: Rc::new(delivery),
            done,
        })
    }

    /// Cycles that are finished, those of earlier processes included.
    pub const fn done(&self) -> u32 {
        self.done
    }

    /// Measures until `cycles` are finished. What follows the last cycle (extra rounds, the idle
    /// power after the run, a profile) follows where `last`.
    pub fn measure(
        &mut self,
        config: &Config,
        prepared: &mut Prepared,
        cycles: u32,
        last: bool,
        cancel: &Cancel,
    ) -> Result<Ended, MeasureError> {
        let sending = Rc::clone(&self.delivery);
        let mut enough =
            Enough::of(&config.measurement.until, self.spool.folder().to_owned()).filter(|_| last);
        let most = match &enough {
            Some(_) => config.measurement.until.max_cycles.max(cycles),
            None => cycles,
        };
        let progress = Progress::new(move || wait_for(&sending, BETWEEN), enough.as_mut());
        let mut progress = progress.silent(prepared.serves_several);
        let board = self.spool.live().unwrap_or_default();
        prepared.probe.show(&board);
        let left = cycles.saturating_sub(self.done);
        let planned = prepared.workload.requests.len() as u64 * u64::from(left);
        let shown = Shown::new(&board, planned);
        let rounds = Rounds::needed(
            &config.measurement,
            &prepared.sources,
            prepared.engine.capabilities(),
        );
        let plan = Plan {
            work: prepared.workload.work(),
            cycles,
            most,
            first_cycle: self.done,
            last,
            measurement: config.measurement.clone(),
            rounds,
        };
        let ended = measurement::measure(
            &mut Session {
                engine: prepared.engine.as_mut(),
                probe: &prepared.probe,
                recorder: &self.spool,
                observer: &mut progress,
                cancel,
                shown: &shown,
                first_start: &prepared.first_start,
            },
            &plan,
        );
        progress.end();
        self.done = progress.done.unwrap_or(self.done);
        drop(progress);
        if let Some(enough) = enough
            .as_ref()
            .filter(|_| matches!(ended, Ok(Ended::Complete)))
        {
            enough.tell(&self.spool, self.done);
        }
        if last && config.profiling.enabled && matches!(ended, Ok(Ended::Complete)) {
            profile::run(prepared.engine.as_mut(), &plan.work, &self.spool, cancel);
        }
        if let Some(warning) = prepared.shared.as_ref().and_then(|shared| shared.after()) {
            self.spool.record(Record::Warning(warning));
        }
        ended
    }

    /// Puts the run away: it goes on later, and stays open in its sinks.
    pub fn suspend(self, config: &Config) -> Result<Vec<Delivered>, Failure> {
        let log = |e| Failure::failed(MeasureError::Log(e).to_string());
        self.spool.commit().map_err(log)?;
        Ok(match Rc::try_unwrap(self.delivery) {
            Ok(delivery) => delivery.suspend(deadline(config)),
            Err(delivery) => delivery.outcomes(),
        })
    }

    /// Ends the run: analysis into the log, delivery, `result.json`.
    pub fn end(
        self,
        config: &Config,
        status: RunStatus,
        reason: Option<String>,
        idle_cache: Option<&IdleCache>,
    ) -> Result<Closed, Failure> {
        let Self {
            spool, delivery, ..
        } = self;
        if spool.disturbances() > 0 {
            spool.record(Record::Warning(disturbed(spool.disturbances())));
        }
        spool.record(Record::Table(thermal_at_end()));
        let analysis = close::close(&spool, status, reason)?;
        if let Some(cache) = idle_cache.filter(|_| config.measurement.baseline.enabled) {
            let now = jiff::Timestamp::now().as_second();
            if let Err(error) = cache.store(&analysis.idles, spool.run_id(), now) {
                say(&format!(
                    "warning: the idle power could not be kept for later runs: {error}"
                ));
            }
        }
        let folder = spool.folder().to_owned();
        let delivered = match Rc::try_unwrap(delivery) {
            Ok(delivery) => delivery.finish(status, deadline(config)),
            // The observer that shared it is gone by now.
            Err(delivery) => delivery.outcomes(),
        };
        drop(spool);
        let result = close::write_result(&folder, &delivered)?;
        Ok(Closed {
            result,
            delivered,
            folder,
        })
    }
}

/// The status that a measurement's end gives a run, and why.
pub fn status_of(outcome: &Result<Ended, MeasureError>) -> (RunStatus, Option<String>) {
    match outcome {
        Ok(Ended::Complete) => (RunStatus::Finished, None),
        Ok(Ended::Interrupted) => (
            RunStatus::Interrupted,
            Some("interrupted by a signal".to_owned()),
        ),
        Err(error) => (RunStatus::Failed, Some(error.to_string())),
    }
}

fn disturbed(times: u64) -> Warning {
    Warning {
        code: "delivery.disturbed".into(),
        message: format!("In {times} quiet windows a sink was still busy on its thread"),
        remedy: "Deliver after the run instead: leave the sink's flag out and use lem export"
            .into(),
    }
}

fn deadline(config: &Config) -> Duration {
    let seconds = config.integrations.deadline_s.unwrap_or(DEADLINE_S);
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Gives the sinks time while nothing is measured.
fn wait_for(delivery: &Delivery, longest: Duration) {
    let end = Instant::now() + longest;
    let busy = |d: &Delivered| {
        d.owed > 0 && d.state == lem_delivery::DeliveryState::Delivering && d.reason.is_none()
    };
    while Instant::now() < end && delivery.outcomes().iter().any(busy) {
        std::thread::sleep(Duration::from_millis(20));
    }
}
