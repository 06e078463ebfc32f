use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The run's final numbers for the textfile collector of node_exporter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextfileSection {
    /// Write the file when the run has ended.
    pub enabled: bool,
    /// The folder that node_exporter was given as `--collector.textfile.directory`; it gets
    /// `lem_<run id>.prom`.
    pub path: Option<String>,
}
