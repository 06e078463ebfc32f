use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// FLOPs from a profiler, and its summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Profiling {
    /// Run the profiler (`--profile`).
    pub enabled: bool,
    /// Record the shapes of the operators' inputs.
    pub record_shapes: bool,
    /// Count FLOPs for each operator.
    pub with_flops: bool,
}

/// Output quality.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quality {
    /// Evaluate the output after the measured cycles.
    pub enabled: bool,
    /// `perplexity`, `eval` or `external`.
    pub mode: Option<String>,
    /// Dataset to evaluate on: a file or a name of the hub.
    pub eval_dataset: Option<String>,
    /// Most samples to evaluate.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_eval_samples: Option<u32>,
}

/// Many experiments from one configuration (`lem sweep`); `lem run` does not read it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sweep {
    /// Keys by their dotted paths, each with a list of values: every combination is a point
    /// (`--vary`).
    pub vary: BTreeMap<String, Vec<Value>>,
    /// Groups of keys whose values go together, the first with the first; all of a group have
    /// equally many (`--zip`).
    pub zip: Vec<BTreeMap<String, Vec<Value>>>,
    /// Points that are listed one by one, beside the combinations (`--point`).
    pub points: Vec<BTreeMap<String, Value>>,
    /// Conditions: a point for which one of them holds is left out (`--skip`).
    pub skip: Vec<String>,
    /// In which order the points are visited; left out, `blocks` (`--order`).
    pub order: Option<SweepOrder>,
    /// Seed of the order; left out, `random_seed` (`--seed`).
    pub seed: Option<u64>,
    /// Ends points that are certainly poor: `METRIC:FACTOR`, as `energy.per_output_token:1.5`
    /// (`--stop-early`). Left out, none.
    pub stop_early: Option<String>,
    /// The metric whose best value makes the best point; left out, `energy.per_output_token`
    /// (`--best`).
    pub best: Option<String>,
}

impl Sweep {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// In which order a sweep's points are visited. A visit is one cycle of one point.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum SweepOrder {
    /// Points that share a loaded model stay together; among them each cycle visits each point
    /// once, in an order drawn anew.
    #[default]
    Blocks,
    /// Each cycle visits every point once, in an order drawn anew, whatever is to be loaded.
    Shuffled,
    /// Each cycle visits every point once, in the order in which they are listed.
    Interleaved,
    /// All cycles of a point, then the next point, in the order in which they are listed.
    #[value(alias = "grouped")]
    #[serde(alias = "grouped")]
    Sequential,
}
