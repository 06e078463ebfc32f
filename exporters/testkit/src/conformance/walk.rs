//! A small courier: what delivery does, without its threads and files.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lem_record::{Envelope, ExportError, Exporter, Receipt, Rejected, RunStatus};
use serde_json::Value;

use crate::golden::Golden;

/// As delivery would keep it in a cursor.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    pub state: Value,
    /// Index of the first envelope that is not delivered.
    pub next: usize,
    pub receipt: Option<Receipt>,
}

/// How to walk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub batch: usize,
    pub call_timeout: Duration,
    /// Calls that may fail, in all.
    pub patience: usize,
    /// Every call is made by an exporter that dies before its answer is kept, and
    /// then again by a new one.
    pub crashing: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            batch: 7,
            call_timeout: Duration::from_secs(20),
            patience: 0,
            crashing: false,
        }
    }
}

/// A walk, and everything that was said on the way.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub progress: Progress,
    pub errors: Vec<ExportError>,
    pub timeouts: usize,
    pub rejected: Vec<Rejected>,
    /// Bytes of the largest state.
    pub largest_state: usize,
    /// Anything a person or a file might get to see.
    pub said: Vec<String>,
}

pub(super) type Make<'a> = &'a (dyn Fn() -> Box<dyn Exporter> + Sync);

impl Walk {
    pub(super) fn from(progress: Progress) -> Self {
        Self {
            progress,
            ..Self::default()
        }
    }

    /// Delivers the rest of the run. An error says why it did not get to the end.
    pub(super) async fn go(
        &mut self,
        make: Make<'_>,
        golden: &Golden,
        pace: Pace,
    ) -> Result<(), String> {
        let mut exporter = self.open(make, golden, pace).await?;
        while self.progress.next < golden.envelopes.len() {
            let batch: Vec<Arc<Envelope>> = golden
                .envelopes
                .iter()
                .skip(self.progress.next)
                .take(pace.batch)
                .cloned()
                .collect();
            if pace.crashing {
                let lost = exporter.write(&batch).await;
                self.said.push(format!("{lost:?}"));
                exporter = self.open(make, golden, pace).await?;
            }
            let written = loop {
                let call = exporter.write(&batch);
                if let Some(written) = self.call("write", pace, call).await? {
                    break written;
                }
            };
            self.said.push(format!("{written:?}"));
            self.rejected.extend(written.rejected);
            let done = batch
                .iter()
                .filter(|envelope| envelope.n <= written.through)
                .count();
            if done == 0 {
                return Err(format!(
                    "write took none of the batch from {}",
                    self.progress.next
                ));
            }
            self.progress.next += done;
            self.keep(exporter.state());
        }
        if let Some(status) = golden.status {
            if pace.crashing {
                let lost = exporter.finish(status, pace.call_timeout).await;
                self.said.push(format!("{lost:?}"));
                exporter = self.open(make, golden, pace).await?;
            }
            self.finish(&mut *exporter, status, pace).await?;
        }
        Ok(())
    }

    pub(super) async fn open(
        &mut self,
        make: Make<'_>,
        golden: &Golden,
        pace: Pace,
    ) -> Result<Box<dyn Exporter>, String> {
        if pace.crashing {
            let lost = make().open(&golden.context(), &self.progress.state).await;
            self.said.push(format!("{lost:?}"));
        }
        let mut exporter = make();
        self.said.push(exporter.destination());
        let (run, state) = (golden.context(), self.progress.state.clone());
        while self
            .call("open", pace, exporter.open(&run, &state))
            .await?
            .is_none()
        {}
        if !pace.crashing {
            self.keep(exporter.state());
        }
        Ok(exporter)
    }

    pub(super) async fn finish(
        &mut self,
        exporter: &mut dyn Exporter,
        status: RunStatus,
        pace: Pace,
    ) -> Result<(), String> {
        let receipt = loop {
            let call = exporter.finish(status, pace.call_timeout);
            if let Some(receipt) = self.call("finish", pace, call).await? {
                break receipt;
            }
        };
        self.said.push(format!("{receipt:?}"));
        self.progress.receipt = Some(receipt);
        self.keep(exporter.state());
        Ok(())
    }

    fn keep(&mut self, state: Value) {
        let state = state.to_string();
        self.largest_state = self.largest_state.max(state.len());
        // as a cursor file would give it back
        self.progress.state = serde_json::from_str(&state).expect("JSON reads back");
        self.said.push(state);
    }

    /// One call: its answer, nothing where it may be made again, or why not.
    async fn call<T>(
        &mut self,
        what: &str,
        pace: Pace,
        call: impl Future<Output = Result<T, ExportError>>,
    ) -> Result<Option<T>, String> {
        let failed = match tokio::time::timeout(pace.call_timeout, call).await {
            Ok(Ok(answer)) => return Ok(Some(answer)),
            Ok(Err(error)) => {
                self.said.push(format!("{error} {error:?} {error:#?}"));
                let text = format!("{what} at record {}: {error:?}", self.progress.next);
                let gave_up = matches!(error, ExportError::GiveUp { .. });
                self.errors.push(error);
                if gave_up {
                    return Err(text);
                }
                text
            }
            Err(_) => {
                self.timeouts += 1;
                format!("{what} at record {} did not answer", self.progress.next)
            }
        };
        if self.errors.len() + self.timeouts > pace.patience {
            return Err(failed);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(None)
    }
}
