//! Bringing a run's records to its sinks, while it runs and after.
//!
//! Each sink has a thread with a small runtime of its own, its courier. A sink that
//! blocks, hangs or panics can thus hold up neither the run nor another sink, and
//! is left behind at the deadline. A courier reads the log from its cursor, sends a
//! batch, moves and saves the cursor, and so on; all it holds in memory is one batch.
//!
//! Delivery is at least once: a call that fails, times out, or is cancelled by a
//! quiet window is made again with the same records, and a future that was dropped
//! may have done its work. Sinks allow for that (see [`Exporter`]).

mod batch;
mod courier;
mod health;
mod policy;

use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lem_record::{Exporter, RunContext, RunStatus};
use tokio::time::Instant;

use crate::gate::{Closing, Door, Gate, Position};
use crate::lock::{LockError, RunLock};
use crate::log::{Log, LogError, RECORDS_FILE};
use crate::outcome::{DeliveryState, Outcome};
use crate::spool::Spool;
use courier::Courier;

pub use policy::Policy;

/// The end of a run waits this long for its sinks, unless told otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// A courier that minds the deadline is back within this.
const GRACE: Duration = Duration::from_millis(500);

/// A sink that waits by the user's wish ([`Exporter::waits`]) ends that itself, within this.
const SETTLING: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(
        "no thread for the delivery can be started: {0}. Raise the limit on processes (ulimit -u)"
    )]
    Thread(#[from] io::Error),
}

/// The couriers of a run.
#[derive(Debug)]
pub struct Delivery {
    folder: PathBuf,
    gate: Arc<Gate>,
    outcomes: Vec<Arc<Mutex<Outcome>>>,
    /// The longest of what sinks wait for by the user's wish.
    waits: Duration,
    /// Each courier's place in `outcomes`, as it comes back.
    back: mpsc::Receiver<usize>,
}

impl Delivery {
    /// Begins to deliver what the spool commits.
    pub fn start(
        spool: &Spool,
        sinks: Vec<Box<dyn Exporter>>,
        policy: &Policy,
    ) -> Result<Self, DeliverError> {
        Self::spawn(&spool.context(), spool.gate(), &spool.lock(), sinks, policy)
    }

    fn spawn(
        run: &RunContext,
        gate: Arc<Gate>,
        lock: &Arc<RunLock>,
        sinks: Vec<Box<dyn Exporter>>,
        policy: &Policy,
    ) -> Result<Self, DeliverError> {
        let (done, back) = mpsc::channel();
        let mut delivery = Self {
            folder: run.folder.clone(),
            gate,
            outcomes: Vec::new(),
            waits: Duration::ZERO,
            back,
        };
        for (place, exporter) in sinks.into_iter().enumerate() {
            let name = exporter.name();
            let outcome = Arc::new(Mutex::new(Outcome::new(name, &exporter.destination())));
            delivery.waits = delivery.waits.max(exporter.waits(run));
            delivery.outcomes.push(Arc::clone(&outcome));
            let (run, gate, lock) = (run.clone(), Arc::clone(&delivery.gate), Arc::clone(lock));
            let (policy, done) = (policy.clone(), done.clone());
            std::thread::Builder::new()
                .name(format!("lem-{name}"))
                .spawn(move || {
                    let _owned = lock; // as long as a cursor may be written
                    carry(exporter, run, policy, &gate, &outcome);
                    let _ = done.send(place); // nobody waits any more
                })?;
        }
        Ok(delivery)
    }

    /// Where each sink stands now, in the order given.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let next = self.gate.view().position.next;
        let outcomes = self.outcomes.iter().map(|outcome| {
            let mut outcome = outcome
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let from = outcome.delivered_through.map_or(0, |through| through + 1);
            outcome.owed = next.saturating_sub(from);
            outcome
        });
        outcomes.collect()
    }

    /// The run has ended: delivers the rest, as far as it gets within `deadline`, or
    /// within what a sink waits for where that is longer ([`Exporter::waits`]),
    /// tells each sink how the run ended, and says what is owed. Commit before.
    pub fn finish(self, status: RunStatus, deadline: Duration) -> Vec<Outcome> {
        self.end(Some(status), deadline)
    }

    /// This process has done its part and the run goes on later: delivers what there is, as
    /// far as it gets within `deadline`, and leaves the run open at the other end.
    pub fn suspend(self, deadline: Duration) -> Vec<Outcome> {
        self.end(None, deadline)
    }

    fn end(self, status: Option<RunStatus>, deadline: Duration) -> Vec<Outcome> {
        let now = Instant::now();
        let deadline = match self.waits {
            Duration::ZERO => deadline,
            waits => deadline.max(waits + SETTLING),
        };
        let deadline = now
            .checked_add(deadline)
            .unwrap_or(now + Duration::from_secs(86_400 * 365));
        self.gate.close(Closing { status, deadline });
        let mut out: Vec<usize> = (0..self.outcomes.len()).collect();
        while !out.is_empty() {
            let left = (deadline + GRACE).saturating_duration_since(Instant::now());
            match self.back.recv_timeout(left) {
                Ok(place) => out.retain(|waiting| *waiting != place),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let mut outcomes = self.outcomes();
        for outcome in &mut outcomes {
            if outcome.state == DeliveryState::Delivering {
                outcome.state = DeliveryState::Owing;
                outcome.reason = Some("the sink blocks and did not come back in time".to_owned());
            }
            if outcome.state == DeliveryState::Owing && outcome.remedy.is_none() {
                let (folder, sink) = (self.folder.display(), &outcome.sink);
                outcome.remedy = Some(format!("lem export {folder} --to {sink} delivers the rest"));
            }
        }
        outcomes
    }
}

impl Drop for Delivery {
    /// Stops the couriers where they are, without waiting.
    fn drop(&mut self) {
        if self.gate.view().closing.is_none() {
            self.gate.close(Closing {
                status: None,
                deadline: Instant::now(),
            });
        }
    }
}

/// Delivers a run that has ended: what its cursors say is still owed, then its end.
///
/// The same code as while the run goes on. It owns the folder meanwhile, so a
/// [`Spool`] on it must be dropped before. Where the log has no `RunFinished`, what
/// it holds is delivered and the run is left open at the other end: append the end
/// first ([`Spool::reopen`]).
pub fn deliver_once(
    folder: &Path,
    sinks: Vec<Box<dyn Exporter>>,
    policy: &Policy,
    deadline: Duration,
) -> Result<Vec<Outcome>, DeliverError> {
    if !folder.join(RECORDS_FILE).exists() {
        // before a lock file is left in a folder that is no run's
        return Err(LogError::NoLog {
            folder: folder.to_owned(),
        }
        .into());
    }
    let lock = Arc::new(RunLock::acquire(folder)?);
    let log = Log::read_unowned(folder)?;
    let gate = Arc::new(Gate::new(Position {
        bytes: log.bytes,
        next: log.next,
    }));
    let delivery = Delivery::spawn(&log.context(), gate, &lock, sinks, policy)?;
    let status = log.finished.as_ref().map(|finished| finished.status);
    let mut outcomes = delivery.end(status, deadline);
    for outcome in &mut outcomes {
        outcome.notes.extend(log.facts.notes());
    }
    Ok(outcomes)
}

/// Runs a courier, and survives it.
fn carry(
    exporter: Box<dyn Exporter>,
    run: RunContext,
    policy: Policy,
    gate: &Gate,
    shared: &Arc<Mutex<Outcome>>,
) {
    let (name, folder) = (exporter.name(), run.folder.clone());
    let give_up = |reason: String, remedy: String| {
        let mut outcome = shared.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.state = DeliveryState::GaveUp;
        (outcome.reason, outcome.remedy) = (Some(reason), Some(remedy));
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return give_up(
                format!("no runtime for the {name} sink: {error}"),
                "Raise the limit on open files (ulimit -n), then use lem export".to_owned(),
            );
        }
    };
    let carried = std::panic::catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            Courier::new(exporter, run, policy, Door::new(gate), Arc::clone(shared))
                .run()
                .await;
        });
    }));
    // what a sink may have put on its runtime must not hold up the thread
    runtime.shutdown_background();
    if carried.is_err() {
        // not the panic's own text: nobody has looked whether it holds a secret
        give_up(
            format!("the {name} sink broke down: this is a bug in lem"),
            format!(
                "The run is unaffected. Please report it; lem export {} --to {name} tries again",
                folder.display()
            ),
        );
    }
}
