//! A receiver of OTLP over HTTP that keeps what it was sent, as distinct points, spans
//! and log records: OTLP has no keys, so what comes twice, byte for byte the same, is
//! for a store with the points' own times one thing. What differs in anything is two.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use lem_testkit::{FakeServer, Request, Response};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use prost::Message as _;

#[derive(Default)]
pub struct World {
    pub facts: BTreeSet<String>,
    /// Message bodies, uncompressed, in order.
    pub bodies: Vec<(String, Vec<u8>)>,
}

pub struct Fake {
    pub server: FakeServer,
    pub world: Arc<Mutex<World>>,
}

impl Fake {
    pub fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let server = FakeServer::start({
            let world = Arc::clone(&world);
            move |request| answer(&mut world.lock().unwrap(), request)
        });
        Self { server, world }
    }

    pub fn facts(&self) -> Vec<String> {
        self.world.lock().unwrap().facts.iter().cloned().collect()
    }
}

pub fn body(request: &Request) -> Vec<u8> {
    if request.header("content-encoding") != Some("gzip") {
        return request.body.clone();
    }
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(request.body.as_slice())
        .read_to_end(&mut body)
        .unwrap();
    body
}

fn answer(world: &mut World, request: &Request) -> Response {
    if request.header("content-type") != Some("application/x-protobuf") {
        return Response::text(415, "protobuf only");
    }
    let body = body(request);
    let Some(facts) = facts(&request.path, &body) else {
        return Response::text(400, "not OTLP");
    };
    world.facts.extend(facts);
    world.bodies.push((request.path.clone(), body));
    Response::bytes(200, Vec::new()).header("content-type", "application/x-protobuf")
}

/// A line for each point, span and log record, with all that it belongs to.
pub fn facts(path: &str, body: &[u8]) -> Option<Vec<String>> {
    let mut facts = Vec::new();
    if path.ends_with("/v1/metrics") {
        for group in ExportMetricsServiceRequest::decode(body)
            .ok()?
            .resource_metrics
        {
            let resource = json(&group.resource);
            for scope in group.scope_metrics {
                for metric in scope.metrics {
                    facts.extend(points(&resource, &metric));
                }
            }
        }
    } else if path.ends_with("/v1/traces") {
        for group in ExportTraceServiceRequest::decode(body).ok()?.resource_spans {
            let resource = json(&group.resource);
            for span in group.scope_spans.iter().flat_map(|scope| &scope.spans) {
                facts.push(format!("span {resource} {}", json(span)));
            }
        }
    } else if path.ends_with("/v1/logs") {
        for group in ExportLogsServiceRequest::decode(body).ok()?.resource_logs {
            let resource = json(&group.resource);
            for log in group.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                facts.push(format!("log {resource} {}", json(log)));
            }
        }
    } else {
        return None;
    }
    Some(facts)
}

fn points(resource: &str, metric: &Metric) -> Vec<String> {
    let name = format!("{resource} {} [{}]", metric.name, metric.unit);
    match metric.data.as_ref().unwrap() {
        metric::Data::Gauge(gauge) => gauge
            .data_points
            .iter()
            .map(|p| format!("gauge {name} {}", json(p)))
            .collect(),
        metric::Data::Sum(sum) => sum
            .data_points
            .iter()
            .map(|p| {
                format!(
                    "sum {} {} {name} {}",
                    sum.is_monotonic,
                    sum.aggregation_temporality,
                    json(p)
                )
            })
            .collect(),
        metric::Data::Histogram(histogram) => histogram
            .data_points
            .iter()
            .map(|p| format!("histogram {name} {}", json(p)))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}
