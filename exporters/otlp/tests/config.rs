//! The section, and what the environment makes of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use lem_otlp::{OtlpConfig, OtlpExporter, Signal, VARIABLES};
use lem_record::{Exporter, Secret};

fn with(pairs: &[(&str, &str)]) -> OtlpConfig {
    let map: BTreeMap<String, String> = pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let mut config = OtlpConfig::default();
    config.apply_environment(|name| map.get(name).cloned());
    config
}

fn goes_to(pairs: &[(&str, &str)]) -> String {
    OtlpExporter::new(with(pairs)).unwrap().destination()
}

#[test]
fn every_variable_changes_something_or_is_told() {
    for variable in VARIABLES {
        let value = match variable.name {
            name if name.ends_with("PROTOCOL") => "grpc",
            name if name.ends_with("COMPRESSION") => "gzip",
            name if name.ends_with("INSECURE") || name.ends_with("DISABLED") => "TRUE",
            name if name.ends_with("HEADERS") || name.ends_with("RESOURCE_ATTRIBUTES") => "a=b%20c",
            name if name.ends_with("_SAMPLER") => "traceidratio",
            name if name.ends_with("_EXPORTER") => "none",
            name if name.ends_with("TEMPORALITY_PREFERENCE") => "Delta",
            name if name.ends_with("EXEMPLAR_FILTER") => "always_off",
            name if name.ends_with("HISTOGRAM_AGGREGATION") => "base2_exponential_bucket_histogram",
            name if name.ends_with("ENDPOINT") => "http://h:1",
            name if name.ends_with("SERVICE_NAME") => "mine",
            _ => "7",
        };
        let config = with(&[(variable.name, value)]);
        let by_default = variable.name == "OTEL_TRACES_SAMPLER"; // a ratio of 1
        assert!(
            config != OtlpConfig::default() || by_default,
            "{}",
            variable.name
        );
        // none does anything when empty, and nonsense is told and changes nothing else
        assert_eq!(with(&[(variable.name, " ")]), OtlpConfig::default());
        if value == "7" || value == "grpc" || value == "TRUE" {
            let mut config = with(&[(variable.name, "\u{1f9ea}")]);
            let path = variable.name.contains("CERTIFICATE") || variable.name.ends_with("KEY");
            let told = std::mem::take(&mut config.notes);
            assert!(
                told.iter().any(|note| note.contains(variable.name)) || path,
                "{}",
                variable.name
            );
            assert!(config == OtlpConfig::default() || path, "{}", variable.name);
        }
    }
}

#[test]
fn addresses_are_made_as_the_specification_says() {
    let lines = [
        goes_to(&[]),
        goes_to(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]),
        goes_to(&[(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://collector.example/otlp/",
        )]),
        goes_to(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"),
            (
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "http://b:9090/api/v1/otlp/v1/metrics",
            ),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ]),
        goes_to(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ]),
        goes_to(&[
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
        ]),
        goes_to(&[("OTEL_SDK_DISABLED", "true")]),
        goes_to(&[
            ("OTEL_METRICS_EXPORTER", "none"),
            ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ]),
    ];
    insta::assert_yaml_snapshot!(lines);
}

#[test]
fn what_cannot_be_honoured_is_told() {
    let config = with(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_LOGS_EXPORTER", "carrier-pigeon"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5000"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,%zz,c=%ff"),
        (
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
            "base2_exponential_bucket_histogram",
        ),
    ]);
    insta::assert_yaml_snapshot!(config.notes);
    assert!(!config.metrics.enabled && config.logs.enabled);
    assert!(config.resource_attributes.is_empty());
}

#[test]
fn values_are_read_as_the_specification_says() {
    let config = with(&[
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=from-list, team=green%2Ctea ,empty=",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20abc,x-one=1",
        ),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-one=2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "0"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "50"),
        ("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "20"),
    ]);
    assert_eq!(config.notes, Vec::<String>::new());
    assert_eq!(config.service_name, "from-list");
    assert_eq!(config.resource_attributes["team"], "green,tea");
    assert_eq!(config.resource_attributes["empty"], "");
    assert_eq!(
        config.transport.headers["authorization"].expose(),
        "Bearer abc"
    );
    assert_eq!(config.traces.transport.headers["x-one"].expose(), "2");
    assert_eq!(config.transport.timeout_s, Some(2.5));
    assert_eq!(config.logs.transport.timeout_s, Some(86_400.0));
    assert_eq!((config.trace_ratio, config.live_interval_s), (0.25, 0.5));
    assert_eq!(
        (config.limits.span_value, config.limits.log_value),
        (Some(20), Some(50))
    );
    let named = with(&[
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a"),
        ("OTEL_SERVICE_NAME", "b"),
    ]);
    assert_eq!(named.service_name, "b");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let mut config = OtlpConfig::default();
    config.transport.endpoint = Some("ann:hunter2@collector:4318".into());
    config.metrics.transport.endpoint = Some("ftp://ann:hunter2@h/".into());
    config.transport.timeout_s = Some(f64::NAN);
    config.logs.transport.timeout_s = Some(0.0);
    config
        .transport
        .headers
        .insert("bad name".into(), Secret::new("hunter2"));
    config.transport.client_key = Some("key.pem".into());
    config.trace_ratio = 2.0;
    config.live_interval_s = -1.0;
    let errors = OtlpExporter::new(config).unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(!text.join(" ").contains("hunter2"));
    insta::assert_yaml_snapshot!(text);
    let mut grpc = OtlpConfig::default();
    grpc.transport.protocol = Some(lem_otlp::Protocol::Grpc);
    grpc.transport.endpoint = Some("https://ann:hunter2@h:4317".into());
    let errors = format!("{:?}", OtlpExporter::new(grpc).unwrap_err());
    assert!(
        errors.contains("authorization") && !errors.contains("hunter2"),
        "{errors}"
    );
}

#[test]
fn secrets_are_not_shown_and_a_recorded_one_is_forgotten() {
    let config = with(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2-header"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://ann:hunter2-url@h:4318",
        ),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "k=hunter2-logs"),
    ]);
    let exporter = OtlpExporter::new(config.clone()).unwrap();
    let recorded = serde_json::to_string(&config).unwrap();
    let shown = format!(
        "{config:?} {exporter:?} {} {recorded}",
        exporter.destination()
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    let mut back: OtlpConfig = serde_json::from_str(&recorded).unwrap();
    back.forget_secrets();
    assert!(
        back.transport.headers.is_empty() && back.signal(Signal::Logs).transport.headers.is_empty()
    );
}
