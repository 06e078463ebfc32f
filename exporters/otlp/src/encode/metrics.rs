//! Sampled series, and what the analysis computed.

use lem_record::catalogue::{self, Bound};
use lem_record::{Attributes, How, Kind, Metric, MetricDef, MetricValue, Present, Samples};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    self as otlp, AggregationTemporality, Exemplar, Gauge, HistogramDataPoint, NumberDataPoint,
    Sum, exemplar, metric, number_data_point,
};

use super::attributes::text;
use super::pack::Item;
use super::state::State;
use super::{Plan, Scope, ids};
use crate::Temporality;

/// Points of one metric that are never parted.
const POINTS: usize = 500;

/// What a metric is in OTLP.
#[derive(Clone, Copy)]
enum Shape {
    Gauge,
    Sum { monotonic: bool },
}

impl Shape {
    const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Sum { monotonic: true },
            Kind::UpDown => Self::Sum { monotonic: false },
            // the ends of the interval of a distribution's mean
            Kind::Gauge | Kind::Histogram => Self::Gauge,
        }
    }
}

fn number_metric(
    def: &MetricDef,
    bound: Option<Bound>,
    temporality: AggregationTemporality,
    data_points: Vec<NumberDataPoint>,
) -> Item {
    let data = match Shape::of(def.kind) {
        Shape::Gauge => metric::Data::Gauge(Gauge { data_points }),
        Shape::Sum { monotonic } => metric::Data::Sum(Sum {
            data_points,
            aggregation_temporality: if monotonic {
                temporality as i32
            } else {
                AggregationTemporality::Cumulative as i32
            },
            is_monotonic: monotonic,
        }),
    };
    Item::Metric(described(def, bound, data))
}

fn described(def: &MetricDef, bound: Option<Bound>, data: metric::Data) -> otlp::Metric {
    let end = match bound {
        None => "",
        Some(Bound::Low) => "Lower end of the confidence interval. ",
        Some(Bound::High) => "Upper end of the confidence interval. ",
    };
    otlp::Metric {
        name: def.otel_name(bound),
        description: format!("{end}{}", help(def)),
        unit: def.unit.to_owned(),
        data: Some(data),
        ..otlp::Metric::default()
    }
}

/// Metrics that share a name share its description: that of the first.
fn help(def: &MetricDef) -> &'static str {
    let first = catalogue::METRICS.iter().find(|d| d.otel == def.otel);
    first.map_or(def.help, |first| first.help)
}

/// The point's identity within its metric.
fn identity(def: &MetricDef, own: &Attributes, how: How, cycle: Option<u32>) -> Vec<KeyValue> {
    def.point_attributes(own, how, cycle)
        .into_iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| text(name, value))
        .collect()
}

fn has_no_start(def: &MetricDef) -> bool {
    matches!(Shape::of(def.kind), Shape::Gauge)
}

pub(super) fn samples(scope: &Scope<'_>, n: u64, samples: &Samples, plan: &mut Plan) {
    for column in &samples.columns {
        let Some(def) = catalogue::find(&column.metric) else {
            plan.reject(n, unknown(&column.metric));
            continue;
        };
        let attributes = identity(def, &column.attributes, column.how, None);
        let delta = matches!(Shape::of(def.kind), Shape::Sum { monotonic: true })
            && scope.config.temporality == Temporality::Delta;
        let mut so_far = delta
            .then(|| LastPoint::of(scope, def, &column.attributes, &plan.state))
            .flatten();
        let temporality = match so_far {
            Some(_) => AggregationTemporality::Delta,
            None => AggregationTemporality::Cumulative,
        };
        let mut not_finite = 0_u64;
        let mut points = Vec::new();
        for (t_ns, value) in samples.t_ns.iter().zip(&column.values) {
            let Some(value) = value else { continue };
            if !value.is_finite() {
                not_finite += 1;
                continue;
            }
            let time = scope.nanos(*t_ns);
            let (start, value) = match &mut so_far {
                Some(last) => match last.step(time, *value) {
                    Some(step) => step,
                    None => continue, // the same moment again
                },
                None if has_no_start(def) => (0, *value),
                None => (scope.start().min(time), *value),
            };
            points.push(point(attributes.clone(), start, time, value));
        }
        if let Some(last) = so_far {
            plan.state.last.insert(last.key, (last.time, last.value));
        }
        for points in points.chunks(POINTS) {
            let metric = number_metric(def, None, temporality, points.to_vec());
            plan.push(n, points.len() as u64, metric);
        }
        if not_finite > 0 {
            let name = def.otel;
            plan.reject(n, format!("{not_finite} values of {name} are not finite"));
        }
    }
}

/// Where the increments of a sampled counter go on from.
struct LastPoint {
    key: String,
    time: u64,
    value: f64,
}

impl LastPoint {
    fn of(scope: &Scope<'_>, def: &MetricDef, own: &Attributes, state: &State) -> Option<Self> {
        let own: Vec<String> = own.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let key = format!("{} {}", def.id, own.join(","));
        let (time, value) = match state.last.get(&key) {
            Some(last) => *last,
            None if state.last.len() < State::MOST_COUNTERS => (scope.start(), 0.0),
            None => return None,
        };
        Some(Self { key, time, value })
    }

    /// The start and the increment of the next point. A counter that fell began anew.
    fn step(&mut self, time: u64, value: f64) -> Option<(u64, f64)> {
        if time <= self.time {
            return None;
        }
        let grown = if value >= self.value {
            value - self.value
        } else {
            value
        };
        let start = self.time;
        (self.time, self.value) = (time, value);
        Some((start, grown))
    }
}

pub(super) fn metric(scope: &Scope<'_>, n: u64, metric: &Metric, plan: &mut Plan) {
    let Some(def) = catalogue::find(&metric.id) else {
        plan.reject(n, unknown(&metric.id));
        return;
    };
    if metric.attributes.contains_key("") {
        plan.reject(n, format!("an attribute of {} without a name", def.otel));
    }
    let attributes = identity(def, &metric.attributes, metric.how, metric.cycle);
    let time = scope.nanos(metric.t_ns);
    let start = scope.start().min(time);
    let temporality = match scope.config.temporality {
        Temporality::Cumulative => AggregationTemporality::Cumulative,
        // one point from the run's start: the sum and the increment are the same
        Temporality::Delta | Temporality::LowMemory => AggregationTemporality::Delta,
    };
    let one = |bound: Option<Bound>, value: f64, plan: &mut Plan| {
        if !value.is_finite() {
            plan.reject(n, format!("{} is {value}", def.otel_name(bound)));
            return;
        }
        let start = if has_no_start(def) { 0 } else { start };
        let mut point = point(attributes.clone(), start, time, value);
        point.exemplars = exemplar(scope, metric.cycle, time, value);
        let metric = number_metric(def, bound, temporality, vec![point]);
        plan.push(n, 1, metric);
    };
    match &metric.value {
        MetricValue::Absent(_) => return,
        MetricValue::Number(value) => one(None, *value, plan),
        MetricValue::Histogram(histogram) => {
            if let Err(why) = fits(histogram) {
                plan.reject(n, format!("{} {why}", def.otel));
                return;
            }
            let point = HistogramDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: start,
                time_unix_nano: time,
                count: histogram.count,
                sum: Some(histogram.sum),
                bucket_counts: histogram.counts.clone(),
                explicit_bounds: histogram.bounds.clone(),
                min: (histogram.count > 0).then_some(histogram.min),
                max: (histogram.count > 0).then_some(histogram.max),
                ..HistogramDataPoint::default()
            };
            let data = metric::Data::Histogram(otlp::Histogram {
                data_points: vec![point],
                aggregation_temporality: temporality as i32,
            });
            plan.push(n, 1, Item::Metric(described(def, None, data)));
        }
    }
    if let Some(interval) = metric.interval {
        one(Some(Bound::Low), interval.low, plan);
        one(Some(Bound::High), interval.high, plan);
    }
}

/// Whether a receiver could read it as a histogram.
fn fits(histogram: &lem_record::Histogram) -> Result<(), String> {
    let (bounds, counts) = (&histogram.bounds, &histogram.counts);
    let total = counts.iter().try_fold(0_u64, |sum, n| sum.checked_add(*n));
    let numbers = [histogram.sum, histogram.min, histogram.max];
    if counts.len() != bounds.len() + 1 {
        Err(format!(
            "has {} buckets for {} bounds",
            counts.len(),
            bounds.len()
        ))
    } else if !bounds.is_sorted_by(|a, b| a < b) || bounds.iter().any(|b| !b.is_finite()) {
        Err("has bounds that do not rise".to_owned())
    } else if total != Some(histogram.count) {
        Err("has buckets that do not add up to its count".to_owned())
    } else if histogram.count > 0 && numbers.iter().any(|n| !n.is_finite()) {
        Err("has a sum that is not finite".to_owned())
    } else {
        Ok(())
    }
}

/// To the span in which a number was measured.
fn exemplar(scope: &Scope<'_>, cycle: Option<u32>, time: u64, value: f64) -> Vec<Exemplar> {
    if !(scope.config.exemplars && scope.traced()) {
        return Vec::new();
    }
    let span_id = match cycle {
        Some(cycle) => ids::cycle_span(scope.run_id, cycle),
        None => ids::run_span(scope.run_id),
    };
    vec![Exemplar {
        time_unix_nano: time,
        span_id,
        trace_id: ids::trace(scope.run_id),
        value: Some(exemplar::Value::AsDouble(value)),
        ..Exemplar::default()
    }]
}

fn point(attributes: Vec<KeyValue>, start: u64, time: u64, value: f64) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

/// A value of the board, with its own time or (`now`) that of sending.
pub(crate) fn present(scope: &Scope<'_>, present: &Present, now: Option<u64>) -> Option<Item> {
    let def = catalogue::find(&present.metric).filter(|def| def.kind != Kind::Histogram)?;
    if !present.value.is_finite() {
        return None;
    }
    let time = scope.nanos(now.unwrap_or(present.t_ns));
    let start = if has_no_start(def) {
        0
    } else {
        scope.start().min(time)
    };
    let attributes = identity(def, &present.attributes, present.how, None);
    let point = point(attributes, start, time, present.value);
    Some(number_metric(
        def,
        None,
        AggregationTemporality::Cumulative,
        vec![point],
    ))
}

fn unknown(id: &str) -> String {
    let id: String = id.chars().take(100).collect();
    format!("the metric {id} is unknown to this version of lem")
}
