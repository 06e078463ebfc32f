//! What the sinks of the crate `lem-prometheus` have in common.

use std::path::PathBuf;

use lem_prometheus::ConfigError;
use serde::de::DeserializeOwned;

use super::{SinkErrors, Sources, absolute, without_secrets};

/// What the log recorded of the sink, else its defaults.
pub(super) fn recorded<T: DeserializeOwned + Default>(sources: &Sources<'_>) -> T {
    let recorded = sources.recorded;
    recorded
        .and_then(|recorded| serde_json::from_value(without_secrets(recorded)).ok())
        .unwrap_or_default()
}

/// The later layer beats the earlier where it says something.
pub(super) fn set<T>(setting: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *setting = given;
    }
}

/// A path that is found again from elsewhere.
pub(super) fn path(path: Option<&str>) -> Option<PathBuf> {
    path.filter(|path| !path.is_empty())
        .map(|path| absolute(PathBuf::from(path)))
}

pub(super) fn told(errors: Vec<ConfigError>) -> SinkErrors {
    SinkErrors(errors.iter().map(ToString::to_string).collect())
}
