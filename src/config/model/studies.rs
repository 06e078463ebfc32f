use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
