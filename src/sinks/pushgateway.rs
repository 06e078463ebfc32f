//! Prometheus Pushgateway.

use lem_prometheus::push::{PushgatewayConfig, PushgatewayExporter};

use super::prometheus_family::{path, recorded, set, told};
use super::{Sink, Sources};
use crate::config::Owner;

pub(super) const SINK: Sink = Sink {
    name: "pushgateway",
    enabled: |on| on.pushgateway.enabled,
    make: |sources| {
        let sink = PushgatewayExporter::pushgateway(settings(sources)).map_err(told)?;
        Ok(Box::new(sink))
    },
    record: |sources| {
        let settings = settings(sources);
        PushgatewayExporter::pushgateway(settings.clone()).map_err(told)?;
        Ok(serde_json::to_value(settings).unwrap_or_default())
    },
};

/// What the log recorded, under the environment, under the configuration.
fn settings(sources: &Sources<'_>) -> PushgatewayConfig {
    let mut settings: PushgatewayConfig = recorded(sources);
    settings.enabled = true;
    let secret = |name: &str| sources.ecosystem.secret(name);
    let variables = sources.ecosystem.part(Owner::Prometheus);
    set(
        &mut settings.username,
        variables.lookup("LEM_PUSHGATEWAY_USERNAME"),
    );
    set(&mut settings.password, secret("LEM_PUSHGATEWAY_PASSWORD"));
    set(&mut settings.token, secret("LEM_PUSHGATEWAY_TOKEN"));
    let section = &sources.config.integrations.pushgateway;
    set(
        &mut settings.url,
        section.url.as_ref().map(|url| url.expose().to_owned()),
    );
    set(&mut settings.username, section.username.clone());
    set(&mut settings.ca_path, path(section.ca_path.as_deref()));
    set(
        &mut settings.client_cert_path,
        path(section.client_cert_path.as_deref()),
    );
    if let Some(insecure) = section.insecure_tls {
        settings.insecure_tls = insecure;
    }
    if let Some(timeout) = section.timeout_s {
        settings.timeout_s = timeout;
    }
    settings
}
