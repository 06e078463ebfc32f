//! From records to OTLP messages: pure, and byte for byte the same each time.

mod attributes;
mod ids;
mod logs;
mod metrics;
mod pack;
mod resource;
mod spans;
mod state;

use std::sync::Arc;

use lem_record::{Envelope, Record, Rejected, RunStarted, Stamp};

use crate::{OtlpConfig, Signal};

pub(crate) use metrics::present;
pub(crate) use pack::requests_of;
pub use pack::{Envelopes, Item, Piece, Request, requests};
pub use state::State;

/// What the encoding of a run's records depends on besides them.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub run_id: &'a str,
    pub started: &'a RunStarted,
    pub started_at: Stamp,
    pub config: &'a OtlpConfig,
}

impl Scope<'_> {
    /// Unix time in nanoseconds. Every time of a run is tied to the same pair of
    /// clocks, so that a step of the wall clock changes no duration. 0 would mean
    /// "unknown" to OTLP.
    fn nanos(&self, t_ns: u64) -> u64 {
        positive(self.started_at.unix_ns_at(t_ns))
    }

    fn start(&self) -> u64 {
        self.nanos(self.started_at.mono_ns)
    }

    fn config_str(&self, pointer: &str) -> Option<&str> {
        self.started.config.pointer(pointer)?.as_str()
    }

    /// Whether this run's spans are sent: the same answer for the same run, always.
    fn traced(&self) -> bool {
        self.config.traces.enabled && ids::sampled(self.run_id, self.config.trace_ratio)
    }
}

/// Of a run's only trace, in hexadecimal.
pub(crate) fn trace_id(run_id: &str) -> String {
    let digits = ids::trace(run_id).into_iter();
    digits.map(|byte| format!("{byte:02x}")).collect()
}

fn positive(unix_ns: i64) -> u64 {
    u64::try_from(unix_ns).unwrap_or_default().max(1)
}

/// What becomes of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order of the records.
    pub pieces: Vec<Piece>,
    pub rejected: Vec<Rejected>,
    /// With which the next batch is to be encoded.
    pub state: State,
}

impl Plan {
    fn push(&mut self, n: u64, items: u64, item: Item) {
        self.pieces.push(Piece::new(n, items, item));
    }

    fn reject(&mut self, n: u64, reason: impl Into<String>) {
        self.rejected.push(Rejected {
            n,
            reason: reason.into(),
        });
    }
}

/// Encodes consecutive records. `state` is that after the records before them.
pub fn encode(scope: &Scope<'_>, state: &State, batch: &[Arc<Envelope>]) -> Plan {
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    for envelope in batch {
        let n = envelope.n;
        match &envelope.record {
            Record::Samples(samples) => metrics::samples(scope, n, samples, &mut plan),
            Record::Metric(metric) => {
                metrics::metric(scope, n, metric, &mut plan);
                spans::joules(scope, metric, &mut plan);
                logs::metric(scope, envelope, metric, &mut plan);
            }
            Record::Span(span) => spans::span(scope, n, span, &mut plan),
            record => {
                if let Record::RunFinished(finished) = record {
                    spans::run(scope, envelope, finished, &mut plan);
                }
                logs::record(scope, envelope, &mut plan);
            }
        }
        plan.state.next = n.saturating_add(1);
    }
    let config = scope.config;
    let traced = scope.traced();
    plan.pieces.retain(|piece| match piece.item.signal() {
        Signal::Metrics => config.metrics.enabled,
        Signal::Traces => traced,
        Signal::Logs => config.logs.enabled,
    });
    plan
}
