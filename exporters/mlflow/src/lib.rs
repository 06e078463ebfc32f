//! Runs in MLflow: over REST to a tracking server, or into a file store without one.
//!
//! [`config`] says where to; [`encode`] turns records into what MLflow keeps, purely;
//! [`rest`] and [`artifacts`] send it, [`store`] writes it to a folder in the layout
//! that MLflow's own tools read; [`MlflowExporter`] is the sink made of them.

mod artifacts;
mod config;
pub mod encode;
mod exporter;
mod rest;
mod send;
mod store;

pub use config::{ConfigError, MlflowConfig, Target, VARIABLES, Variable};
pub use exporter::MlflowExporter;

/// What MLflow takes at most, and what it does with more.
pub mod limits {
    /// In one `log-batch`.
    pub const METRICS_PER_BATCH: usize = 1000;
    /// In one `log-batch`.
    pub const PARAMS_PER_BATCH: usize = 100;
    /// In one `log-batch`.
    pub const TAGS_PER_BATCH: usize = 100;
    /// Its own limit is 1 MB (10^6 bytes), enforced by some servers.
    pub const BODY_BYTES: usize = 900_000;
    /// Characters of a metric's, param's or tag's key.
    pub const KEY: usize = 250;
    /// Characters.
    pub const PARAM_VALUE: usize = 6000;
    /// Characters.
    pub const TAG_VALUE: usize = 8000;
    /// Characters; a column of its database.
    pub const RUN_NAME: usize = 250;
    /// Characters.
    pub const EXPERIMENT_NAME: usize = 500;
    /// Characters.
    pub const DATASET_NAME: usize = 500;
    /// Characters.
    pub const DATASET_DIGEST: usize = 36;
    /// Bytes of the JSON text.
    pub const DATASET_SOURCE: usize = 65_535;
    /// Bytes of the JSON text; its own limits are 1 MB and 16 MB, but the body has to hold both.
    pub const DATASET_SCHEMA: usize = 300_000;
    /// As for the schema.
    pub const DATASET_PROFILE: usize = 300_000;
    /// Bytes that `upload-artifact` takes.
    pub const UPLOAD_ARTIFACT: u64 = 10 << 20;
}
