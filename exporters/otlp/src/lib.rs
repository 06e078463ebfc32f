//! Runs to any OpenTelemetry backend, by OTLP over HTTP or gRPC.
//!
//! [`OtlpConfig`] says where to, per signal, and honours the `OTEL_*` variables;
//! [`encode`] turns records into OTLP messages, purely; `wire` carries one message and
//! says whether it was acknowledged; [`OtlpExporter`] is the sink made of them. The same
//! sink with [`MlflowTraces`] brings the spans to MLflow, as the sink `mlflow-traces`.
//!
//! The metrics are built as messages rather than recorded through the SDK, which knows
//! no times but the moment of collection.

mod config;
pub mod encode;
mod exporter;
mod live;
mod memory;
mod mlflow;
mod send;
mod wire;

pub use config::{
    Compression, ConfigError, Limits, OtlpConfig, Protocol, Signal, SignalConfig, Temporality,
    Transport, VARIABLES, Variable,
};
pub use exporter::OtlpExporter;
pub use mlflow::MlflowTraces;
