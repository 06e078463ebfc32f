use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How requests arrive at a server. Not used by engines in this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    /// When requests are sent.
    pub mode: TrafficMode,
    /// Requests under way at one time, for `closed`. On a server it stands for `batching.batch_size`.
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrency: u32,
    /// Requests a second, for every mode but `closed` and `trace`.
    #[schemars(range(max = 1_000_000.0), extend("exclusiveMinimum" = 0.0))]
    pub target_qps: Option<f64>,
    /// File of arrival times, for `trace`.
    pub trace: Option<String>,
    /// Seed of the arrival times. Left out: `random_seed`.
    pub seed: Option<u64>,
    /// Shape of the gaps, for `gamma`: 1 is `poisson`, below 1 is burstier, above 1 more even.
    #[schemars(range(min = 0.01, max = 1_000.0))]
    pub burstiness: Option<f64>,
    /// Requests a second at the end, for `ramp`; it begins with `target_qps`.
    #[schemars(range(max = 1_000_000.0), extend("exclusiveMinimum" = 0.0))]
    pub ramp_to_qps: Option<f64>,
    /// Turns of a conversation, for `closed`: so many prompts in a row make one, each put behind
    /// the one before it and its answer; then `concurrency` counts conversations.
    #[schemars(range(min = 1, max = 1_000))]
    pub turns: u32,
    /// Pause between an answer and the next turn, seconds.
    #[schemars(range(min = 0.0, max = 3_600.0))]
    pub think_time_s: f64,
    pub slo: Objectives,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            mode: TrafficMode::Closed,
            concurrency: 1,
            target_qps: None,
            trace: None,
            seed: None,
            burstiness: None,
            ramp_to_qps: None,
            turns: 1,
            think_time_s: 0.0,
            slo: Objectives::default(),
        }
    }
}

/// Latency objectives: goodput counts the requests that met all of those given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Objectives {
    /// Most time to the first token, milliseconds.
    #[schemars(range(max = 86_400_000.0), extend("exclusiveMinimum" = 0.0))]
    pub ttft_ms: Option<f64>,
    /// Most time for each output token after the first, the mean of a request, milliseconds.
    #[schemars(range(max = 86_400_000.0), extend("exclusiveMinimum" = 0.0))]
    pub tpot_ms: Option<f64>,
    /// Most time to the last token, milliseconds.
    #[schemars(range(max = 86_400_000.0), extend("exclusiveMinimum" = 0.0))]
    pub e2e_ms: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrafficMode {
    #[default]
    /// The next request is sent when one ends.
    Closed,
    /// Evenly spaced.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// Gamma-distributed gaps: bursts.
    Gamma,
    /// A rate that rises.
    Ramp,
    /// As a file says.
    Trace,
}
