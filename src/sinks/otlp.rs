//! OpenTelemetry.

use lem_otlp::{Compression, ConfigError, OtlpConfig, OtlpExporter, Protocol, Signal, Temporality};
use lem_record::Exporter;

use super::{Sink, SinkErrors, Sources, without_secrets};
use crate::config::{OtlpCompression, OtlpProtocol, OtlpTemporality, Owner};

pub(super) const SINK: Sink = Sink {
    name: "otlp",
    enabled: |on| on.otlp.enabled,
    make,
    record: |sources| {
        let settings = settings(sources);
        match settings.validate() {
            wrong if wrong.is_empty() => Ok(serde_json::to_value(settings).unwrap_or_default()),
            wrong => Err(told(wrong)),
        }
    },
};

fn make(sources: &Sources<'_>) -> Result<Box<dyn Exporter>, SinkErrors> {
    let sink = OtlpExporter::new(settings(sources)).map_err(told)?;
    Ok(Box::new(sink))
}

/// What the log recorded, under the environment, under the configuration. The
/// configuration holds the environment's part where nothing beat it.
fn settings(sources: &Sources<'_>) -> OtlpConfig {
    let mut settings: OtlpConfig = sources
        .recorded
        .and_then(|recorded| serde_json::from_value(without_secrets(recorded)).ok())
        .unwrap_or_default();
    settings.forget_secrets();
    let variables = sources.ecosystem.part(Owner::OpenTelemetry);
    settings.apply_environment(|name| variables.lookup(name));
    let section = &sources.config.integrations.otlp;
    settings.enabled = true;
    let transport = &mut settings.transport;
    if let Some(endpoint) = &section.endpoint {
        transport.endpoint = Some(endpoint.expose().to_owned());
    }
    if let Some(protocol) = section.protocol {
        transport.protocol = Some(match protocol {
            OtlpProtocol::Http => Protocol::Http,
            OtlpProtocol::Grpc => Protocol::Grpc,
        });
    }
    transport.headers.extend(section.headers.clone());
    if let Some(compression) = section.compression {
        transport.compression = Some(match compression {
            OtlpCompression::None => Compression::None,
            OtlpCompression::Gzip => Compression::Gzip,
        });
    }
    transport.timeout_s = section.timeout_s.or(transport.timeout_s);
    for (given, setting) in [
        (&section.certificate, &mut transport.certificate),
        (
            &section.client_certificate,
            &mut transport.client_certificate,
        ),
        (&section.client_key, &mut transport.client_key),
    ] {
        if let Some(path) = given {
            *setting = Some(path.into());
        }
    }
    for (given, signal) in [
        (section.metrics, Signal::Metrics),
        (section.traces, Signal::Traces),
        (section.logs, Signal::Logs),
    ] {
        if let Some(on) = given {
            settings.signal_mut(signal).enabled = on;
        }
    }
    if let Some(name) = &section.service_name {
        settings.service_name.clone_from(name);
    }
    settings
        .resource_attributes
        .extend(section.resource_attributes.clone());
    if let Some(temporality) = section.temporality {
        settings.temporality = match temporality {
            OtlpTemporality::Cumulative => Temporality::Cumulative,
            OtlpTemporality::Delta => Temporality::Delta,
            OtlpTemporality::LowMemory => Temporality::LowMemory,
        };
    }
    settings.live = section.live;
    if let Some(seconds) = section.live_interval_s {
        settings.live_interval_s = seconds;
    }
    // whatever a file says: this switches everything off
    let disabled = variables.lookup("OTEL_SDK_DISABLED");
    if disabled.is_some_and(|value| value.trim().eq_ignore_ascii_case("true")) {
        for signal in Signal::ALL {
            settings.signal_mut(signal).enabled = false;
        }
        settings.live = false;
    }
    settings
}

fn told(errors: Vec<ConfigError>) -> SinkErrors {
    SinkErrors(errors.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::ecosystem_variables;

    #[test]
    fn every_variable_that_is_honoured_is_documented() {
        let documented: Vec<&str> = ecosystem_variables().collect();
        for variable in lem_otlp::VARIABLES {
            assert!(documented.contains(&variable.name), "{}", variable.name);
        }
    }
}
