//! One run, four sinks: names, units, attributes and values agree, and each Prometheus
//! name is the translation of the OTel one.
//!
//! What is expected comes from the records and the catalogue; what is found is what each
//! sink would put on the wire (for MLflow: what its store holds).
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(all(
    feature = "mlflow",
    feature = "wandb",
    feature = "prometheus",
    feature = "otlp"
))]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use lem_record::catalogue::{self, Bound};
use lem_record::{Attributes, Exporter as _, Histogram, Metric, MetricValue, Record};
use lem_testkit::golden::{self, Golden};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric, number_data_point};
use serde_json::{Map, Value};

/// A point as Prometheus and OTLP tell it: name, attributes, value.
type Points = Vec<(String, Attributes, f64)>;

/// What all four say.
#[derive(Default)]
struct Told {
    /// By flat key: each value that MLflow's store has, in the order of the lines.
    mlflow: BTreeMap<String, Vec<f64>>,
    wandb: Map<String, Value>,
    wandb_cells: BTreeMap<String, Vec<f64>>,
    prometheus: Points,
    otlp: Points,
    /// Units by OTel name.
    units: BTreeMap<String, String>,
}

#[tokio::test]
async fn four_sinks_tell_the_same() {
    let scratch = tempfile::tempdir().unwrap();
    let golden = golden::run(&scratch.path().join("golden"));
    let told = Told {
        mlflow: mlflow(&golden, &scratch.path().join("mlruns")).await,
        prometheus: prometheus(&golden),
        ..wandb(&golden)
    };
    let told = otlp(&golden, told);
    let varying = golden.context().started.varying.clone();
    let mut numbers = 0;
    for envelope in &golden.envelopes {
        match &envelope.record {
            Record::Metric(metric) => numbers += told.check_metric(metric, &varying),
            Record::Samples(samples) => {
                for column in &samples.columns {
                    let def = catalogue::find(&column.metric).unwrap();
                    let key = def.key(&column.attributes, &varying, None, None);
                    let all = def.point_attributes(&column.attributes, column.how, None);
                    for value in column.values.iter().flatten() {
                        told.has_everywhere(def, &all, None, *value);
                        assert!(
                            told.mlflow[&key].contains(value),
                            "MLflow lacks {key} {value}"
                        );
                        let cells = &told.wandb_cells[&key];
                        assert!(cells.contains(value), "W&B lacks {key} {value}");
                        numbers += 1;
                    }
                }
            }
            _ => {}
        }
    }
    assert!(numbers > 300, "only {numbers} numbers were compared");
    // and nobody says anything else
    let known: BTreeSet<String> = catalogue::METRICS
        .iter()
        .flat_map(|def| [None, Some(Bound::Low), Some(Bound::High)].map(|b| def.prometheus_name(b)))
        .collect();
    for (name, ..) in &told.prometheus {
        let name = name.split(' ').next().unwrap();
        assert!(
            known.contains(name) || name == "target_info",
            "{name} is not of the catalogue"
        );
    }
    for (name, _, _) in &told.otlp {
        let name = name.split(' ').next().unwrap();
        let def = catalogue::METRICS.iter().find(|def| {
            [None, Some(Bound::Low), Some(Bound::High)]
                .map(|b| def.otel_name(b))
                .iter()
                .any(|n| n == name)
        });
        let def = def.unwrap_or_else(|| panic!("{name} is not of the catalogue"));
        assert_eq!(told.units[name], def.unit, "unit of {name}");
    }
}

impl Told {
    /// How many numbers of it were found everywhere.
    fn check_metric(&self, metric: &Metric, varying: &[String]) -> usize {
        let def = catalogue::find(&metric.id).unwrap();
        let all = def.point_attributes(&metric.attributes, metric.how, metric.cycle);
        let flat = |quantile, bound| def.key(&metric.attributes, varying, quantile, bound);
        match &metric.value {
            MetricValue::Absent(_) => 0,
            // what was run stands in parameters and configuration
            MetricValue::Number(_) if metric.id == "run.info" => 0,
            MetricValue::Number(value) => {
                self.has_everywhere(def, &all, None, *value);
                self.has_flat(&flat(None, None), *value, metric.cycle);
                let Some(interval) = metric.interval else {
                    return 1;
                };
                for (bound, value) in [(Bound::Low, interval.low), (Bound::High, interval.high)] {
                    self.has_everywhere(def, &all, Some(bound), value);
                    self.has_flat(&flat(None, Some(bound)), value, metric.cycle);
                }
                3
            }
            MetricValue::Histogram(histogram) => {
                self.has_histogram(def, &all, histogram);
                for (quantile, value) in histogram.summaries() {
                    self.has_flat(&flat(Some(quantile), None), value, metric.cycle);
                }
                5
            }
        }
    }

    fn has_everywhere(
        &self,
        def: &catalogue::MetricDef,
        attributes: &Attributes,
        bound: Option<Bound>,
        value: f64,
    ) {
        let labels = labels(attributes);
        let name = def.prometheus_name(bound);
        assert_eq!(
            name,
            catalogue::prometheus_name(&def.otel_name(bound), def.unit, def.kind)
        );
        has(&self.prometheus, &name, &labels, value, "Prometheus");
        has(&self.otlp, &def.otel_name(bound), attributes, value, "OTLP");
    }

    fn has_histogram(
        &self,
        def: &catalogue::MetricDef,
        attributes: &Attributes,
        histogram: &Histogram,
    ) {
        for (what, value) in [("count", histogram.count as f64), ("sum", histogram.sum)] {
            let name = format!("{} {what}", def.prometheus_name(None));
            has(
                &self.prometheus,
                &name,
                &labels(attributes),
                value,
                "Prometheus",
            );
            let name = format!("{} {what}", def.otel_name(None));
            has(&self.otlp, &name, attributes, value, "OTLP");
        }
    }

    fn has_flat(&self, key: &str, value: f64, cycle: Option<u32>) {
        let lines = self
            .mlflow
            .get(key)
            .unwrap_or_else(|| panic!("MLflow lacks {key}"));
        assert!(
            lines.iter().any(|v| close(*v, value)),
            "MLflow: {key} {lines:?}, not {value}"
        );
        match cycle {
            Some(_) => {
                let cells = &self.wandb_cells[key];
                assert!(
                    cells.iter().any(|v| close(*v, value)),
                    "W&B: {key} {cells:?}"
                );
            }
            None => {
                let found = self.wandb.get(key).and_then(Value::as_f64);
                assert!(
                    found.is_some_and(|v| close(v, value)),
                    "W&B: {key} {found:?}, not {value}"
                );
            }
        }
    }
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-12 * b.abs()
}

fn has(points: &Points, name: &str, attributes: &Attributes, value: f64, who: &str) {
    let of_name: Vec<_> = points.iter().filter(|(n, ..)| n == name).collect();
    let found = of_name
        .iter()
        .any(|(_, a, v)| a == attributes && close(*v, value));
    assert!(
        found,
        "{who} lacks {name} {attributes:?} {value}; it has {of_name:?}"
    );
}

/// As the translation makes them of attributes.
fn labels(attributes: &Attributes) -> Attributes {
    let label = |(name, value): (&String, &String)| (name.replace('.', "_"), value.clone());
    attributes.iter().map(label).collect()
}

async fn mlflow(golden: &Golden, store: &Path) -> BTreeMap<String, Vec<f64>> {
    let config = lem_mlflow::MlflowConfig {
        tracking_uri: Some(store.display().to_string()),
        ..Default::default()
    };
    let mut sink = lem_mlflow::MlflowExporter::new(config).unwrap();
    sink.open(&golden.context(), &Value::Null).await.unwrap();
    let written = sink.write(&golden.envelopes).await.unwrap();
    assert!(written.rejected.is_empty(), "{:?}", written.rejected);
    let status = golden.status.unwrap();
    sink.finish(status, Duration::from_secs(10)).await.unwrap();
    let mut found = BTreeMap::new();
    collect(store, &mut found);
    found
}

/// `<store>/<experiment>/<run>/metrics/<key>`: a line a point, time, value, step.
fn collect(folder: &Path, found: &mut BTreeMap<String, Vec<f64>>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let text = path.display().to_string();
        let Some((_, key)) = text.split_once("/metrics/") else {
            continue;
        };
        let lines = fs::read_to_string(&path).unwrap();
        let value = |line: &str| line.split(' ').nth(1).unwrap().parse().unwrap();
        found.insert(key.to_owned(), lines.lines().map(value).collect());
    }
}

fn wandb(golden: &Golden) -> Told {
    let run = golden.context();
    let config = lem_wandb::WandbConfig::default();
    let scope = lem_wandb::encode::Scope {
        run_id: &run.run_id,
        started: &run.started,
        started_at: run.started_at,
        config: &config,
        base: Default::default(),
    };
    let state = lem_wandb::encode::State::default();
    let plan = lem_wandb::encode::encode(&scope, &state, &golden.envelopes);
    let mut cells: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for item in &plan.items {
        let lem_wandb::encode::Item::Row(row) = item else {
            continue;
        };
        for (key, value) in &row.cells {
            cells
                .entry(key.to_string())
                .or_default()
                .extend(value.as_f64());
        }
    }
    Told {
        wandb: plan.state.summary(),
        wandb_cells: cells,
        ..Told::default()
    }
}

fn prometheus(golden: &Golden) -> Points {
    use lem_prometheus::encode::{self, Value};
    let run = golden.context();
    let mut points = Points::new();
    for envelope in &golden.envelopes {
        let encoded = encode::record(&run, envelope);
        assert!(encoded.rejected.is_empty(), "{:?}", encoded.rejected);
        for series in encoded.series {
            let mut labels: Attributes = series.labels.into_iter().collect();
            assert_eq!(labels.remove("job").as_deref(), Some("lem"));
            assert_eq!(labels.remove("instance").as_deref(), Some(golden::RUN_ID));
            for point in series.points {
                let mut push = |name: String, value| points.push((name, labels.clone(), value));
                match point.value {
                    Value::Number(value) => push(series.family.name.clone(), value),
                    Value::Histogram(histogram) => {
                        push(
                            format!("{} count", series.family.name),
                            histogram.count as f64,
                        );
                        push(format!("{} sum", series.family.name), histogram.sum);
                    }
                }
            }
        }
    }
    points
}

fn otlp(golden: &Golden, mut told: Told) -> Told {
    let run = golden.context();
    let config = lem_otlp::OtlpConfig::default();
    let scope = lem_otlp::encode::Scope {
        run_id: &run.run_id,
        started: &run.started,
        started_at: run.started_at,
        config: &config,
    };
    let state = lem_otlp::encode::State::default();
    let plan = lem_otlp::encode::encode(&scope, &state, &golden.envelopes);
    assert!(plan.rejected.is_empty(), "{:?}", plan.rejected);
    for piece in plan.pieces {
        let lem_otlp::encode::Item::Metric(metric) = piece.item else {
            continue;
        };
        let name = metric.name;
        told.units.insert(name.clone(), metric.unit);
        let mut push = |name: &str, attributes: &[KeyValue], value: f64| {
            told.otlp.push((name.to_owned(), texts(attributes), value));
        };
        match metric.data.unwrap() {
            metric::Data::Gauge(gauge) => {
                gauge
                    .data_points
                    .iter()
                    .for_each(|p| push(&name, &p.attributes, number(p)));
            }
            metric::Data::Sum(sum) => {
                sum.data_points
                    .iter()
                    .for_each(|p| push(&name, &p.attributes, number(p)));
            }
            metric::Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    push(
                        &format!("{name} count"),
                        &point.attributes,
                        point.count as f64,
                    );
                    push(
                        &format!("{name} sum"),
                        &point.attributes,
                        point.sum.unwrap(),
                    );
                }
            }
            other => panic!("{other:?}"),
        }
    }
    told
}

fn number(point: &NumberDataPoint) -> f64 {
    match point.value.unwrap() {
        number_data_point::Value::AsDouble(value) => value,
        number_data_point::Value::AsInt(value) => value as f64,
    }
}

fn texts(attributes: &[KeyValue]) -> Attributes {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(value) => Some((pair.key.clone(), value.clone())),
        other => Some((pair.key.clone(), format!("{other:?}"))),
    };
    attributes.iter().filter_map(text).collect()
}
