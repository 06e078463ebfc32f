//! One sink's way through the log.

use std::fs::File;
use std::future::Future;
use std::io::BufReader;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lem_record::{ExportError, Exporter, Receipt, RunContext, RunStatus, Stamp};
use tokio::time::{Instant, timeout};

use super::batch::Batch;
use super::health::Health;
use super::policy::{Policy, Setbacks};
use crate::cursor::{Cursor, LastError};
use crate::gate::{Door, Stop, Turn};
use crate::log::LogReader;
use crate::outcome::{DeliveryState, Outcome};

pub(super) struct Courier<'a> {
    name: &'static str,
    exporter: Box<dyn Exporter>,
    run: RunContext,
    policy: Policy,
    door: Door<'a>,
    cursor: Cursor,
    open: bool,
    reader: Option<LogReader<BufReader<File>>>,
    batch: Batch,
    setbacks: Setbacks,
    health: Option<Health>,
    /// What the run's thread sees of us.
    shared: Arc<Mutex<Outcome>>,
}

/// What one turn came to.
enum Step {
    /// Something arrived.
    Moved,
    /// The log has no more for now.
    Drained,
    /// All is done.
    Finished,
    /// Cancelled for the meter's sake.
    Cancelled,
    Failed {
        reason: String,
        after: Option<Duration>,
    },
    GaveUp {
        reason: String,
        remedy: String,
    },
    OutOfTime,
}

/// How a call ended.
enum Called<T> {
    Answered(Result<T, ExportError>),
    TimedOut(Duration),
    Stopped(Stop),
}

impl<'a> Courier<'a> {
    pub(super) fn new(
        exporter: Box<dyn Exporter>,
        run: RunContext,
        policy: Policy,
        door: Door<'a>,
        shared: Arc<Mutex<Outcome>>,
    ) -> Self {
        let (name, destination) = (exporter.name(), exporter.destination());
        let (mut cursor, note) = Cursor::load(&run.folder, name, &run.run_id, &destination);
        cursor.last_error = None; // of an earlier attempt
        if policy.from_start {
            let state = std::mem::take(&mut cursor.state);
            cursor = Cursor {
                state,
                ..Cursor::new(&run.run_id, &destination)
            };
        }
        let health = run.live.as_deref().map(|board| Health::new(board, name));
        let courier = Self {
            name,
            exporter,
            run,
            policy,
            door,
            cursor,
            open: false,
            reader: None,
            batch: Batch::default(),
            setbacks: Setbacks::default(),
            health,
            shared,
        };
        courier.show(|outcome| outcome.notes.extend(note));
        courier.show_cursor();
        courier
    }

    /// Delivers until all is done, the sink gives up, or the time is up.
    pub(super) async fn run(mut self) {
        let state = loop {
            // none: the deadline, in this line and below
            let Some(turn) = self.door.enter().await else {
                break DeliveryState::Owing;
            };
            let step = self.step(&turn).await;
            let paused = match step {
                Step::Moved => {
                    self.setbacks.clear();
                    Some(())
                }
                Step::Drained => {
                    drop(turn);
                    let bytes = self.reader.as_ref().map_or(0, LogReader::offset);
                    self.door.more_than(bytes).await
                }
                Step::Finished => break DeliveryState::Delivered,
                Step::Cancelled => {
                    self.show(|outcome| outcome.cancelled += 1);
                    Some(())
                }
                Step::Failed { reason, after } => {
                    self.failed(reason, None);
                    drop(turn);
                    let told = after.map(|after| after.min(self.policy.longest_retry_after));
                    let pause = told.unwrap_or_else(|| self.setbacks.pause(&self.policy));
                    self.door.rest(pause, told.is_some()).await
                }
                Step::GaveUp { reason, remedy } => {
                    self.failed(reason, Some(remedy));
                    break DeliveryState::GaveUp;
                }
                Step::OutOfTime => break DeliveryState::Owing,
            };
            if paused.is_none() {
                break DeliveryState::Owing;
            }
        };
        self.show(|outcome| outcome.state = state);
    }

    async fn step(&mut self, _turn: &Turn<'_>) -> Step {
        if !self.open {
            let call = self.exporter.open(&self.run, &self.cursor.state);
            let limit = self.setbacks.call_timeout(&self.policy);
            match guarded(&mut self.door, limit, call).await {
                Called::Answered(Ok(())) => {
                    self.open = true;
                    self.save();
                }
                other => return self.setback(other),
            }
        }
        if self.batch.is_empty() {
            match self.read() {
                Ok(batch) => self.batch = batch,
                Err(reason) => {
                    return Step::Failed {
                        reason,
                        after: None,
                    };
                }
            }
        }
        if !self.batch.is_empty() {
            return self.write().await;
        }
        match self.door.view().closing {
            None => Step::Drained,
            // a log without an end: all of it has arrived, and more may come
            Some(closing) => match closing.status {
                None => Step::Finished,
                Some(status) => self.finish(status, closing.deadline).await,
            },
        }
    }

    fn read(&mut self) -> Result<Batch, String> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            empty => {
                let Cursor { next, offset, .. } = self.cursor;
                let reader = LogReader::open_at(&self.run.folder, &self.run.run_id, next, offset);
                empty.insert(reader.map_err(|error| error.to_string())?)
            }
        };
        reader.set_limit(self.door.view().position.bytes);
        let batch = Batch::read(reader, &self.cursor, &self.policy);
        batch.map_err(|error| {
            self.reader = None; // it may have lost its place
            format!("the run's log cannot be read: {error}")
        })
    }

    async fn write(&mut self) -> Step {
        if !self.batch.envelopes.is_empty() {
            if self.batch.sent {
                self.cursor.resends += 1;
            }
            self.batch.sent = true;
            let call = self.exporter.write(&self.batch.envelopes);
            let limit = self.setbacks.call_timeout(&self.policy);
            let written = match guarded(&mut self.door, limit, call).await {
                Called::Answered(Ok(written)) => written,
                other => return self.setback(other),
            };
            self.cursor.accepted += written.accepted;
            self.cursor.reject(written.rejected);
            if !self.batch.deliver(written.through, &mut self.cursor) {
                let reason = format!(
                    "the {} sink took none of the records it was given",
                    self.name
                );
                return Step::Failed {
                    reason,
                    after: None,
                };
            }
        } else {
            self.batch.deliver(u64::MAX, &mut self.cursor);
        }
        self.cursor.finished = false;
        self.cursor.last_error = None;
        self.save();
        Step::Moved
    }

    async fn finish(&mut self, status: RunStatus, deadline: Instant) -> Step {
        let left = deadline.saturating_duration_since(Instant::now());
        let waits = self.exporter.waits(&self.run) + super::SETTLING;
        let limit = self
            .setbacks
            .call_timeout(&self.policy)
            .max(waits)
            .min(left);
        let call = self.exporter.finish(status, left);
        match guarded(&mut self.door, limit, call).await {
            Called::Answered(Ok(receipt)) => {
                self.finished(receipt);
                Step::Finished
            }
            other => self.setback(other),
        }
    }

    fn finished(&mut self, receipt: Receipt) {
        self.cursor.receipt = Some(receipt);
        self.cursor.finished = true;
        self.cursor.last_error = None;
        self.save();
    }

    /// What follows from a call that did not succeed.
    fn setback<T>(&mut self, called: Called<T>) -> Step {
        match called {
            Called::Stopped(Stop::Quiet) => Step::Cancelled,
            Called::Stopped(Stop::Deadline) => {
                if self.cursor.last_error.is_none() {
                    self.error("no answer before the time was up".to_owned(), None);
                }
                Step::OutOfTime
            }
            Called::TimedOut(limit) => {
                self.setbacks.timed_out();
                let reason = format!("no answer within {:.1} s", limit.as_secs_f64());
                Step::Failed {
                    reason,
                    after: None,
                }
            }
            Called::Answered(Err(ExportError::Retry { reason, after })) => {
                Step::Failed { reason, after }
            }
            Called::Answered(Err(ExportError::GiveUp { reason, remedy })) => {
                Step::GaveUp { reason, remedy }
            }
            // success is handled where its value is known
            Called::Answered(Ok(_)) => Step::Moved,
        }
    }

    fn failed(&mut self, reason: String, remedy: Option<String>) {
        self.cursor.failures += 1;
        self.error(reason, remedy);
    }

    fn error(&mut self, reason: String, remedy: Option<String>) {
        self.cursor.last_error = Some(LastError {
            unix_ms: Stamp::now().unix_ms(),
            reason,
            remedy,
        });
        self.save();
    }

    /// Keeps the cursor. A failure is told but stops nothing: the worst that
    /// follows is that records are sent again.
    fn save(&mut self) {
        self.cursor.state = self.exporter.state();
        let saved = self.cursor.save(&self.run.folder, self.name);
        self.show_cursor();
        if let Err(error) = saved {
            let note = format!("how far the delivery came cannot be kept: {error}");
            self.show(|outcome| {
                if !outcome.notes.contains(&note) {
                    outcome.notes.push(note);
                }
            });
        }
    }

    fn show_cursor(&self) {
        let cursor = &self.cursor;
        self.show(|outcome| {
            outcome.delivered_through = cursor.next.checked_sub(1);
            outcome.accepted = cursor.accepted;
            outcome.rejected = cursor.rejected_count;
            outcome.rejections.clone_from(&cursor.rejected);
            outcome.resends = cursor.resends;
            outcome.failures = cursor.failures;
            outcome.receipt.clone_from(&cursor.receipt);
            let error = cursor.last_error.clone();
            outcome.reason = error.as_ref().map(|error| error.reason.clone());
            outcome.remedy = error.and_then(|error| error.remedy);
        });
        if let Some(health) = &self.health {
            health.show(cursor, self.door.view().position.next);
        }
    }

    fn show(&self, change: impl FnOnce(&mut Outcome)) {
        change(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A call that ends in time, and at once where the meter wants quiet or the run's
/// time is up. Its future is dropped then: what it sent may or may not have arrived.
async fn guarded<T>(
    door: &mut Door<'_>,
    limit: Duration,
    call: impl Future<Output = Result<T, ExportError>>,
) -> Called<T> {
    tokio::select! {
        biased;
        stop = door.interrupted() => Called::Stopped(stop),
        answer = timeout(limit, call) => match answer {
            Ok(answer) => Called::Answered(answer),
            Err(_) => Called::TimedOut(limit),
        }
    }
}
