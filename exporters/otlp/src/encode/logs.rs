//! Warnings, and what happened when.

use lem_record::{Envelope, Metric, MetricValue, Record, RunStatus, catalogue};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::attributes::{any_text, cut, limit, text, whole};
use super::pack::Item;
use super::{Plan, Scope, ids, positive, spans};

/// Characters of the resolved configuration.
const CONFIG: usize = 60_000;

struct Line {
    severity: SeverityNumber,
    event: &'static str,
    body: String,
    attributes: Vec<KeyValue>,
    /// The span that it belongs to; the run's where there is none.
    cycle: Option<u32>,
}

impl Line {
    fn new(event: &'static str, body: impl Into<String>, attributes: Vec<KeyValue>) -> Self {
        Self {
            severity: SeverityNumber::Info,
            event,
            body: body.into(),
            attributes,
            cycle: None,
        }
    }

    fn put(self, scope: &Scope<'_>, envelope: &Envelope, plan: &mut Plan) {
        let limits = &scope.config.limits;
        let (attributes, dropped) = limit(self.attributes, limits.log_attributes, limits.log_value);
        let time = positive(envelope.at.unix_ns);
        let (trace_id, span_id) = match (scope.traced(), self.cycle) {
            (false, _) => (Vec::new(), Vec::new()),
            (true, cycle) => (
                ids::trace(scope.run_id),
                cycle.map_or_else(
                    || ids::run_span(scope.run_id),
                    |cycle| ids::cycle_span(scope.run_id, cycle),
                ),
            ),
        };
        let record = LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: time,
            severity_number: self.severity as i32,
            severity_text: match self.severity {
                SeverityNumber::Debug => "DEBUG",
                SeverityNumber::Warn => "WARN",
                SeverityNumber::Error => "ERROR",
                _ => "INFO",
            }
            .to_owned(),
            body: Some(any_text(self.body)),
            attributes,
            dropped_attributes_count: dropped,
            flags: u32::from(!trace_id.is_empty()),
            trace_id,
            span_id,
            event_name: self.event.to_owned(),
        };
        plan.push(envelope.n, 1, Item::Log(record));
    }
}

/// A number that could not be had, with the reason.
pub(super) fn metric(scope: &Scope<'_>, envelope: &Envelope, metric: &Metric, plan: &mut Plan) {
    let MetricValue::Absent(reason) = &metric.value else {
        return;
    };
    let Some(def) = catalogue::find(&metric.id) else {
        return;
    };
    let mut attributes = vec![
        text("lem.metric.name", def.otel),
        text("lem.absent.reason", reason),
    ];
    let own = def.all_attributes(&metric.attributes);
    attributes.extend(own.into_iter().map(|(k, v)| text(k, v)));
    let body = format!("{} is absent: {reason}", def.otel);
    let mut line = Line::new("lem.metric.absent", body, attributes);
    line.cycle = metric.cycle;
    line.put(scope, envelope, plan);
}

pub(super) fn record(scope: &Scope<'_>, envelope: &Envelope, plan: &mut Plan) {
    let line = match &envelope.record {
        Record::RunStarted(started) => {
            let mut attributes = spans::about(scope);
            let mut config = started.config.to_string();
            cut(&mut config, CONFIG);
            attributes.push(text("lem.run.config", config));
            let name: String = started.name.chars().take(200).collect();
            Line::new(
                "lem.run.started",
                format!("run started: {name}"),
                attributes,
            )
        }
        Record::Warning(warning) => Line {
            severity: SeverityNumber::Warn,
            ..Line::new(
                "lem.warning",
                &warning.message,
                vec![
                    text("lem.warning.code", &warning.code),
                    text("lem.warning.remedy", &warning.remedy),
                ],
            )
        },
        Record::SegmentWritten(segment) => Line {
            severity: SeverityNumber::Debug,
            cycle: Some(segment.cycle),
            ..Line::new(
                "lem.segment.written",
                format!(
                    "segment {} of cycle {} written",
                    segment.segment, segment.cycle
                ),
                vec![
                    whole("lem.cycle", u64::from(segment.cycle)),
                    whole("lem.segment", u64::from(segment.segment)),
                ],
            )
        },
        Record::CycleFinished(cycle) => Line {
            cycle: Some(cycle.cycle),
            ..Line::new(
                "lem.cycle.finished",
                format!("cycle {} finished", cycle.cycle),
                vec![
                    whole("lem.cycle", u64::from(cycle.cycle)),
                    whole("lem.cycle.requests", cycle.requests),
                    whole("lem.cycle.failed", cycle.failed),
                    whole("lem.cycle.samples_missed", cycle.samples_missed),
                ],
            )
        },
        Record::RoundsFinished(rounds) => Line {
            severity: SeverityNumber::Debug,
            ..Line::new(
                "lem.rounds.finished",
                format!(
                    "{} extra rounds to tell the phases apart ({})",
                    rounds.round_ends_ns.len(),
                    rounds.method
                ),
                vec![
                    text("lem.rounds.method", &rounds.method),
                    whole("lem.rounds.count", rounds.round_ends_ns.len() as u64),
                ],
            )
        },
        Record::Resumed(resumed) => Line::new(
            "lem.run.resumed",
            format!("run resumed at cycle {}", resumed.from_cycle),
            vec![
                whole("lem.cycle", u64::from(resumed.from_cycle)),
                whole("lem.cycles", u64::from(resumed.cycles)),
            ],
        ),
        // their content stands in metrics and spans, or has no place here
        Record::Table(table) => Line::new(
            "lem.table",
            format!("table {} with {} rows", table.name, table.rows.len()),
            vec![
                text("lem.table.name", &table.name),
                whole("lem.table.rows", table.rows.len() as u64),
            ],
        ),
        Record::Artifact(artifact) => Line::new(
            "lem.artifact",
            format!("file {} of {} bytes", artifact.path, artifact.bytes),
            vec![
                text("lem.artifact.path", &artifact.path),
                text("lem.artifact.sha256", &artifact.sha256),
                whole("lem.artifact.bytes", artifact.bytes),
            ],
        ),
        Record::RunFinished(finished) => {
            let status = finished.status.as_str();
            let mut attributes = vec![
                text("lem.status", status),
                whole("lem.analysis.version", u64::from(finished.analysis)),
            ];
            attributes.extend(finished.reason.iter().map(|r| text("lem.reason", r)));
            let severity = match finished.status {
                RunStatus::Finished => SeverityNumber::Info,
                RunStatus::Interrupted => SeverityNumber::Warn,
                RunStatus::Failed | RunStatus::Killed => SeverityNumber::Error,
            };
            Line {
                severity,
                ..Line::new("lem.run.finished", format!("run {status}"), attributes)
            }
        }
        Record::Samples(_)
        | Record::Metric(_)
        | Record::Span(_)
        | Record::Clock(_)
        | Record::Seal(_)
        | Record::Unknown(_) => return,
    };
    line.put(scope, envelope, plan);
}
