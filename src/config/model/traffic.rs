use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How requests arrive at a server. Not used by engines in this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    /// When requests are sent.
    pub mode: TrafficMode,
    /// Requests under way at one time, for `closed`.
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrency: u32,
    /// Requests a second, for every mode but `closed` and `trace`.
    #[schemars(range(max = 1_000_000.0), extend("exclusiveMinimum" = 0.0))]
    pub target_qps: Option<f64>,
    /// File of arrival times, for `trace`.
    pub trace: Option<String>,
    /// Seed of the arrival times. Left out: `random_seed`.
    pub seed: Option<u64>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            mode: TrafficMode::Closed,
            concurrency: 1,
            target_qps: None,
            trace: None,
            seed: None,
        }
    }
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
