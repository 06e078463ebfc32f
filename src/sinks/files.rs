//! A copy of the run's folder.

use std::path::PathBuf;

use lem_files::{Files, FilesConfig};

use super::{Sink, SinkErrors, Sources, absolute};

pub(super) const SINK: Sink = Sink {
    name: "files",
    enabled: |on| on.files.enabled,
    make: |sources| Ok(Box::new(Files::new(path(sources)?))),
    record: |sources| {
        let kept = FilesConfig {
            enabled: true,
            path: Some(absolute(path(sources)?)),
        };
        Ok(serde_json::to_value(kept).unwrap_or_default())
    },
};

fn path(sources: &Sources<'_>) -> Result<PathBuf, SinkErrors> {
    let recorded = || Some(sources.recorded?.get("path")?.as_str()?.to_owned());
    let settings = FilesConfig {
        enabled: true,
        path: sources
            .config
            .integrations
            .files
            .path
            .clone()
            .or_else(recorded)
            .map(PathBuf::from),
    };
    let wrong = settings.validate();
    match settings.path {
        Some(path) if wrong.is_empty() => Ok(path),
        _ => Err(SinkErrors(
            wrong
                .into_iter()
                .map(|(key, what, remedy)| format!("integrations.files.{key}: {what}. {remedy}"))
                .collect(),
        )),
    }
}
