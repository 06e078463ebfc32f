//! The result, version 3: what `result.json` holds.
//!
//! Energy, power, FLOP, carbon, cost and quality numbers are objects that say how they were
//! obtained; times, rates and counts are plain, `null` where absent, with the reason under
//! `absent`. What stands under a cycle is of that cycle; what stands at the top is the mean
//! over the finished cycles, except counts (`tokens`, `requests`, `duration_s`), which add
//! up, and peaks.

use std::collections::BTreeMap;

use lem_record::{How, Interval, Origin, Quantity, RunStatus, Warning};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::ModelDescription;
use crate::exec::{CommandResult, PhaseResult};
use crate::meter::Component;

/// Of the format. The `producer` beside it tells this file from others that carry the same number.
pub const SCHEMA_VERSION: &str = "3.0.0";

/// The result of one run of lem.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// Version of this format: `3.0.0`.
    pub schema_version: String,
    /// Who wrote this file, with which formulas.
    pub producer: Producer,
    /// Of the run, and of its folder.
    pub run_id: String,
    /// The run's folder, as it was when this was written; empty in a migrated file.
    pub run_dir: String,
    /// What a person calls this run.
    pub name: String,
    /// Tags as the sinks get them: those of the configuration, the commit, the user, a sweep's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// How it ended; a run whose log does not say was killed.
    pub status: RunStatus,
    /// Why it did not finish, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_reason: Option<String>,
    /// RFC 3339, UTC.
    pub started: Option<String>,
    /// RFC 3339, UTC: of the last record.
    pub ended: Option<String>,
    /// Who generated the tokens.
    pub backend: Option<String>,
    /// As the configuration names it.
    pub model_name: Option<String>,
    /// As the engine described it; `null` where the run ended before the engine was loaded.
    pub model: Option<ModelDescription>,
    /// The command that was measured, where it was `lem exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandResult>,
    /// Phases of any name that a command marked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marked_phases: Vec<PhaseResult>,
    /// The resolved configuration; secrets are `***`.
    pub config: Value,
    /// Where each value of the configuration came from, by dotted path.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub provenance: BTreeMap<String, Origin>,
    /// The machine: processors, GPUs, drivers, limits, software. What is not there carries its reason.
    pub environment: Value,
    /// The sensors and models that the energies are of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<PowerSource>,
    /// How several runs became this one, where it is an aggregate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<Aggregation>,
    /// GPU thermal state at start and end, where it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thermal: Option<Value>,
    /// Finished cycles that the numbers below are made of.
    pub num_cycles: u32,
    /// Over the finished cycles.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// How the energies of prefill and decode were told apart, by every way that applied.
    #[serde(default)]
    pub phase_estimates: PhaseEstimates,
    /// What held the clocks down within measured cycles; empty where nothing did.
    #[serde(default)]
    pub throttling: Vec<Throttling>,
    /// Idle power that was subtracted for the corrected energies, watts: with the model
    /// loaded, on a line from before the cycles to after them where both were observed.
    pub baseline_power_w: Quantity,
    /// Idle power and what follows from it.
    pub baseline: Baseline,
    /// The sampled series, thinned.
    pub time_series: TimeSeries,
    /// Quality of the output.
    pub quality: Quality,
    /// One by one, also those that were cut off.
    pub cycles: Vec<CycleResult>,
    /// 95 % confidence intervals over the cycles of the plain numbers above, by their path
    /// (`prefill_time_ms`, `latency.ttft_ms.mean`). Student's t under 15 cycles, BCa
    /// bootstrap from there to 200. Empty where there is a single cycle.
    #[schemars(with = "BTreeMap<String, Interval>")]
    pub intervals: BTreeMap<String, Interval>,
    /// Mean, standard deviation and coefficient of variation over the finished cycles, by
    /// catalogue id. Empty where there is a single cycle.
    #[serde(default)]
    pub cycle_statistics: BTreeMap<String, CycleStatistics>,
    /// What a reader must know, each with a remedy.
    pub warnings: Vec<WarningText>,
    /// What each sink received, as delivery tells it.
    pub exports: Vec<Value>,
    /// What the migration did, where this was made of a file of version 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<super::Migration>,
    /// That file's content, as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legacy: Option<Value>,
}

/// How the cycles of a run scatter in one number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CycleStatistics {
    /// Cycles that have it.
    pub n: u32,
    /// Of the cycles' own values, each counting once, in the unit of the metric.
    pub mean: f64,
    /// Of a sample (n − 1).
    pub stddev: f64,
    /// The standard deviation over the mean's amount; absent where the mean is 0.
    pub cv: Option<f64>,
}

/// Who wrote the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Producer {
    /// `lem`.
    pub name: String,
    /// Of lem.
    pub version: String,
    /// Version of the formulas.
    pub analysis: u32,
    /// What a total energy sums: `measured: gpu`, `modelled: cpu, memory`.
    pub energy_boundary: String,
}

/// Something to know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WarningText {
    /// Stable, for scripts: `baseline.unstable`.
    pub code: String,
    /// What is the matter.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl From<&Warning> for WarningText {
    fn from(warning: &Warning) -> Self {
        Self {
            code: warning.code.clone(),
            message: warning.message.clone(),
            remedy: warning.remedy.clone(),
        }
    }
}

/// One measured cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CycleResult {
    /// From 0.
    pub cycle: u32,
    /// False where the run ended within it: it counts for nothing.
    pub complete: bool,
    /// Seconds from the first cycle's start.
    pub start_s: f64,
    /// How long something held the clocks down in it, seconds: the longest of the reasons.
    /// `null` where no device tells.
    #[serde(default)]
    pub throttled_s: Option<f64>,
    /// Metrics (by catalogue id) in which it lies apart from the other cycles: a modified
    /// z-score above 3.5. It is counted all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlier_in: Vec<String>,
    #[serde(flatten)]
    pub numbers: Numbers,
}

/// The estimators of the phases' energies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseEstimates {
    /// The one that the run's numbers are: `windows`, `looped` or `slope`.
    pub method: Option<String>,
    /// False where no estimator tells the phases apart.
    pub resolvable: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Each that was tried.
    pub estimates: Vec<PhaseEstimate>,
}

/// What one estimator gave, of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseEstimate {
    /// `windows`, `looped` or `slope`.
    pub method: String,
    /// Gross, joules.
    pub prefill_energy_j: Quantity,
    /// Gross, joules.
    pub decode_energy_j: Quantity,
    /// (this − the chosen one) / the chosen one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefill_difference: Option<f64>,
    /// (this − the chosen one) / the chosen one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_difference: Option<f64>,
    /// What is to be known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Something that held the clocks down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throttling {
    /// From 0.
    pub cycle: u32,
    /// The device's source: `gpu0`.
    pub source: String,
    /// `power_cap`, `thermal`, `hw_slowdown`, `sw_thermal`, `hw_thermal`, `power_brake`.
    pub reason: String,
    /// How long, seconds.
    pub duration_s: f64,
    /// By the driver's cumulative time; false where it was polled, which misses what is short.
    pub counted: bool,
}

/// The numbers that a cycle and a run have alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Numbers {
    /// Wall time of the cycle, or of all finished cycles together, seconds.
    pub duration_s: Option<f64>,
    /// Wall time in a cycle up to each sequence's first token, milliseconds.
    pub prefill_time_ms: Option<f64>,
    /// Wall time in a cycle after the first token, milliseconds.
    pub decode_time_ms: Option<f64>,
    /// Wall time in a cycle that is neither; the three sum to the cycle, milliseconds.
    pub other_time_ms: Option<f64>,
    /// Gross energy of prefill in a cycle, joules.
    pub prefill_energy_j: Quantity,
    /// Gross energy of decode in a cycle, joules.
    pub decode_energy_j: Quantity,
    /// Gross energy of the rest of a cycle, joules; the three sum to the total.
    pub other_energy_j: Quantity,
    /// Above the loaded-idle power, joules; may be negative.
    pub prefill_energy_corrected_j: Quantity,
    /// Above the loaded-idle power, joules; may be negative.
    pub decode_energy_corrected_j: Quantity,
    /// Above the loaded-idle power, joules; may be negative.
    pub other_energy_corrected_j: Quantity,
    /// Input tokens over prefill time.
    pub prefill_tokens_per_sec: Option<f64>,
    /// Output tokens but each sequence's first, over decode time.
    pub decode_tokens_per_sec: Option<f64>,
    /// Gross energy of a cycle, joules.
    pub total_energy_j: Quantity,
    /// Gross energy minus loaded-idle power times time, joules.
    pub total_energy_corrected_j: Quantity,
    /// Gross energy minus bare-idle power times time, joules: what the loaded model costs while it waits is in it.
    pub total_energy_above_bare_j: Quantity,
    /// Gross total over output tokens, joules.
    pub energy_per_output_token_j: Quantity,
    /// Gross prefill energy over input tokens, joules.
    pub energy_per_input_token_j: Quantity,
    /// Gross total over answered requests, joules.
    pub energy_per_request_j: Quantity,
    /// Energy times duration of a cycle, joule-seconds.
    pub energy_delay_product_js: Quantity,
    /// Gross energy of a cycle by component.
    pub energy_components: EnergyComponents,
    /// Power, watts.
    pub power: Power,
    /// Latencies of requests, milliseconds.
    pub latency: Latency,
    /// Tokens of answered requests.
    pub tokens: Tokens,
    /// How many requests were answered and failed.
    pub requests: Requests,
    /// Work over time.
    pub throughput: Throughput,
    /// Work over energy.
    pub efficiency: Efficiency,
    /// Floating-point operations of a cycle.
    pub flops: Flops,
    /// Carbon of a cycle.
    pub carbon: Carbon,
    /// Cost of a cycle.
    pub cost: Cost,
    /// Highest use of memory.
    pub memory: Memory,
    /// How well the sensors were read.
    pub sampling: Sampling,
    /// What the engine, and the client that asks it, say beside the above, by catalogue id
    /// (`engine.queue`, `engine.acceptance`, `throughput.goodput`), in the catalogue's unit.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engine: BTreeMap<String, Quantity>,
    /// Times of requests as the engine tells them and as the client adds to them, by
    /// catalogue id (`latency.engine_queue`, `client.lag`), milliseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub engine_latency: BTreeMap<String, Distribution>,
    /// Why a plain number is `null`, by its path.
    pub absent: BTreeMap<String, String>,
}

/// Gross energy of a cycle by component, joules. Which of them the total sums stands in
/// its `method`: measured and modelled ones are never added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EnergyComponents {
    /// All GPUs, joules.
    pub gpu: Quantity,
    /// All processors, joules.
    pub cpu: Quantity,
    /// Main memory, joules.
    pub memory: Quantity,
}

/// Power of the components that the total sums, watts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Power {
    /// Mean over the cycles, watts.
    pub mean_w: Quantity,
    /// Highest sample.
    pub peak_w: Quantity,
    /// Mean over prefill.
    pub prefill_w: Quantity,
    /// Mean over decode.
    pub decode_w: Quantity,
}

/// Latencies of the answered requests, all cycles together, milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Time to first token, from sending or from when the request was due.
    pub ttft_ms: Distribution,
    /// Gaps between neighbouring output tokens; only from engines that tell each token's time.
    pub itl_ms: Distribution,
    /// A request's mean time per output token after the first.
    pub tpot_ms: Distribution,
    /// From sending or from when the request was due to the last token.
    pub e2e_ms: Distribution,
    /// From when a request was due to its first work.
    pub queue_ms: Distribution,
}

/// Percentiles by linear interpolation, as numpy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    /// Milliseconds.
    pub mean: Option<f64>,
    /// Median, milliseconds.
    pub p50: Option<f64>,
    /// 90th percentile, milliseconds.
    pub p90: Option<f64>,
    /// 99th percentile, milliseconds.
    pub p99: Option<f64>,
    /// Milliseconds.
    pub min: Option<f64>,
    /// Milliseconds.
    pub max: Option<f64>,
    /// Values that it is made of.
    pub count: u64,
}

/// Tokens of answered requests; at the top of all finished cycles together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Of the prompts.
    pub input: u64,
    /// Of the answers.
    pub output: u64,
}

/// At the top of all finished cycles together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requests {
    /// To their end.
    pub answered: u64,
    /// Failed or cancelled.
    pub failed: u64,
}

/// Over the whole time of the cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Throughput {
    /// Output tokens a second.
    pub total_tokens_per_sec: Option<f64>,
    /// Answered requests a second.
    pub requests_per_sec: Option<f64>,
}

/// Work over energy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Efficiency {
    /// Output tokens over gross joules.
    pub tokens_per_joule: Quantity,
    /// Estimated floating-point operations over gross joules.
    pub flops_per_joule: Quantity,
}

/// Floating-point operations of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flops {
    /// From the architecture; `method` says whether attention is in it.
    pub estimated: Quantity,
    /// From a profiler.
    pub measured: Quantity,
    /// A second.
    pub rate: Quantity,
    /// Model FLOPs utilisation, from 0 to 1.
    pub mfu: Quantity,
    /// Model bandwidth utilisation, from 0 to 1.
    pub mbu: Quantity,
}

/// Carbon of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Carbon {
    /// Grams of CO2-equivalent.
    pub emissions_g: Quantity,
    /// Grams of CO2-equivalent a kWh that were assumed; `method` says whence.
    pub intensity_g_per_kwh: Quantity,
}

/// Cost of a cycle, US dollars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// Energy and GPU time together.
    pub total_usd: Quantity,
    /// Of a million output tokens.
    pub usd_per_million_tokens: Quantity,
}

/// Highest use in a cycle, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Of all GPUs together.
    pub gpu_peak_bytes: Option<u64>,
    /// Resident memory of the engine's process.
    pub process_peak_bytes: Option<u64>,
}

/// How well the sensors were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sampling {
    /// Rows of all sources in the cycles.
    pub samples: u64,
    /// Late or not at all.
    pub missed: u64,
    /// Longest time between two samples of a power source, seconds.
    pub max_gap_s: Option<f64>,
}

/// Idle power, watts, and what follows from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Baseline {
    /// Before the engine was loaded.
    pub bare_w: Quantity,
    /// With the weights loaded, before the cycles.
    pub loaded_w: Quantity,
    /// With the weights loaded, after the cycles.
    pub after_w: Quantity,
    /// Loaded minus bare: what the loaded model costs while it waits.
    #[serde(default)]
    pub parking_w: Quantity,
    /// Standard deviation of the loaded samples.
    pub stddev_w: Quantity,
    /// Loaded-idle power times the duration of a cycle, joules.
    pub energy_j: Quantity,
    /// Idle energy over gross energy, from 0 to 1.
    pub ratio: Quantity,
    /// How long the loaded power was observed, seconds.
    pub duration_s: Option<f64>,
}

/// The sampled series of the cycles, thinned with peaks and dips kept. All samples stand in
/// `timeseries.parquet`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimeSeries {
    /// How often sensors were polled, milliseconds.
    pub interval_ms: Option<f64>,
    /// What `power_w` is the sum of, and how it was obtained.
    pub power: String,
    /// Whose memory `memory_gb` is.
    pub memory: String,
    /// At most 1,000.
    pub samples: Vec<SeriesSample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SeriesSample {
    /// Seconds from the first cycle's start.
    pub t: f64,
    /// Watts.
    pub power_w: Option<f64>,
    /// 10^9 bytes.
    pub memory_gb: Option<f64>,
    /// From 0 to 1; the mean of the GPUs.
    pub gpu_util: Option<f64>,
}

/// Quality of the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// On a text.
    pub perplexity: Quantity,
    /// Supplied or evaluated scores by name.
    pub scores: BTreeMap<String, Quantity>,
}

pub use super::aggregate::Aggregation;

/// A sensor, or a model in the place of one, that energy was taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PowerSource {
    /// `gpu0`, `cpu0`.
    pub id: String,
    /// `gpu`, `cpu`, `memory`, `module`.
    pub component: Component,
    /// As people know the device.
    pub name: String,
    /// `measured` or `modelled`.
    pub how: How,
    /// UUID or path of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Whether the total energy sums it.
    pub in_total: bool,
}

/// The published JSON Schema of [`RunResult`].
pub fn schema_json() -> String {
    let mut schema = schemars::schema_for!(RunResult);
    schema.insert(
        "title".into(),
        format!("Result of a run of lem, version {SCHEMA_VERSION}").into(),
    );
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
