//! The result file: the v3 schema, writing, reading, showing.
//!
//! [`build`] makes a [`RunResult`] of a run and its analysis; [`store`] keeps it beside the
//! log and makes it anew from the log; [`parquet`] writes the sampled series at full
//! resolution; [`plot`] draws a run, [`verify`] checks it; [`show`] is what a person reads
//! at the end of a run, [`markdown`] the same for the page of a CI service.
//!
//! Of many runs: [`index`] makes a folder of them a table, [`query`] asks it by [`fields`],
//! [`locate`] finds one; [`compare`] sets runs against each other, [`aggregate`] makes one
//! of several that worked together; [`mod@grid`] writes tables.

pub mod aggregate;
mod build;
pub mod compare;
pub mod fields;
pub(crate) mod figures;
pub mod grid;
pub mod index;
pub mod legacy_names;
pub mod locate;
pub mod markdown;
pub mod migrate;
mod migration;
pub mod parquet;
pub mod plot;
pub mod query;
pub mod reference;
pub mod show;
mod show_engine;
pub mod store;
mod time_series;
mod v3;
pub mod verify;

#[cfg(test)]
mod tests;

pub use build::build;
pub use migration::*;
pub use v3::*;

/// That a result is what its schema says, and holds no number that JSON has not.
#[cfg(test)]
pub(crate) fn assert_valid(result: &RunResult) {
    use std::sync::LazyLock;
    static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
        let schema = serde_json::from_str(&schema_json()).unwrap_or_default();
        jsonschema::validator_for(&schema).unwrap_or_else(|e| panic!("the schema: {e}"))
    });
    let json = serde_json::to_value(result).unwrap_or_default();
    let errors: Vec<String> = VALIDATOR
        .iter_errors(&json)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
