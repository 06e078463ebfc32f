//! What the `OTEL_*` variables say: those of the OTLP exporter, and those of any SDK.
//!
//! As the specification demands, an empty variable is none, a boolean is true only as
//! `true`, and a value that cannot be understood is told and ignored. So is a variable
//! that has no effect here.

use std::collections::BTreeMap;

use lem_record::Secret;
use percent_encoding::percent_decode_str;

use super::{Compression, OtlpConfig, Protocol, Signal, Temporality, Transport};

/// One variable of OpenTelemetry.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    pub name: &'static str,
    pub secret: bool,
    pub help: &'static str,
    does: Does,
}

#[derive(Clone, Copy, Debug)]
enum Does {
    /// Sets a part of the way of one signal, or of all.
    Way(Option<Signal>, Part),
    Sets(fn(&mut OtlpConfig, &str) -> Result<(), String>),
    /// Why not.
    Nothing(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Endpoint,
    Protocol,
    Headers,
    Compression,
    Timeout,
    Insecure,
    Certificate,
    ClientCertificate,
    ClientKey,
}

const fn way(
    name: &'static str,
    signal: Option<Signal>,
    part: Part,
    help: &'static str,
) -> Variable {
    Variable {
        name,
        secret: matches!(part, Part::Headers),
        help,
        does: Does::Way(signal, part),
    }
}

const fn sets(
    name: &'static str,
    set: fn(&mut OtlpConfig, &str) -> Result<(), String>,
    help: &'static str,
) -> Variable {
    Variable {
        name,
        secret: false,
        help,
        does: Does::Sets(set),
    }
}

const fn nothing(name: &'static str, why: &'static str) -> Variable {
    Variable {
        name,
        secret: false,
        help: why,
        does: Does::Nothing(why),
    }
}

const ALL: Option<Signal> = None;
const METRICS: Option<Signal> = Some(Signal::Metrics);
const TRACES: Option<Signal> = Some(Signal::Traces);
const LOGS: Option<Signal> = Some(Signal::Logs);

const OTHER_EXPORTER: &str = "No effect: it belongs to another exporter.";
const BETWEEN_CYCLES: &str = "No effect: records are sent between the measured cycles.";
const SPOOL: &str = "No effect: the run's log is the queue.";

/// Every variable that is known, in the order in which they are applied.
#[rustfmt::skip] // a table
pub const VARIABLES: &[Variable] = &[
    way("OTEL_EXPORTER_OTLP_ENDPOINT", ALL, Part::Endpoint, "Base address of the receiver; `/v1/…` is added over HTTP."),
    way("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", METRICS, Part::Endpoint, "Whole address for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", TRACES, Part::Endpoint, "Whole address for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", LOGS, Part::Endpoint, "Whole address for logs."),
    way("OTEL_EXPORTER_OTLP_PROTOCOL", ALL, Part::Protocol, "`http/protobuf` or `grpc`."),
    way("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", METRICS, Part::Protocol, "The same for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", TRACES, Part::Protocol, "The same for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", LOGS, Part::Protocol, "The same for logs."),
    way("OTEL_EXPORTER_OTLP_HEADERS", ALL, Part::Headers, "`NAME=VALUE,…`, percent-encoded; sent with each request."),
    way("OTEL_EXPORTER_OTLP_METRICS_HEADERS", METRICS, Part::Headers, "The same for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_HEADERS", TRACES, Part::Headers, "The same for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_HEADERS", LOGS, Part::Headers, "The same for logs."),
    way("OTEL_EXPORTER_OTLP_COMPRESSION", ALL, Part::Compression, "`gzip` or `none`."),
    way("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", METRICS, Part::Compression, "The same for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", TRACES, Part::Compression, "The same for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", LOGS, Part::Compression, "The same for logs."),
    way("OTEL_EXPORTER_OTLP_TIMEOUT", ALL, Part::Timeout, "Longest wait for one answer, milliseconds; 0: none."),
    way("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", METRICS, Part::Timeout, "The same for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", TRACES, Part::Timeout, "The same for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", LOGS, Part::Timeout, "The same for logs."),
    way("OTEL_EXPORTER_OTLP_INSECURE", ALL, Part::Insecure, "`true`: gRPC without TLS, where the endpoint does not say."),
    way("OTEL_EXPORTER_OTLP_METRICS_INSECURE", METRICS, Part::Insecure, "The same for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_INSECURE", TRACES, Part::Insecure, "The same for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_INSECURE", LOGS, Part::Insecure, "The same for logs."),
    way("OTEL_EXPORTER_OTLP_CERTIFICATE", ALL, Part::Certificate, "Authorities to trust, PEM."),
    way("OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", METRICS, Part::Certificate, "The same for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", TRACES, Part::Certificate, "The same for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", LOGS, Part::Certificate, "The same for logs."),
    way("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", ALL, Part::ClientCertificate, "Certificate to present, PEM."),
    way("OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", METRICS, Part::ClientCertificate, "The same for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", TRACES, Part::ClientCertificate, "The same for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE", LOGS, Part::ClientCertificate, "The same for logs."),
    way("OTEL_EXPORTER_OTLP_CLIENT_KEY", ALL, Part::ClientKey, "File of its private key, PEM."),
    way("OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", METRICS, Part::ClientKey, "The same for metrics."),
    way("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", TRACES, Part::ClientKey, "The same for traces."),
    way("OTEL_EXPORTER_OTLP_LOGS_CLIENT_KEY", LOGS, Part::ClientKey, "The same for logs."),
    sets("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", temporality, "`cumulative`, `delta` or `lowmemory`."),
    sets("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", aggregation, "`explicit_bucket_histogram`; there is no other."),
    sets("OTEL_METRICS_EXPORTER", |c, v| exporter(c, Signal::Metrics, v), "`otlp`, or `none`: no metrics."),
    sets("OTEL_TRACES_EXPORTER", |c, v| exporter(c, Signal::Traces, v), "`otlp`, or `none`: no traces."),
    sets("OTEL_LOGS_EXPORTER", |c, v| exporter(c, Signal::Logs, v), "`otlp`, or `none`: no logs."),
    sets("OTEL_SDK_DISABLED", disabled, "`true`: send nothing."),
    sets("OTEL_RESOURCE_ATTRIBUTES", resource, "`NAME=VALUE,…`: more attributes of the resource."),
    sets("OTEL_SERVICE_NAME", |c, v| { v.clone_into(&mut c.service_name); Ok(()) }, "`service.name` of the resource; `lem` without it."),
    sets("OTEL_TRACES_SAMPLER", sampler, "`always_on`, `always_off` or `traceidratio`, `parentbased_` or not."),
    sets("OTEL_TRACES_SAMPLER_ARG", |_, _| Ok(()), "For `traceidratio`: share of runs whose spans are sent, 0 to 1."),
    sets("OTEL_METRICS_EXEMPLAR_FILTER", exemplars, "`always_off`: metrics do not point to spans."),
    sets("OTEL_METRIC_EXPORT_INTERVAL", |c, v| { c.live_interval_s = milliseconds(v)?; Ok(()) }, "With `live`: milliseconds between two batches."),
    sets("OTEL_METRIC_EXPORT_TIMEOUT", |c, v| { c.live_timeout_s = milliseconds(v)?; Ok(()) }, "With `live`: longest wait for one answer, milliseconds."),
    sets("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", |c, v| { c.limits.span_value = Some(count(v)?); c.limits.log_value = Some(count(v)?); Ok(()) }, "Characters of an attribute's value, of spans and logs."),
    sets("OTEL_ATTRIBUTE_COUNT_LIMIT", |c, v| { c.limits.span_attributes = count(v)?; c.limits.log_attributes = count(v)?; Ok(()) }, "Attributes of a span or log record."),
    sets("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", |c, v| { c.limits.span_value = Some(count(v)?); Ok(()) }, "The same for spans."),
    sets("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", |c, v| { c.limits.span_attributes = count(v)?; Ok(()) }, "The same for spans."),
    sets("OTEL_SPAN_EVENT_COUNT_LIMIT", |c, v| { c.limits.span_events = count(v)?; Ok(()) }, "Events of a span."),
    sets("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", |c, v| { c.limits.event_attributes = count(v)?; Ok(()) }, "Attributes of a span's event."),
    sets("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", |c, v| { c.limits.log_value = Some(count(v)?); Ok(()) }, "Characters of an attribute's value, of logs."),
    sets("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", |c, v| { c.limits.log_attributes = count(v)?; Ok(()) }, "Attributes of a log record."),
    sets("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", |c, v| { c.limits.span_batch = positive(v)?; Ok(()) }, "Spans in one request."),
    sets("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", |c, v| { c.limits.log_batch = positive(v)?; Ok(()) }, "Log records in one request."),
    nothing("OTEL_SPAN_LINK_COUNT_LIMIT", "No effect: spans have no links."),
    nothing("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "No effect: spans have no links."),
    nothing("OTEL_BSP_SCHEDULE_DELAY", BETWEEN_CYCLES),
    nothing("OTEL_BSP_EXPORT_TIMEOUT", "No effect: `OTEL_EXPORTER_OTLP_TIMEOUT` and the run's own deadline hold."),
    nothing("OTEL_BSP_MAX_QUEUE_SIZE", SPOOL),
    nothing("OTEL_BLRP_SCHEDULE_DELAY", BETWEEN_CYCLES),
    nothing("OTEL_BLRP_EXPORT_TIMEOUT", "No effect: `OTEL_EXPORTER_OTLP_TIMEOUT` and the run's own deadline hold."),
    nothing("OTEL_BLRP_MAX_QUEUE_SIZE", SPOOL),
    nothing("OTEL_LOG_LEVEL", "No effect: use `--verbose` and `--quiet`."),
    nothing("OTEL_PROPAGATORS", "No effect: a run's trace begins with it."),
    nothing("OTEL_CONFIG_FILE", "No effect: lem has its own configuration."),
    nothing("OTEL_EXPERIMENTAL_CONFIG_FILE", "No effect: lem has its own configuration."),
    nothing("OTEL_ENTITIES", "No effect: use `OTEL_RESOURCE_ATTRIBUTES`."),
    nothing("OTEL_EXPORTER_PROMETHEUS_HOST", OTHER_EXPORTER),
    nothing("OTEL_EXPORTER_PROMETHEUS_PORT", OTHER_EXPORTER),
    nothing("OTEL_EXPORTER_ZIPKIN_ENDPOINT", OTHER_EXPORTER),
    nothing("OTEL_EXPORTER_ZIPKIN_TIMEOUT", OTHER_EXPORTER),
];

impl OtlpConfig {
    /// Lays the environment over this configuration. `get` looks up a variable. What
    /// cannot be honoured stands in `notes`.
    pub fn apply_environment(&mut self, get: impl Fn(&str) -> Option<String>) {
        for variable in VARIABLES {
            let Some(value) = get(variable.name).filter(|value| !value.trim().is_empty()) else {
                continue;
            };
            let (name, value) = (variable.name, value.trim());
            let done = match variable.does {
                Does::Way(signal, part) => {
                    let transport = match signal {
                        Some(signal) => &mut self.signal_mut(signal).transport,
                        None => &mut self.transport,
                    };
                    set_part(transport, part, value)
                }
                // the sampler's argument means nothing by itself
                Does::Sets(_) if name == "OTEL_TRACES_SAMPLER_ARG" => self.ratio(&get, value),
                Does::Sets(set) => set(self, value),
                Does::Nothing(why) => {
                    let why = why.trim_start_matches("No effect: ").trim_end_matches('.');
                    self.notes.push(format!("{name} has no effect: {why}"));
                    continue;
                }
            };
            if let Err(why) = done {
                let shown = match variable.secret {
                    true => String::new(),
                    false => format!("={}", value.chars().take(100).collect::<String>()),
                };
                self.notes.push(format!("{name}{shown} is ignored: {why}"));
            }
        }
    }

    fn ratio(&mut self, get: impl Fn(&str) -> Option<String>, value: &str) -> Result<(), String> {
        let sampler = get("OTEL_TRACES_SAMPLER").unwrap_or_default();
        if !sampler
            .trim()
            .to_ascii_lowercase()
            .ends_with("traceidratio")
        {
            return Err("OTEL_TRACES_SAMPLER takes no argument".to_owned());
        }
        let ratio: Option<f64> = value.parse().ok();
        self.trace_ratio = ratio
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .ok_or("it is not a number from 0 to 1")?;
        Ok(())
    }
}

fn set_part(transport: &mut Transport, part: Part, value: &str) -> Result<(), String> {
    let lower = value.to_ascii_lowercase();
    match part {
        Part::Endpoint => transport.endpoint = Some(value.to_owned()),
        Part::Protocol => {
            transport.protocol = Some(match lower.as_str() {
                "grpc" => Protocol::Grpc,
                "http/protobuf" => Protocol::Http,
                "http/json" => {
                    return Err(
                        "JSON, which some receivers refuse, is not sent; protobuf is".to_owned(),
                    );
                }
                _ => return Err("it is neither http/protobuf nor grpc".to_owned()),
            });
        }
        Part::Headers => {
            let pairs = pairs(value)?;
            let secrets = pairs.into_iter().map(|(k, v)| (k, Secret::new(v)));
            transport.headers = secrets.collect();
        }
        Part::Compression => {
            transport.compression = Some(match lower.as_str() {
                "gzip" => Compression::Gzip,
                "none" => Compression::None,
                _ => return Err("it is neither gzip nor none".to_owned()),
            });
        }
        Part::Timeout => transport.timeout_s = Some(milliseconds(value)?),
        Part::Insecure => transport.insecure = Some(boolean(value)?),
        Part::Certificate => transport.certificate = Some(value.into()),
        Part::ClientCertificate => transport.client_certificate = Some(value.into()),
        Part::ClientKey => transport.client_key = Some(value.into()),
    }
    Ok(())
}

/// `NAME=VALUE,…`, percent-encoded. One that is wrong spoils them all, as the
/// specification has it.
fn pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    for member in text.split(',').map(str::trim).filter(|m| !m.is_empty()) {
        let (name, value) = member
            .split_once('=')
            .filter(|(name, _)| !name.trim().is_empty())
            .ok_or("it is not NAME=VALUE,NAME=VALUE")?;
        let decode = |text: &str| {
            percent_decode_str(text.trim())
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| "a value is not percent-encoded UTF-8".to_owned())
        };
        pairs.insert(decode(name)?, decode(value)?);
    }
    Ok(pairs)
}

fn temporality(config: &mut OtlpConfig, value: &str) -> Result<(), String> {
    config.temporality = match value.to_ascii_lowercase().as_str() {
        "cumulative" => Temporality::Cumulative,
        "delta" => Temporality::Delta,
        "lowmemory" => Temporality::LowMemory,
        _ => return Err("it is none of cumulative, delta and lowmemory".to_owned()),
    };
    Ok(())
}

fn aggregation(_: &mut OtlpConfig, value: &str) -> Result<(), String> {
    match value.to_ascii_lowercase().as_str() {
        "explicit_bucket_histogram" => Ok(()),
        "base2_exponential_bucket_histogram" => {
            Err("distributions are kept in explicit buckets, which is how they are sent".to_owned())
        }
        _ => Err("it is no aggregation".to_owned()),
    }
}

fn exporter(config: &mut OtlpConfig, signal: Signal, value: &str) -> Result<(), String> {
    let lower = value.to_ascii_lowercase();
    let names: Vec<&str> = lower.split(',').map(str::trim).collect();
    let others: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !matches!(*name, "otlp" | "none" | ""))
        .collect();
    let known = ["console", "logging", "prometheus", "zipkin", "otlp/stdout"];
    if let Some(unknown) = others.iter().find(|name| !known.contains(name)) {
        return Err(format!("{unknown} is no exporter"));
    }
    config.signal_mut(signal).enabled = names.contains(&"otlp");
    for other in others {
        let instead = match other {
            "prometheus" => "turn on the sink prometheus",
            _ => "`lem results show` prints a run",
        };
        let signal = signal.as_str();
        config.notes.push(format!(
            "the exporter {other} for {signal} is not one of this sink: {instead}"
        ));
    }
    Ok(())
}

fn disabled(config: &mut OtlpConfig, value: &str) -> Result<(), String> {
    if boolean(value)? {
        for signal in Signal::ALL {
            config.signal_mut(signal).enabled = false;
        }
        config.live = false;
    }
    Ok(())
}

fn resource(config: &mut OtlpConfig, value: &str) -> Result<(), String> {
    let mut pairs = pairs(value)?;
    // the variable of its own goes before, and comes after
    if let Some(name) = pairs.remove("service.name").filter(|name| !name.is_empty()) {
        config.service_name = name;
    }
    let instance = pairs.remove("service.instance.id");
    config.resource_attributes.extend(pairs);
    match instance {
        None => Ok(()),
        Some(id) => {
            let id: String = id.chars().take(100).collect();
            config.notes.push(format!(
                "service.instance.id={id} of OTEL_RESOURCE_ATTRIBUTES is ignored: it is the run's id"
            ));
            Ok(())
        }
    }
}

fn sampler(config: &mut OtlpConfig, value: &str) -> Result<(), String> {
    let lower = value.to_ascii_lowercase();
    match lower.strip_prefix("parentbased_").unwrap_or(&lower) {
        // the ratio is 1 unless the argument says otherwise
        "always_on" | "traceidratio" => config.trace_ratio = 1.0,
        "always_off" => config.trace_ratio = 0.0,
        _ => return Err("this sampler is not known here; the spans of every run are sent".into()),
    }
    Ok(())
}

fn exemplars(config: &mut OtlpConfig, value: &str) -> Result<(), String> {
    config.exemplars = match value.to_ascii_lowercase().as_str() {
        "always_on" | "trace_based" => true,
        "always_off" => false,
        _ => return Err("it is none of always_on, always_off and trace_based".to_owned()),
    };
    Ok(())
}

fn boolean(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

/// In seconds. None at all is a very long time.
fn milliseconds(value: &str) -> Result<f64, String> {
    let number: Result<u32, _> = value.parse();
    match number.map_err(|_| "it is not a number of milliseconds")? {
        0 => Ok(86_400.0),
        milliseconds => Ok((f64::from(milliseconds) / 1000.0).min(86_400.0)),
    }
}

fn count(value: &str) -> Result<usize, String> {
    let number: Result<u32, _> = value.parse();
    let number = number.map_err(|_| "it is not a count")?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

fn positive(value: &str) -> Result<usize, String> {
    match count(value)? {
        0 => Err("it is 0".to_owned()),
        count => Ok(count),
    }
}
