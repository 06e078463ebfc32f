use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A copy of the run's folder elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilesSection {
    /// Copy the run's folder.
    pub enabled: bool,
    /// The parent folder of the copies.
    pub path: Option<String>,
}
