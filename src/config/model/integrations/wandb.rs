use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::model::Address;

/// Whether runs are sent to Weights & Biases at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WandbMode {
    /// To the server.
    Online,
    /// Into a folder that `wandb sync` uploads.
    Offline,
    /// Nowhere: as if the sink were not enabled.
    Disabled,
}

/// Weights & Biases. The key comes from the environment (`WANDB_API_KEY`) or `~/.netrc`, not from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WandbSection {
    /// Send the run to Weights & Biases (`--wandb`).
    pub enabled: bool,
    /// Left out: `WANDB_MODE`, else online, or offline where there is neither a key nor a terminal.
    pub mode: Option<WandbMode>,
    /// Address of the server. Left out: `WANDB_BASE_URL`, else `https://api.wandb.ai`.
    pub base_url: Option<Address>,
    /// Project, made where it is missing. Left out: `WANDB_PROJECT`, else `lem`.
    pub project: Option<String>,
    /// User or team that owns the project. Left out: `WANDB_ENTITY`, else the key's own.
    pub entity: Option<String>,
    /// Name of the run, up to 128 characters. Left out: `WANDB_NAME`, else the run's own.
    pub name: Option<String>,
    /// Notes on the run (`WANDB_NOTES`).
    pub notes: Option<String>,
    /// Tags of 1 to 64 characters, beside those of `WANDB_TAGS`.
    pub tags: Vec<String>,
    /// Runs of one group are shown together (`WANDB_RUN_GROUP`).
    pub group: Option<String>,
    /// Type of the job (`WANDB_JOB_TYPE`).
    pub job_type: Option<String>,
    /// Id of the run at W&B, to add to one that is there. Left out: `WANDB_RUN_ID`, else made of lem's own.
    pub run_id: Option<String>,
    /// Parent of the folder `wandb`, where offline runs are written. Left out: `WANDB_DIR`, else the current folder.
    pub dir: Option<String>,
    /// Name of this machine, as W&B shows it. Left out: `WANDB_HOST`, else its own.
    pub host: Option<String>,
    /// PEM file with the authorities that sign the server's certificate.
    pub ca_cert_path: Option<String>,
    /// Send the result, the configuration and the series as artifacts. Left out: yes.
    pub upload_artifacts: Option<bool>,
    /// Send power, use and memory of the GPUs also as W&B's own system metrics. Left out: yes.
    pub system_metrics: Option<bool>,
    /// Tell W&B every 30 s that the run is alive, also while it is measured; without it W&B shows a run as crashed that is silent for some minutes. Left out: yes.
    pub heartbeat: Option<bool>,
    /// Longest wait for one answer, seconds.
    #[schemars(range(min = 0.1, max = 3_600.0))]
    pub timeout_s: Option<f64>,
}
