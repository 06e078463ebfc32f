//! The kinds of record. A new kind is an addition: readers skip what they do not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::value::{How, Interval, MetricValue, Uncertainty};

/// Attributes of a metric, span or column: OTel names (`hw.id`, `lem.phase`, …).
pub type Attributes = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Record {
    RunStarted(Box<RunStarted>),
    Clock(ClockPairs),
    Samples(Samples),
    Span(Span),
    Metric(Metric),
    Table(Table),
    Artifact(Artifact),
    Warning(Warning),
    SegmentWritten(SegmentWritten),
    CycleFinished(CycleFinished),
    RoundsFinished(RoundsFinished),
    Resumed(Resumed),
    Seal(Seal),
    RunFinished(RunFinished),
    /// A kind that a newer lem wrote: kept by name, skipped by every reader.
    #[serde(skip)]
    Unknown(String),
}

impl Record {
    pub fn kind(&self) -> &str {
        match self {
            Self::RunStarted(_) => "run_started",
            Self::Clock(_) => "clock",
            Self::Samples(_) => "samples",
            Self::Span(_) => "span",
            Self::Metric(_) => "metric",
            Self::Table(_) => "table",
            Self::Artifact(_) => "artifact",
            Self::Warning(_) => "warning",
            Self::SegmentWritten(_) => "segment_written",
            Self::CycleFinished(_) => "cycle_finished",
            Self::RoundsFinished(_) => "rounds_finished",
            Self::Resumed(_) => "resumed",
            Self::Seal(_) => "seal",
            Self::RunFinished(_) => "run_finished",
            Self::Unknown(kind) => kind,
        }
    }

    /// Decodes the payload of a record of the named kind; an unknown kind is not an error.
    pub fn decode(kind: &str, data: &str) -> Result<Self, serde_json::Error> {
        Ok(match kind {
            "run_started" => Self::RunStarted(serde_json::from_str(data)?),
            "clock" => Self::Clock(serde_json::from_str(data)?),
            "samples" => {
                let samples: Samples = serde_json::from_str(data)?;
                samples.check().map_err(serde::de::Error::custom)?;
                Self::Samples(samples)
            }
            "span" => Self::Span(serde_json::from_str(data)?),
            "metric" => Self::Metric(serde_json::from_str(data)?),
            "table" => Self::Table(serde_json::from_str(data)?),
            "artifact" => Self::Artifact(serde_json::from_str(data)?),
            "warning" => Self::Warning(serde_json::from_str(data)?),
            "segment_written" => Self::SegmentWritten(serde_json::from_str(data)?),
            "cycle_finished" => Self::CycleFinished(serde_json::from_str(data)?),
            "rounds_finished" => Self::RoundsFinished(serde_json::from_str(data)?),
            "resumed" => Self::Resumed(serde_json::from_str(data)?),
            "seal" => Self::Seal(serde_json::from_str(data)?),
            "run_finished" => Self::RunFinished(serde_json::from_str(data)?),
            other => Self::Unknown(other.to_owned()),
        })
    }
}

/// The first record of every run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStarted {
    /// Format of the log: 1.
    pub format: u32,
    /// `lem` and its version.
    pub producer: String,
    /// What a person calls this run.
    pub name: String,
    /// The resolved configuration. Secrets are already `"***"`.
    pub config: Value,
    /// Where each value came from, by dotted path.
    pub provenance: BTreeMap<String, Origin>,
    pub environment: Value,
    /// Tags for the sinks: git commit, user, source, those of the configuration.
    pub tags: BTreeMap<String, String>,
    /// Kernel boot id: monotonic times of two runs compare only within one boot.
    pub boot_id: Option<String>,
    pub pid: u32,
    /// Each enabled sink's configuration without its secrets: where the run was meant to go.
    pub sinks: BTreeMap<String, Value>,
    /// Attributes that take several values within this run (`hw.id` with two GPUs):
    /// flat keys must carry them, so that nothing overwrites anything.
    #[serde(default)]
    pub varying: Vec<String>,
    /// The sources of the sampled series, as the meter described them.
    #[serde(default)]
    pub sources: Value,
    /// The model, as the engine described it.
    #[serde(default)]
    pub model: Value,
}

/// Where a configuration value was defined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// `default`, `preset`, `file`, `environment` or `flag`.
    pub source: String,
    /// File with line, variable or flag, as a person would look it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Pairs of both clocks, one a second, so that a step of the wall clock is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockPairs {
    pub pairs: Vec<(u64, i64)>,
}

/// A batch of one source's samples, column by column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    /// The meter's id of the source (`gpu0`, `cpu0`, `memory0`, `process`).
    pub source: String,
    /// CLOCK_MONOTONIC times, never decreasing.
    pub t_ns: Vec<u64>,
    pub columns: Vec<Column>,
}

impl Samples {
    /// A column shorter or longer than the times would shift every value after it.
    pub fn check(&self) -> Result<(), String> {
        for column in &self.columns {
            if column.values.len() != self.t_ns.len() {
                return Err(format!(
                    "samples of {}: column {} has {} values for {} times",
                    self.source,
                    column.metric,
                    column.values.len(),
                    self.t_ns.len()
                ));
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Catalogue id (`sample.power`).
    pub metric: String,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    pub how: How,
    /// `null` where this sample was missed.
    pub values: Vec<Option<f64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    Baseline,
    Warmup,
    Cycle,
    /// Of a batch within a cycle; `name` is `prefill`, `decode` or `other`.
    Phase,
    Request,
}

/// Something that took time. Times are CLOCK_MONOTONIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    pub span: SpanKind,
    pub name: String,
    /// The measured cycle (from 0) that it belongs to; absent outside the cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<u32>,
    pub start_ns: u64,
    pub end_ns: u64,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestTimeline>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model ended its answer.
    Stop,
    /// The length that was asked for.
    Length,
    Cancelled,
    Error,
}

/// One request's story, from which every latency is computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestTimeline {
    pub id: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// When it was due, where a schedule said so: latency counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_ns: Option<u64>,
    /// The time of each output token, or of each chunk where `true_token_times` is false.
    pub token_ns: Vec<u64>,
    /// Tokens in each chunk where it is not one each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chunk_tokens: Vec<u32>,
    /// Whether each time is that of one token.
    pub true_token_times: bool,
    /// The first token of the answer itself, where tokens of reasoning came before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ns: Option<u64>,
    /// What the engine itself says of the request.
    #[serde(default, skip_serializing_if = "EngineTold::is_empty")]
    pub engine: EngineTold,
    pub finish: FinishReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A request as the engine itself saw it: by its own clock, without network and client.
/// What it does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineTold {
    /// Waiting before any work, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_s: Option<f64>,
    /// Working on the prompt, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_s: Option<f64>,
    /// From the first token to the last, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_s: Option<f64>,
    /// From arrival to the first token, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_s: Option<f64>,
    /// Tokens of the prompt that were in its cache already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
}

impl EngineTold {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Catalogue id.
    pub id: String,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    pub value: MetricValue,
    /// When it was true: CLOCK_MONOTONIC.
    pub t_ns: u64,
    /// The cycle it belongs to; absent for the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<u32>,
    pub how: How,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<Uncertainty>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// `cycles`, `requests`, …
    pub name: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    Config,
    Result,
    Series,
    Profile,
    Evaluation,
    Plot,
    Log,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    /// Relative to the run's folder, with `/`; never absolute, never with `..`.
    pub path: String,
    pub artifact: ArtifactKind,
    /// Lower-case hexadecimal.
    pub sha256: String,
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Stable, for scripts: `baseline.unstable`.
    pub code: String,
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// Part of a long cycle reached the disk, inside the measured window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentWritten {
    pub cycle: u32,
    pub segment: u32,
    pub start_ns: u64,
    pub end_ns: u64,
}

/// All that the cycle measured stands before this record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CycleFinished {
    pub cycle: u32,
    pub start_ns: u64,
    pub end_ns: u64,
    pub requests: u64,
    pub failed: u64,
    /// Samples that came late or not at all.
    pub samples_missed: u64,
}

/// Extra rounds that were measured beside the cycles, only to tell the phases' energies apart:
/// the requests of a cycle, answered again with other lengths. They are no cycle and count for
/// nothing else. All that they measured stands before this record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundsFinished {
    /// `looped`: each request answered with a single token; `slope`: with `output_tokens` a
    /// request as one of several lengths.
    pub method: String,
    /// One a measured window, from 0.
    pub window: u32,
    pub start_ns: u64,
    pub end_ns: u64,
    /// When each round ended: all requests of a cycle, once.
    pub round_ends_ns: Vec<u64>,
    /// Of all rounds together.
    pub requests: u64,
    pub failed: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Wall time in prefill of all rounds together, where the engine tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_ns: Option<u64>,
    /// Wall time in decode of all rounds together, where the engine tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_ns: Option<u64>,
    /// How long nothing was asked of the engine within the rounds, all together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_ns: Option<u64>,
}

/// Another process goes on with the run. What the log says before this of `from_cycle` and of
/// later cycles belongs to an attempt that was broken off, and an end that it tells is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// The cycle that is measured next: those before it are kept.
    pub from_cycle: u32,
    /// How many cycles the run is to have now.
    pub cycles: u32,
    /// `lem` and its version.
    pub producer: String,
    pub pid: u32,
    /// Where it is another than before, this process's monotonic times go on from those of the
    /// log by the wall clock ([`crate::Stamp::go_on_from`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
}

/// The checksum of the log up to the line of this record, made when the run was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Of all bytes before this record's line, in lower-case hexadecimal.
    pub sha256: String,
    /// How many bytes those are.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Finished,
    Failed,
    Interrupted,
    /// The process died; another wrote this record.
    Killed,
}

impl RunStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Killed => "killed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFinished {
    pub status: RunStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Version of the analysis that wrote the metrics before this record.
    pub analysis: u32,
}
