//! The result file: the v3 schema, writing, reading, showing.
//!
//! [`build`] makes a [`RunResult`] of a run and its analysis; [`store`] keeps it beside the
//! log and makes it anew from the log; [`parquet`] writes the sampled series at full
//! resolution; [`show`] is what a person reads at the end of a run.

mod build;
pub mod parquet;
pub mod show;
pub mod store;
mod time_series;
mod v3;

#[cfg(test)]
mod tests;

pub use build::build;
pub use v3::*;
