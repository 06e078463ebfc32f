//! The vocabulary of lem: what a run may say, and to whom.
//!
//! Every other crate meets here. A run is a log of [`Envelope`]s; each holds one
//! [`Record`]. Metrics are named by the [`catalogue`], and by nothing else. A
//! [`Recorder`] takes records in while a run is measured; an [`Exporter`] takes
//! them out to one destination. This crate reads no file, no network and no
//! environment; its only effect is to read the clock ([`Stamp::now`]).

pub mod catalogue;
mod downsample;
mod envelope;
mod exporter;
mod live;
mod record;
mod recorder;
mod secret;
mod stamp;
mod value;

pub use catalogue::{Kind, MetricDef, Unit};
pub use downsample::downsample;
pub use envelope::{DecodeError, Envelope, MAX_LINE_BYTES};
pub use exporter::{
    Check, CheckItem, CheckOutcome, ExportError, Exporter, Receipt, Rejected, RunContext, Written,
};
pub use live::{Board, Live, Present};
pub use record::{
    Artifact, ArtifactKind, Attributes, ClockPairs, Column, CycleFinished, EngineTold,
    FinishReason, Metric, Origin, Record, RequestTimeline, Resumed, RoundsFinished, RunFinished,
    RunStarted, RunStatus, Samples, Seal, SegmentWritten, Span, SpanKind, Table, Warning,
};
pub use recorder::Recorder;
pub use secret::Secret;
pub use stamp::Stamp;
pub use value::{Histogram, How, Interval, MetricValue, Quantity, Uncertainty};
