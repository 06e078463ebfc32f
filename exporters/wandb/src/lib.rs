//! Runs in Weights & Biases: online over GraphQL and its file stream, or offline in a
//! folder that the official `wandb sync` uploads.
//!
//! [`config`] says where to; [`encode`] turns records into what W&B keeps, purely, for
//! both ways; `online` sends it, `offline` writes it down; [`WandbExporter`] is the sink made of them.

mod config;
pub mod encode;
mod exporter;
mod local;
mod offline;
mod online;

pub use config::{ConfigError, Mode, Resume, VARIABLES, Variable, WandbConfig};
pub use exporter::WandbExporter;

/// What W&B takes at most.
pub mod limits {
    /// Characters of a run's name, group and job type.
    pub const NAME: usize = 128;
    /// Characters.
    pub const TAG: usize = 64;
    /// Characters of a project's name.
    pub const PROJECT: usize = 128;
    /// Characters of a run's id.
    pub const RUN_ID: usize = 128;
    /// Rows of a table that is shown with the run.
    pub const TABLE_ROWS: usize = 10_000;
    /// Bytes of one logged or configured value.
    pub const VALUE_BYTES: usize = 1_000_000;
    /// Bytes of one body of the file stream.
    pub const STREAM_BYTES: usize = 10 << 20;
    /// Bytes of one line in it.
    pub const LINE_BYTES: usize = (10 << 20) - (100 << 10);
    /// Characters of a key of the configuration.
    pub const CONFIG_KEY: usize = 256;
    /// Different metrics of one run; W&B's pages get slow with more than 10,000.
    pub const METRICS: usize = 10_000;
}
