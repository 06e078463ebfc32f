use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
