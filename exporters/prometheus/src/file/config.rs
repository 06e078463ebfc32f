use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ConfigError;

/// `integrations.openmetrics`: a file of every sample at its own time, for
/// `promtool tsdb create-blocks-from openmetrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OpenMetricsConfig {
    pub enabled: bool,
    /// The folder that gets `<run id>.om`. Left out: `artifacts` in the run's own folder.
    pub path: Option<PathBuf>,
}

impl OpenMetricsConfig {
    pub(super) fn check(&self) -> Result<(), Vec<ConfigError>> {
        let empty = self
            .path
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty());
        match empty {
            false => Ok(()),
            true => Err(vec![ConfigError::new(
                "openmetrics",
                "path",
                "it is empty",
                "Set it to a folder, or leave it out for the run's own",
            )]),
        }
    }
}

/// `integrations.textfile`: a run's final numbers for the textfile collector of
/// node_exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextfileConfig {
    pub enabled: bool,
    /// The folder that node_exporter was given as `--collector.textfile.directory`.
    pub path: Option<PathBuf>,
}

impl TextfileConfig {
    pub(super) fn folder(&self) -> Result<PathBuf, Vec<ConfigError>> {
        let path = self
            .path
            .clone()
            .filter(|path| !path.as_os_str().is_empty());
        path.ok_or_else(|| {
            vec![ConfigError::new(
                "textfile",
                "path",
                "there is no folder to write to",
                "Set it to the folder that node_exporter was given as --collector.textfile.directory (on Debian /var/lib/prometheus/node-exporter)",
            )]
        })
    }
}
