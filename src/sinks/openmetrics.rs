//! An OpenMetrics file.

use std::path::PathBuf;

use lem_prometheus::file::{OpenMetricsConfig, OpenMetricsExporter};

use super::prometheus_family::{recorded, told};
use super::{Sink, Sources, absolute};

pub(super) const SINK: Sink = Sink {
    name: "openmetrics",
    enabled: |on| on.openmetrics.enabled,
    make: |sources| {
        let sink = OpenMetricsExporter::openmetrics(settings(sources)).map_err(told)?;
        Ok(Box::new(sink))
    },
    record: |sources| {
        let settings = settings(sources);
        OpenMetricsExporter::openmetrics(settings.clone()).map_err(told)?;
        Ok(serde_json::to_value(settings).unwrap_or_default())
    },
};

fn settings(sources: &Sources<'_>) -> OpenMetricsConfig {
    let mut settings: OpenMetricsConfig = recorded(sources);
    settings.enabled = true;
    if let Some(path) = &sources.config.integrations.openmetrics.path {
        settings.path = Some(PathBuf::from(path));
    }
    settings.path = settings.path.map(absolute);
    settings
}
