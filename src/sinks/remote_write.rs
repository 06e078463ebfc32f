//! Prometheus remote write.

use std::collections::BTreeMap;

use lem_prometheus::remote_write::{Protocol, RemoteWriteConfig, RemoteWriteExporter};
use lem_record::Secret;

use super::prometheus_family::{path, recorded, set, told};
use super::{Sink, SinkErrors, Sources};
use crate::config::{Owner, RemoteWriteProtocol};

const HEADERS: &str = "LEM_REMOTE_WRITE_HEADERS";

pub(super) const SINK: Sink = Sink {
    name: "remote-write",
    enabled: |on| on.remote_write.enabled,
    make: |sources| {
        let sink = RemoteWriteExporter::new(settings(sources)?).map_err(told)?;
        Ok(Box::new(sink))
    },
    record: |sources| {
        let settings = settings(sources)?;
        RemoteWriteExporter::new(settings.clone()).map_err(told)?;
        Ok(serde_json::to_value(settings).unwrap_or_default())
    },
};

/// What the log recorded, under the environment, under the configuration.
fn settings(sources: &Sources<'_>) -> Result<RemoteWriteConfig, SinkErrors> {
    let mut settings: RemoteWriteConfig = recorded(sources);
    settings.enabled = true;
    // a recorded one is without its value
    settings.headers.clear();
    let secret = |name: &str| sources.ecosystem.secret(name);
    let variables = sources.ecosystem.part(Owner::Prometheus);
    set(
        &mut settings.username,
        variables.lookup("LEM_REMOTE_WRITE_USERNAME"),
    );
    set(&mut settings.password, secret("LEM_REMOTE_WRITE_PASSWORD"));
    set(&mut settings.token, secret("LEM_REMOTE_WRITE_TOKEN"));
    if let Some(text) = variables.lookup(HEADERS) {
        settings.headers = headers(&text)?;
    }
    let section = &sources.config.integrations.remote_write;
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
    if let Some(protocol) = section.protocol {
        settings.protocol = match protocol {
            RemoteWriteProtocol::V1 => Protocol::V1,
            RemoteWriteProtocol::Auto => Protocol::Auto,
        };
    }
    if let Some(insecure) = section.insecure_tls {
        settings.insecure_tls = insecure;
    }
    if let Some(timeout) = section.timeout_s {
        settings.timeout_s = timeout;
    }
    if let Some(most) = section.max_samples {
        settings.max_samples = most;
    }
    Ok(settings)
}

/// `name=value,name=value`, as OpenTelemetry's variables have them.
fn headers(text: &str) -> Result<BTreeMap<String, Secret>, SinkErrors> {
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim();
        (!name.is_empty()).then(|| (name.to_owned(), Secret::new(value.trim())))
    };
    let all: Option<BTreeMap<_, _>> = pairs.map(pair).collect();
    // the text is not shown: it holds secrets
    all.ok_or_else(|| {
        SinkErrors(vec![format!(
            "{HEADERS} is not of the form name=value,name=value. Correct it, or unset it"
        )])
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::headers;

    #[test]
    fn headers_are_pairs_and_what_is_none_is_not_shown() {
        let all = headers("X-Scope-OrgID = a , Authorization=Token x=y,").unwrap();
        let all: Vec<_> = all.iter().map(|(k, v)| (k.as_str(), v.expose())).collect();
        assert_eq!(
            all,
            [("Authorization", "Token x=y"), ("X-Scope-OrgID", "a")]
        );
        assert!(headers("").unwrap().is_empty());
        let error = headers("x=1,hunter2").unwrap_err().to_string();
        assert!(
            !error.contains("hunter2") && error.contains("LEM_REMOTE_WRITE_HEADERS"),
            "{error}"
        );
    }
}
