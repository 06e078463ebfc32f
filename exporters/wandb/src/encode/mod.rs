//! From records to what W&B keeps, for the file stream and for the `.wandb` file alike.
//! Pure: the same records and the same [`State`] give the same [`Plan`], however the
//! records are cut into batches, so that a row that is sent again is the same row at
//! the same place.
//!
//! # How records become rows
//!
//! A run has three lists of lines, each with its own numbers from 0: history rows,
//! system-metric events and console lines. `State` counts them; a row's number is a
//! function of the records before it and of nothing else.
//!
//! | Record | Becomes |
//! |---|---|
//! | `RunStarted` | the configuration and the run's names ([`run_settings`]); a console line |
//! | `Samples` | a history row for each of its times: `t_s` (seconds from the run's start) and every column that has a value then; and, of GPUs, an event with W&B's own system metrics |
//! | `Metric` of a cycle | a cell of the cycle's history row, beside `cycle`. Such records in a row, of the same cycle, share one; the row ends with the first record that is something else |
//! | `Metric` of the run | entries of the summary, with `…_ci_low_…` and `…_ci_high_…`; `run.info` goes to the configuration |
//! | `Table` | a file under `media/table/`, then a history row and a summary entry that refer to it |
//! | `Artifact` | an artifact of its own ([`ArtifactSpec`]) |
//! | `Warning`, `CycleFinished`, `RunFinished` | a console line |
//! | the others | nothing |
//!
//! `_step` is the row's number (after those of other writers of the same W&B run), so
//! it never goes back. Each series has a step metric that suits it instead: `t_s` for
//! samples, `cycle` for cycles ([`Definition`]). `_timestamp` is Unix seconds,
//! `_runtime` seconds from the run's start.

mod artifact;
mod console;
mod metrics;
mod row;
mod run;
mod samples;
mod state;
mod system;
mod table;
mod text;

use std::sync::Arc;

use lem_record::{Artifact, Envelope, Record, Rejected, RunStarted, Stamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use artifact::{ArtifactSpec, Entry, digest_of};
pub use row::{Event, Line, Row};
pub use run::{RunSettings, exit_code, metadata, run_id, run_settings};
pub use state::{Axis, State};
pub use table::TableFile;

use crate::WandbConfig;

/// What the encoding needs to know besides the records.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Lem's own id of the run.
    pub run_id: &'a str,
    pub started: &'a RunStarted,
    pub started_at: Stamp,
    pub config: &'a WandbConfig,
    pub base: Base,
}

/// What the W&B run held before lem wrote its first line: nothing, but where
/// `run_id` names a run that somebody else began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Base {
    /// History rows.
    pub rows: u64,
    /// The first `_step` that is free.
    pub step: u64,
    pub events: u64,
    /// Console lines.
    pub lines: u64,
}

impl Scope<'_> {
    /// Unix seconds of a monotonic time.
    fn unix_s(&self, mono_ns: u64) -> f64 {
        self.started_at.unix_ns_at(mono_ns) as f64 / 1e9
    }

    /// Seconds from the run's start.
    fn runtime_s(&self, mono_ns: u64) -> f64 {
        let ns = i128::from(mono_ns) - i128::from(self.started_at.mono_ns);
        ns as f64 / 1e9
    }
}

/// One thing that W&B is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    Row(Row),
    Event(Event),
    Line(Line),
    /// Comes before the row that refers to it.
    Table(Box<TableFile>),
    /// With the number of its record.
    Artifact(u64, &'a Artifact),
}

/// A history key that was not seen before, with its step metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    pub key: Arc<str>,
    pub axis: Axis,
}

/// What one batch of records means to W&B.
#[derive(Clone, Debug, Default)]
pub struct Plan<'a> {
    /// In the order of the records.
    pub items: Vec<Item<'a>>,
    /// Of keys that appear for the first time. [`RunSettings::config`] has them all.
    pub defined: Vec<Definition>,
    pub rejected: Vec<Rejected>,
    /// What the next batch is to be encoded with. Its summary is the whole one, as it
    /// stands after these records.
    pub state: State,
}

impl Plan<'_> {
    fn reject(&mut self, n: u64, reason: impl Into<String>) {
        self.rejected.push(Rejected {
            n,
            reason: reason.into(),
        });
    }

    fn row(
        &mut self,
        scope: &Scope<'_>,
        n: u64,
        (timestamp, runtime): (f64, f64),
        cells: Vec<(Arc<str>, Value)>,
    ) {
        let number = self.state.rows;
        self.state.rows += 1;
        let row = Row {
            n,
            offset: scope.base.rows + number,
            step: scope.base.step + number,
            timestamp,
            runtime,
            cells,
        };
        self.state.last_row(&row);
        self.items.push(Item::Row(row));
    }

    fn define(&mut self, key: &Arc<str>, axis: Axis) {
        if self.state.define(key, axis) {
            self.defined.push(Definition {
                key: Arc::clone(key),
                axis,
            });
        }
    }

    /// The row of a cycle's metrics is complete.
    fn flush(&mut self, scope: &Scope<'_>) {
        let Some(pending) = self.state.pending.take() else {
            return;
        };
        let times = (
            scope.unix_s(pending.t_ns),
            scope.runtime_s(pending.t_ns).max(0.0),
        );
        let mut cells = vec![(Arc::from("cycle"), json!(pending.cycle))];
        let values = pending.values.into_iter();
        cells.extend(values.map(|(key, value)| (Arc::from(key), value)));
        self.row(scope, pending.n, times, cells);
    }
}

pub fn encode<'a>(scope: &Scope<'_>, state: &State, batch: &'a [Arc<Envelope>]) -> Plan<'a> {
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    for envelope in batch {
        let n = envelope.n;
        let pending = plan.state.pending.as_ref().map(|row| row.cycle);
        match &envelope.record {
            Record::Metric(metric) if metric.cycle.is_some() && metric.cycle == pending => {}
            _ => plan.flush(scope),
        }
        match &envelope.record {
            Record::RunStarted(_) => {
                for reason in run::left_out(scope) {
                    plan.reject(n, reason);
                }
            }
            Record::Samples(samples) => samples::encode(scope, n, samples, &mut plan),
            Record::Metric(metric) => metrics::encode(scope, n, metric, &mut plan),
            Record::Table(table) => table::encode(scope, envelope, table, &mut plan),
            Record::Artifact(artifact) => plan.items.push(Item::Artifact(n, artifact)),
            Record::RunFinished(finished) => {
                plan.state.status = Some(finished.status);
            }
            Record::Warning(_)
            | Record::CycleFinished(_)
            | Record::Clock(_)
            | Record::Span(_)
            | Record::SegmentWritten(_)
            | Record::RoundsFinished(_)
            | Record::Resumed(_)
            | Record::Seal(_)
            | Record::Unknown(_) => {}
        }
        if let Some(text) = console::line(scope, &envelope.record) {
            let offset = scope.base.lines + plan.state.lines;
            plan.state.lines += 1;
            plan.items.push(Item::Line(Line {
                n,
                offset,
                unix_ns: envelope.at.unix_ns,
                text,
            }));
        }
        plan.state.next = n + 1;
    }
    plan
}

impl State {
    /// The whole summary as it stands.
    pub fn summary(&self) -> Map<String, Value> {
        let mut whole = self.summary.clone();
        if let Some((step, timestamp, runtime)) = self.last {
            whole.insert("_step".to_owned(), json!(step));
            whole.insert("_timestamp".to_owned(), json!(timestamp));
            whole.insert("_runtime".to_owned(), json!(runtime));
            // what W&B shows as the run's duration
            let seconds = runtime.max(0.0) as u64;
            whole.insert("_wandb".to_owned(), json!({"runtime": seconds}));
        }
        whole
    }
}
