use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An OpenMetrics file of every sample at its own time, for
/// `promtool tsdb create-blocks-from openmetrics`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OpenMetricsSection {
    /// Write the file when the run has ended.
    pub enabled: bool,
    /// The folder that gets `<run id>.om`. Left out: `artifacts` in the run's own folder.
    pub path: Option<String>,
}
