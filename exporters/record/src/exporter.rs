//! What every sink is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Envelope, RunStarted, RunStatus};

/// A destination of runs. It encodes and sends; retry, batching, rate limits,
/// deadlines and cursors belong to delivery.
///
/// Delivery is at least once, so every method must be idempotent: the same call
/// again, after a crash at any point, changes nothing at the other end.
#[async_trait]
pub trait Exporter: Send {
    /// As in `--to NAME` and `integrations.NAME`.
    fn name(&self) -> &'static str;

    /// Where to, for people: a URL or path without secrets. A cursor belongs to
    /// one destination; another one starts again from the first record.
    fn destination(&self) -> String;

    /// Proves what can be known without leaving anything behind: reachable,
    /// credentials, version, limits.
    async fn check(&self) -> Check;

    /// Finds the remote run of this run id, or makes it. `state` is what
    /// [`Exporter::state`] said when the cursor was last saved, or null.
    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError>;

    /// Sends a batch of consecutive records. Kinds that the sink has no use for
    /// count as delivered. What the other end refuses for good is named in
    /// [`Written::rejected`] and is not sent again.
    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError>;

    /// The run has ended: set its status, flush, and say where to look at it.
    /// May come again for a run that was finished before.
    async fn finish(
        &mut self,
        status: RunStatus,
        deadline: Duration,
    ) -> Result<Receipt, ExportError>;

    /// How long [`Exporter::finish`] may wait by the user's wish, where that is longer
    /// than a call may take: a sink that is read waits for its reader.
    fn waits(&self, _run: &RunContext) -> Duration {
        Duration::ZERO
    }

    /// Shows one delivered run below another, both known by their states: the points of a sweep
    /// below the sweep. `false` from a sink that has no such thing, or shows it by a tag.
    async fn adopt(&mut self, _parent: &Value, _child: &Value) -> Result<bool, ExportError> {
        Ok(false)
    }

    /// What the sink must remember between processes (remote ids); kept in the cursor file.
    fn state(&self) -> Value;
}

/// What a sink needs to know of the run besides its records.
#[derive(Clone, Debug)]
pub struct RunContext {
    pub run_id: String,
    /// Artifacts are relative to it.
    pub folder: PathBuf,
    pub started: Arc<RunStarted>,
    pub started_at: crate::Stamp,
    /// Present values, where this process measures the run; absent in a later export.
    pub live: Option<Arc<crate::Board>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Every record up to this number is delivered or rejected.
    pub through: u64,
    pub rejected: Vec<Rejected>,
    /// How many points, files and tags the other end acknowledged.
    pub accepted: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// The record's number.
    pub n: u64,
    /// What of it, and why.
    pub reason: String,
}

/// Says what to do next. The text must hold no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The same call may succeed later; not before `after` where the other end said so.
    #[error("{reason}")]
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    /// The same call will never succeed with this configuration.
    #[error("{reason}. {remedy}")]
    GiveUp { reason: String, remedy: String },
}

impl ExportError {
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry {
            reason: reason.into(),
            after: None,
        }
    }

    pub fn give_up(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::GiveUp {
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }
}

/// Where a person finds the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// URL or path.
    pub look_at: Option<String>,
    /// Remote ids and anything else worth keeping.
    #[serde(default)]
    pub details: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub items: Vec<CheckItem>,
}

impl Check {
    pub fn push(&mut self, what: impl Into<String>, outcome: CheckOutcome) {
        self.items.push(CheckItem {
            what: what.into(),
            outcome,
        });
    }

    pub fn failed(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item.outcome, CheckOutcome::Failed { .. }))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckItem {
    /// `reachable`, `credentials`, `version`, …
    pub what: String,
    pub outcome: CheckOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    Ok {
        detail: String,
    },
    Failed {
        why: String,
        remedy: String,
    },
    /// Cannot be known without leaving something behind.
    Unknown {
        why: String,
    },
}
