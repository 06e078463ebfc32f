//! What an `Export…ServiceResponse` says. The three have one shape.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use crate::Signal;

/// The receiver has taken a message, but for what it rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub rejected: u64,
    /// What it said about that; without a rejection, a hint.
    pub message: String,
}

/// None where the bytes are no such response.
pub(super) fn read(signal: Signal, body: &[u8]) -> Option<Acknowledged> {
    let partial = match signal {
        Signal::Metrics => ExportMetricsServiceResponse::decode(body)
            .ok()?
            .partial_success
            .map(|p| (p.rejected_data_points, p.error_message)),
        Signal::Traces => ExportTraceServiceResponse::decode(body)
            .ok()?
            .partial_success
            .map(|p| (p.rejected_spans, p.error_message)),
        Signal::Logs => ExportLogsServiceResponse::decode(body)
            .ok()?
            .partial_success
            .map(|p| (p.rejected_log_records, p.error_message)),
    };
    let (rejected, message) = partial.unwrap_or_default();
    let mut message: String = message.chars().filter(|c| !c.is_control()).collect();
    if let Some((at, _)) = message.char_indices().nth(300) {
        message.truncate(at);
    }
    Some(Acknowledged {
        rejected: u64::try_from(rejected).unwrap_or(0),
        message,
    })
}
