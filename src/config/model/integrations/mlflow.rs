use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::Address;

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
    /// Send the run's spans too, by OTLP, so that they show beside its metrics (the sink
    /// `mlflow-traces`). The server must be MLflow 3.6 or newer.
    pub traces: bool,
    /// Longest wait for one answer, seconds.
    #[schemars(range(min = 0.1, max = 3_600.0))]
    pub timeout_s: Option<f64>,
}
