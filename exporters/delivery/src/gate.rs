//! Between the run and its couriers: how far the log is committed, whether the
//! meter wants quiet, and whether the run is over.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lem_record::RunStatus;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long the start of a quiet window waits for the couriers. Those that
/// await are gone in microseconds; one that blocks its thread must not hold up a run.
const PATIENCE: Duration = Duration::from_secs(1);

/// How far the log is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub bytes: u64,
    /// Number of the next record to be written.
    pub next: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    /// None where the log does not say how the run ended.
    pub status: Option<RunStatus>,
    pub deadline: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub position: Position,
    pub quiet: bool,
    pub closing: Option<Closing>,
}

impl View {
    fn over(&self) -> bool {
        self.closing
            .is_some_and(|closing| closing.deadline <= Instant::now())
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    view: watch::Sender<View>,
    /// Couriers that are at work at this moment.
    busy: Mutex<usize>,
    idle: Condvar,
}

impl Gate {
    pub(crate) fn new(position: Position) -> Self {
        let view = View {
            position,
            quiet: false,
            closing: None,
        };
        Self {
            view: watch::Sender::new(view),
            busy: Mutex::new(0),
            idle: Condvar::new(),
        }
    }

    pub(crate) fn view(&self) -> View {
        *self.view.borrow()
    }

    pub(crate) fn committed(&self, position: Position) {
        self.view.send_modify(|view| view.position = position);
    }

    /// Opens or closes the quiet window. When it returns, no courier is at work,
    /// or one blocks its thread (false).
    pub(crate) fn quiet(&self, on: bool) -> bool {
        self.view.send_modify(|view| view.quiet = on);
        if !on {
            return true;
        }
        let busy = self.busy();
        let waited = self
            .idle
            .wait_timeout_while(busy, PATIENCE, |busy| *busy > 0);
        let (busy, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *busy == 0
    }

    pub(crate) fn close(&self, closing: Closing) {
        self.view.send_modify(|view| {
            view.quiet = false;
            view.closing = Some(closing);
        });
    }

    fn busy(&self) -> MutexGuard<'_, usize> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A courier at work: it must not stand across an await that may take long and
/// is not watched by [`Door::interrupted`].
pub(crate) struct Turn<'a>(&'a Gate);

impl<'a> Turn<'a> {
    fn take(gate: &'a Gate) -> Self {
        *gate.busy() += 1;
        Self(gate)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut busy = self.0.busy();
        *busy = busy.saturating_sub(1);
        self.0.idle.notify_all();
    }
}

/// Why a courier was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Quiet,
    Deadline,
}

/// A courier's side of the gate.
#[derive(Debug)]
pub(crate) struct Door<'a> {
    gate: &'a Gate,
    changes: watch::Receiver<View>,
}

impl<'a> Door<'a> {
    pub(crate) fn new(gate: &'a Gate) -> Self {
        Self {
            gate,
            changes: gate.view.subscribe(),
        }
    }

    pub(crate) fn view(&self) -> View {
        self.gate.view()
    }

    /// Waits for the quiet window to close; none when the deadline has passed.
    pub(crate) async fn enter(&mut self) -> Option<Turn<'a>> {
        loop {
            self.until(|view| !view.quiet).await?;
            let turn = Turn::take(self.gate);
            // quiet may have begun before it could see us at work
            if !self.view().quiet {
                return Some(turn);
            }
        }
    }

    /// Waits until there is more than this in the log, or the run is over; none
    /// when the deadline has passed.
    pub(crate) async fn more_than(&mut self, bytes: u64) -> Option<()> {
        self.until(|view| view.position.bytes > bytes || view.closing.is_some())
            .await
    }

    async fn until(&mut self, ready: impl Fn(&View) -> bool) -> Option<()> {
        loop {
            let view = *self.changes.borrow_and_update();
            if view.over() {
                return None;
            }
            if ready(&view) {
                return Some(());
            }
            self.change(&view, None).await;
        }
    }

    /// Waits before the next try. Where the other end named the time (`told`) it
    /// is kept; else the end of the run is reason enough to try at once. None
    /// where the deadline comes first.
    pub(crate) async fn rest(&mut self, pause: Duration, told: bool) -> Option<()> {
        let until = Instant::now() + pause;
        let was_closing = self.view().closing.is_some();
        loop {
            let view = *self.changes.borrow_and_update();
            if view.over() {
                return None;
            }
            match view.closing {
                Some(_) if !told && !was_closing => return Some(()),
                Some(closing) if until >= closing.deadline => return None,
                _ => {}
            }
            if Instant::now() >= until {
                return Some(());
            }
            self.change(&view, Some(until)).await;
        }
    }

    /// Ends when the work at hand must stop.
    pub(crate) async fn interrupted(&mut self) -> Stop {
        loop {
            let view = *self.changes.borrow_and_update();
            if view.over() {
                return Stop::Deadline;
            }
            if view.quiet {
                return Stop::Quiet;
            }
            self.change(&view, None).await;
        }
    }

    /// Waits for a change, the deadline, or the given time.
    async fn change(&mut self, view: &View, or: Option<Instant>) {
        let ends = [view.closing.map(|closing| closing.deadline), or];
        let wake = async {
            match ends.into_iter().flatten().min() {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // the sender lives as long as the gate that we borrow
            _ = self.changes.changed() => {}
            () = wake => {}
        }
    }
}
