use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
