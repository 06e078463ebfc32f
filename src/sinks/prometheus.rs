//! An endpoint that a Prometheus scrapes.

use std::fs;

use lem_prometheus::scrape::{PrometheusConfig, PrometheusExporter};
use lem_record::Secret;

use super::prometheus_family::{path, recorded, set, told};
use super::{Sink, SinkErrors, Sources};

pub(super) const SINK: Sink = Sink {
    name: "prometheus",
    enabled: |on| on.prometheus.enabled,
    make: |sources| {
        let sink = PrometheusExporter::new(settings(sources)?).map_err(told)?;
        Ok(Box::new(sink))
    },
    record: |sources| Ok(serde_json::to_value(settings(sources)?).unwrap_or_default()),
};

/// What the log recorded, under the environment, under the configuration.
fn settings(sources: &Sources<'_>) -> Result<PrometheusConfig, SinkErrors> {
    let mut settings: PrometheusConfig = recorded(sources);
    settings.enabled = true;
    // that was a wish for the end of that run
    settings.linger_s = None;
    let section = &sources.config.integrations.prometheus;
    let variable = |name: &str| {
        sources
            .ecosystem
            .get(name)
            .filter(|value| !value.is_empty())
    };
    let host = variable("OTEL_EXPORTER_PROMETHEUS_HOST");
    let port = variable("OTEL_EXPORTER_PROMETHEUS_PORT");
    if host.is_some() || port.is_some() {
        let host = host
            .filter(|host| *host != "localhost")
            .unwrap_or("127.0.0.1");
        let port = port.unwrap_or("9464");
        settings.address = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
    }
    if let Some(address) = &section.address {
        settings.address.clone_from(address);
    }
    settings.linger_s = section.linger_s.or(settings.linger_s);
    set(&mut settings.tls.cert, path(section.tls.cert.as_deref()));
    set(&mut settings.tls.key, path(section.tls.key.as_deref()));
    set(&mut settings.username, section.username.clone());
    set(
        &mut settings.password,
        sources.ecosystem.secret("LEM_PROMETHEUS_PASSWORD"),
    );
    if settings.password.is_none()
        && let Some(path) = &section.password_path
    {
        let read = fs::read_to_string(path).map_err(|error| {
            SinkErrors(vec![format!(
                "integrations.prometheus.password_path: {path} cannot be read: {error}. Set it to the path of a file that holds the password, or set LEM_PROMETHEUS_PASSWORD"
            )])
        })?;
        settings.password = Some(Secret::new(read.trim_end_matches(['\r', '\n'])));
    }
    Ok(settings)
}
