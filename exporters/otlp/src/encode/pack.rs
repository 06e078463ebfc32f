//! Messages of a size that receivers take.

use std::collections::HashMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;

use super::{Plan, Scope, resource};
use crate::{Limits, Signal};

/// Receivers take 4 MiB over gRPC by default, and more over HTTP.
const REQUEST_BYTES: usize = 2 << 20;

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Metric(Metric),
    Span(Span),
    Log(LogRecord),
}

impl Item {
    pub const fn signal(&self) -> Signal {
        match self {
            Self::Metric(_) => Signal::Metrics,
            Self::Span(_) => Signal::Traces,
            Self::Log(_) => Signal::Logs,
        }
    }
}

/// What is never parted.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The record that it comes from.
    pub n: u64,
    /// Data points, spans or log records.
    pub items: u64,
    bytes: usize,
    pub item: Item,
}

impl Piece {
    pub(super) fn new(n: u64, items: u64, item: Item) -> Self {
        // with its length and tag
        let bytes = 6 + match &item {
            Item::Metric(metric) => metric.encoded_len(),
            Item::Span(span) => span.encoded_len(),
            Item::Log(log) => log.encoded_len(),
        };
        Self {
            n,
            items,
            bytes,
            item,
        }
    }
}

/// What every message of a run is wrapped in.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelopes {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Envelopes {
    pub fn new(scope: &Scope<'_>) -> Self {
        Self {
            resource: resource::resource(scope),
            scope: resource::instrumentation(scope),
        }
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub signal: Signal,
    /// Never empty, and of this signal.
    pub pieces: Vec<Piece>,
}

/// The messages of a plan: metrics, then spans, then logs.
pub fn requests(plan: &mut Plan, limits: &Limits) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    let mut pieces = std::mem::take(&mut plan.pieces);
    // stable: within a signal the order of the records stays
    pieces.sort_by_key(|piece| piece.item.signal());
    let mut bytes = 0;
    for piece in pieces {
        let signal = piece.item.signal();
        let most = match signal {
            Signal::Metrics => usize::MAX,
            Signal::Traces => limits.span_batch.max(1),
            Signal::Logs => limits.log_batch.max(1),
        };
        let fits = requests.last().is_some_and(|last| {
            last.signal == signal
                && last.pieces.len() < most
                && bytes + piece.bytes <= REQUEST_BYTES
        });
        if !fits {
            bytes = 0;
            requests.push(Request {
                signal,
                pieces: Vec::new(),
            });
        }
        bytes += piece.bytes;
        if let Some(last) = requests.last_mut() {
            last.pieces.push(piece);
        }
    }
    requests
}

/// One message of what did not come from a record.
pub(crate) fn requests_of(signal: Signal, items: Vec<Item>) -> Option<Request> {
    let pieces: Vec<Piece> = items
        .into_iter()
        .map(|item| Piece::new(0, 1, item))
        .collect();
    (!pieces.is_empty()).then_some(Request { signal, pieces })
}

impl Request {
    /// Data points, spans or log records.
    pub fn items(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.items).sum()
    }

    /// The first record in it.
    pub fn first(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.n).min().unwrap_or(0)
    }

    /// Two messages of it, where it can be parted.
    pub fn halves(mut self) -> Result<[Self; 2], Self> {
        if self.pieces.len() < 2 {
            return Err(self);
        }
        let second = Self {
            signal: self.signal,
            pieces: self.pieces.split_off(self.pieces.len() / 2),
        };
        Ok([self, second])
    }

    pub fn encode(&self, wrapped: &Envelopes) -> Vec<u8> {
        let resource = Some(wrapped.resource.clone());
        let scope = Some(wrapped.scope.clone());
        let items = self.pieces.iter().map(|piece| &piece.item);
        match self.signal {
            Signal::Metrics => ExportMetricsServiceRequest {
                resource_metrics: vec![ResourceMetrics {
                    resource,
                    scope_metrics: vec![ScopeMetrics {
                        scope,
                        metrics: merged(items),
                        ..ScopeMetrics::default()
                    }],
                    ..ResourceMetrics::default()
                }],
            }
            .encode_to_vec(),
            Signal::Traces => ExportTraceServiceRequest {
                resource_spans: vec![ResourceSpans {
                    resource,
                    scope_spans: vec![ScopeSpans {
                        scope,
                        spans: items
                            .filter_map(|item| match item {
                                Item::Span(span) => Some(span.clone()),
                                _ => None,
                            })
                            .collect(),
                        ..ScopeSpans::default()
                    }],
                    ..ResourceSpans::default()
                }],
            }
            .encode_to_vec(),
            Signal::Logs => ExportLogsServiceRequest {
                resource_logs: vec![ResourceLogs {
                    resource,
                    scope_logs: vec![ScopeLogs {
                        scope,
                        log_records: items
                            .filter_map(|item| match item {
                                Item::Log(log) => Some(log.clone()),
                                _ => None,
                            })
                            .collect(),
                        ..ScopeLogs::default()
                    }],
                    ..ResourceLogs::default()
                }],
            }
            .encode_to_vec(),
        }
    }
}

/// The points of one metric together: a name stands once in a message, with one kind
/// and one temporality.
fn merged<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    let mut places: HashMap<(String, String, (u8, i32)), usize> = HashMap::new();
    for item in items {
        let Item::Metric(metric) = item else { continue };
        let kind = match &metric.data {
            Some(metric::Data::Sum(sum)) => (1, sum.aggregation_temporality),
            Some(metric::Data::Histogram(histogram)) => (2, histogram.aggregation_temporality),
            _ => (0, 0),
        };
        let key = (metric.name.clone(), metric.unit.clone(), kind);
        match places.get(&key).and_then(|at| metrics.get_mut(*at)) {
            Some(there) => extend(there, metric),
            None => {
                places.insert(key, metrics.len());
                metrics.push(metric.clone());
            }
        }
    }
    metrics
}

fn extend(there: &mut Metric, more: &Metric) {
    match (&mut there.data, &more.data) {
        (Some(metric::Data::Gauge(a)), Some(metric::Data::Gauge(b))) => {
            a.data_points.extend_from_slice(&b.data_points);
        }
        (Some(metric::Data::Sum(a)), Some(metric::Data::Sum(b))) => {
            a.data_points.extend_from_slice(&b.data_points);
        }
        (Some(metric::Data::Histogram(a)), Some(metric::Data::Histogram(b))) => {
            a.data_points.extend_from_slice(&b.data_points);
        }
        // their kind is part of what they were found by
        _ => {}
    }
}
