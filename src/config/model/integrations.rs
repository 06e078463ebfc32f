use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Address;

/// Files and folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Io {
    /// Parent folder of runs (`--output`).
    pub results_dir: String,
}

impl Default for Io {
    fn default() -> Self {
        Self {
            results_dir: "lem-runs".into(),
        }
    }
}

/// The sinks. Each is off unless enabled here or by its flag.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Integrations {
    /// How long the end of a run waits for the sinks, seconds; what is owed then is left to `lem export`.
    #[serde(rename = "deadline_s")]
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub deadline_s: Option<f64>,
    pub mlflow: MlflowSection,
    pub wandb: WandbSection,
    pub files: FilesSection,
    pub prometheus: LaterSink,
    pub pushgateway: LaterSink,
    pub remote_write: LaterSink,
    pub openmetrics: LaterSink,
    pub textfile: LaterSink,
    pub otlp: LaterSink,
}

/// MLflow. Secrets come from the environment (`MLFLOW_TRACKING_PASSWORD`, `MLFLOW_TRACKING_TOKEN`)
/// or `~/.mlflow/credentials`, not from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MlflowSection {
    /// Send the run to MLflow (`--mlflow`).
    pub enabled: bool,
    /// `http(s)://…`, or a folder for the local store. Left out: `MLFLOW_TRACKING_URI`, else `./mlruns`.
    pub tracking_uri: Option<Address>,
    /// Name of the experiment, made where it is missing. Left out: `MLFLOW_EXPERIMENT_NAME`, else `lem`.
    pub experiment_name: Option<String>,
    /// Id of an existing experiment, instead of a name (`MLFLOW_EXPERIMENT_ID`).
    pub experiment_id: Option<String>,
    /// Workspace, on a server that has them (`MLFLOW_WORKSPACE`).
    pub workspace: Option<String>,
    /// Send the result, the configuration and the series as artifacts. Left out: yes.
    pub upload_artifacts: Option<bool>,
    /// Send the sampled series under the keys that MLflow's system-metrics page draws. Left out: yes.
    pub system_metrics: Option<bool>,
    /// Longest wait for one answer, seconds.
    #[schemars(range(min = 0.1, max = 3_600.0))]
    pub timeout_s: Option<f64>,
}

/// Weights & Biases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WandbSection {
    /// Send the run to Weights & Biases (`--wandb`).
    pub enabled: bool,
    /// Project, made where it is missing (`WANDB_PROJECT`).
    pub project: Option<String>,
    /// User or team that owns the project (`WANDB_ENTITY`).
    pub entity: Option<String>,
}

/// A copy of the run's folder elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilesSection {
    /// Copy the run's folder.
    pub enabled: bool,
    /// The parent folder of the copies.
    pub path: Option<String>,
}

/// A sink that this version does not have yet.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LaterSink {
    /// Send the run there.
    pub enabled: bool,
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// Names only: what is below may hold credentials.
impl fmt::Debug for LaterSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaterSink")
            .field("enabled", &self.enabled)
            .field("rest", &self.rest.keys().collect::<Vec<_>>())
            .finish()
    }
}
