//! One result of several processes that worked together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How several runs became one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Aggregation {
    /// In words.
    pub method: String,
}
