use std::collections::BTreeMap;

use lem_record::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::Address;

/// OpenTelemetry: metrics, traces and logs over OTLP. Every `OTEL_*` variable of the
/// exporter counts too, also for one signal alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpSection {
    /// Send the run over OTLP (`--otlp`).
    pub enabled: bool,
    /// Base address of the receiver. Left out: `OTEL_EXPORTER_OTLP_ENDPOINT`, else this machine's port 4318, over gRPC 4317.
    pub endpoint: Option<Address>,
    /// Left out: `OTEL_EXPORTER_OTLP_PROTOCOL`, else `http/protobuf`.
    pub protocol: Option<OtlpProtocol>,
    /// Sent with each request; secret. Better in `OTEL_EXPORTER_OTLP_HEADERS`.
    #[schemars(with = "BTreeMap<String, String>")]
    pub headers: BTreeMap<String, Secret>,
    /// Left out: `OTEL_EXPORTER_OTLP_COMPRESSION`, else none.
    pub compression: Option<OtlpCompression>,
    /// Longest wait for one answer, seconds. Left out: `OTEL_EXPORTER_OTLP_TIMEOUT`, else 10.
    #[schemars(range(min = 0.001, max = 86_400.0))]
    pub timeout_s: Option<f64>,
    /// PEM file of the authorities to trust instead of the system's (`OTEL_EXPORTER_OTLP_CERTIFICATE`).
    pub certificate: Option<String>,
    /// PEM file of our certificate (`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`).
    pub client_certificate: Option<String>,
    /// PEM file of its private key (`OTEL_EXPORTER_OTLP_CLIENT_KEY`).
    pub client_key: Option<String>,
    /// Send metrics. Left out: unless `OTEL_METRICS_EXPORTER` is `none`.
    pub metrics: Option<bool>,
    /// Send spans. Left out: unless `OTEL_TRACES_EXPORTER` is `none`.
    pub traces: Option<bool>,
    /// Send warnings and milestones. Left out: unless `OTEL_LOGS_EXPORTER` is `none`.
    pub logs: Option<bool>,
    /// `service.name` of the resource, and `job` in Prometheus (`OTEL_SERVICE_NAME`). Left out: `lem`.
    pub service_name: Option<String>,
    /// More attributes of the resource, besides those of `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource_attributes: BTreeMap<String, String>,
    /// What a point of a counter says: the sum since the run's start, or what came since
    /// the point before. Left out: `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`, else `cumulative`.
    pub temporality: Option<OtlpTemporality>,
    /// Send present values while the run is measured, also within the measured cycles.
    pub live: bool,
    /// Seconds between two of them. Left out: `OTEL_METRIC_EXPORT_INTERVAL`, else 60.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub live_interval_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    #[serde(rename = "http/protobuf")]
    Http,
    #[serde(rename = "grpc")]
    Grpc,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OtlpCompression {
    None,
    Gzip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OtlpTemporality {
    Cumulative,
    Delta,
    LowMemory,
}
