//! A file for node_exporter's textfile collector.

use std::path::PathBuf;

use lem_prometheus::file::{TextfileConfig, TextfileExporter};

use super::prometheus_family::{recorded, told};
use super::{Sink, Sources, absolute};

pub(super) const SINK: Sink = Sink {
    name: "textfile",
    enabled: |on| on.textfile.enabled,
    make: |sources| {
        let sink = TextfileExporter::textfile(settings(sources)).map_err(told)?;
        Ok(Box::new(sink))
    },
    record: |sources| {
        let settings = settings(sources);
        TextfileExporter::textfile(settings.clone()).map_err(told)?;
        Ok(serde_json::to_value(settings).unwrap_or_default())
    },
};

fn settings(sources: &Sources<'_>) -> TextfileConfig {
    let mut settings: TextfileConfig = recorded(sources);
    settings.enabled = true;
    if let Some(path) = &sources.config.integrations.textfile.path {
        settings.path = Some(PathBuf::from(path));
    }
    settings.path = settings.path.map(absolute);
    settings
}
