//! From records to what MLflow keeps. Pure: the same records and the same state
//! give the same plan, so that a batch that is sent again is the same, byte for byte.

mod body;
mod dataset;
mod key;
mod metrics;
mod note;
mod params;
mod samples;
mod state;
mod tags;

use std::collections::BTreeMap;
use std::sync::Arc;

use lem_record::{Artifact, Envelope, Record, Rejected, RunStarted, Stamp, Table};

pub use body::{Body, metric_bodies, pair_bodies};
pub use dataset::Dataset;
pub use key::{artifact_path, legal};
pub use samples::{Series, Values};
pub use state::State;

use crate::MlflowConfig;

/// What the encoding needs to know besides the records.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub run_id: &'a str,
    pub started: &'a RunStarted,
    pub started_at: Stamp,
    pub config: &'a MlflowConfig,
}

impl Scope<'_> {
    /// Wall time in ms of a monotonic time; MLflow refuses one before 1970.
    fn unix_ms(&self, mono_ns: u64) -> i64 {
        self.started_at
            .unix_ns_at(mono_ns)
            .div_euclid(1_000_000)
            .max(0)
    }
}

/// What one batch of records means to MLflow.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    pub params: Vec<(String, String)>,
    pub tags: BTreeMap<String, String>,
    pub datasets: Vec<Dataset>,
    pub series: Vec<Series<'a>>,
    /// With the number of its record.
    pub tables: Vec<(u64, &'a Table)>,
    /// With the number of its record.
    pub artifacts: Vec<(u64, &'a Artifact)>,
    pub rejected: Vec<Rejected>,
    /// What the next batch is to be encoded with.
    pub state: State,
}

impl Plan<'_> {
    fn reject(&mut self, n: u64, reason: impl Into<String>) {
        self.rejected.push(Rejected {
            n,
            reason: reason.into(),
        });
    }
}

pub fn encode<'a>(scope: &Scope<'_>, state: &State, batch: &'a [Arc<Envelope>]) -> Plan<'a> {
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    for envelope in batch {
        let n = envelope.n;
        match &envelope.record {
            Record::RunStarted(started) => {
                plan.params.extend(params::flatten(&started.config));
                tags::of_run(scope, started, &mut plan.tags);
                dataset::of_environment(n, &started.environment, &mut plan);
                plan.state.note.start(started);
            }
            Record::Samples(samples) => samples::encode(scope, n, samples, &mut plan),
            Record::Metric(metric) => metrics::encode(scope, n, metric, &mut plan),
            Record::Table(table) => {
                plan.state.tables.insert(table_path(&table.name));
                plan.tables.push((n, table));
            }
            Record::Artifact(artifact) => plan.artifacts.push((n, artifact)),
            Record::Warning(warning) => plan.state.note.warn(warning),
            Record::CycleFinished(cycle) => plan.state.saw_cycle(cycle.cycle),
            Record::RunFinished(finished) => {
                // a wall clock that was set back must not end a run before its last sample
                plan.state.end_ms = Some(envelope.at.unix_ms().max(plan.state.last_ms).max(0));
                plan.state.note.finish(finished);
            }
            Record::Clock(_)
            | Record::Span(_)
            | Record::SegmentWritten(_)
            | Record::RoundsFinished(_)
            | Record::Resumed(_)
            | Record::Seal(_)
            | Record::Unknown(_) => {}
        }
        // by these the end of a run that was killed is known: analysis and the
        // record of its end are written later, perhaps much later
        if matches!(
            envelope.record,
            Record::RunStarted(_)
                | Record::Samples(_)
                | Record::Clock(_)
                | Record::Span(_)
                | Record::CycleFinished(_)
                | Record::SegmentWritten(_)
        ) {
            let at = scope.unix_ms(envelope.at.mono_ns);
            plan.state.last_ms = plan.state.last_ms.max(at);
        }
        plan.state.next = n + 1;
    }
    tags::of_state(scope, state, &plan.state, &mut plan.tags);
    plan
}

/// Where a table lies among the artifacts.
pub fn table_path(name: &str) -> String {
    format!("tables/{}.json", key::word(name))
}

/// A table as MLflow's UI reads it.
pub fn table_body(table: &Table) -> serde_json::Result<Vec<u8>> {
    #[derive(serde::Serialize)]
    struct Split<'a> {
        columns: &'a [String],
        data: &'a [Vec<serde_json::Value>],
    }
    serde_json::to_vec(&Split {
        columns: &table.columns,
        data: &table.rows,
    })
}
