use std::sync::Arc;

use lem_record::catalogue::{self, Bound};
use lem_record::{
    Attributes, Column, CycleFinished, Envelope, Histogram, Metric, MetricDef, MetricValue,
    Present, Record, Rejected, RunContext, RunStarted, Samples,
};

use super::family::{Family, FamilyKind};
use super::labels::labels;
use super::series::{Point, Series, Value};

/// What a record means to Prometheus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// Several may be of one name with the same labels.
    pub series: Vec<Series>,
    /// What of it cannot be said, and why.
    pub rejected: Vec<String>,
}

/// Of all records of a batch, in their order.
pub fn encode(run: &RunContext, batch: &[Arc<Envelope>]) -> (Vec<Series>, Vec<Rejected>) {
    let (mut series, mut rejected) = (Vec::new(), Vec::new());
    for envelope in batch {
        let n = envelope.n;
        let encoded = record(run, envelope);
        series.extend(encoded.series);
        let refused = encoded.rejected.into_iter();
        rejected.extend(refused.map(|reason| Rejected { n, reason }));
    }
    (series, rejected)
}

pub fn record(run: &RunContext, envelope: &Envelope) -> Encoded {
    let mut encoded = Encoded::default();
    match &envelope.record {
        Record::RunStarted(_) => encoded.series.push(target(run, run.started_at.mono_ns)),
        // again, so that it is found beside each cycle's numbers
        Record::CycleFinished(CycleFinished { end_ns, .. }) => {
            encoded.series.push(target(run, *end_ns));
        }
        Record::Samples(samples) => encoded.samples(run, samples),
        Record::Metric(metric) => encoded.metric(run, metric),
        Record::Clock(_)
        | Record::Span(_)
        | Record::Table(_)
        | Record::Artifact(_)
        | Record::Warning(_)
        | Record::SegmentWritten(_)
        | Record::RoundsFinished(_)
        | Record::Resumed(_)
        | Record::Seal(_)
        | Record::RunFinished(_)
        | Record::Unknown(_) => {}
    }
    encoded
}

/// `lem_run_info` before the analysis tells it.
pub fn early_info(run: &RunContext) -> Option<Series> {
    let started = &run.started;
    let config = |name: &str| started.config.pointer(name)?.as_str();
    let precision = started.model.pointer("/weight_type");
    let facts = [
        ("lem.run.name", Some(started.name.as_str())),
        ("lem.backend", config("/backend")),
        ("gen_ai.request.model", config("/model_name")),
        (
            "lem.precision",
            precision
                .and_then(|precision| precision.as_str())
                .or_else(|| config("/fp_precision")),
        ),
        ("lem.version", version(started)),
    ];
    let family = Family::of(catalogue::find("run.info")?, None)?;
    let t_ns = run.started_at.mono_ns;
    Some(number(run, family, &known(facts), 1.0, t_ns))
}

/// A present value. None where it is no number, or no metric of ours.
pub fn present(run: &RunContext, present: &Present) -> Option<Series> {
    let def = catalogue::find(&present.metric)?;
    let attributes = def.point_attributes(&present.attributes, present.how, None);
    let family = Family::of(def, None)?;
    let fits = present.value.is_finite() && family.kind != FamilyKind::Histogram;
    fits.then(|| number(run, family, &attributes, present.value, present.t_ns))
}

/// `target_info`: what OTel calls the resource, the same as OTLP sends.
pub fn target(run: &RunContext, mono_ns: u64) -> Series {
    let find = |pointers: [&str; 2]| {
        let environment = &run.started.environment;
        let mut found = pointers.iter().filter_map(|name| environment.pointer(name));
        found.find_map(|value| value.as_str())
    };
    // `Linux 6.1.0`
    let kernel = find(["/host/kernel", "/os"]).and_then(|kernel| kernel.split_whitespace().next());
    let system = kernel.map(str::to_lowercase);
    let facts = [
        ("service.version", version(&run.started)),
        ("host.name", find(["/host/hostname", "/hostname"])),
        ("host.arch", find(["/host/architecture", "/architecture"])),
        ("os.type", system.as_deref()),
        ("os.description", find(["/host/os", "/os"])),
    ];
    number(run, Family::target(), &known(facts), 1.0, mono_ns)
}

fn known<const N: usize>(facts: [(&str, Option<&str>); N]) -> Attributes {
    let known = facts.into_iter();
    known
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect()
}

fn version(started: &RunStarted) -> Option<&str> {
    started.producer.split_whitespace().last()
}

fn number(
    run: &RunContext,
    family: Arc<Family>,
    attributes: &Attributes,
    value: f64,
    mono_ns: u64,
) -> Series {
    Series {
        cycle: None,
        family,
        labels: labels(attributes, &run.run_id),
        points: vec![Point {
            unix_ms: unix_ms(run, mono_ns),
            value: Value::Number(value),
        }],
    }
}

/// Wall time of a monotonic time.
pub fn unix_ms(run: &RunContext, mono_ns: u64) -> i64 {
    run.started_at.unix_ns_at(mono_ns).div_euclid(1_000_000)
}

impl Encoded {
    fn definition(&mut self, id: &str) -> Option<&'static MetricDef> {
        let def = catalogue::find(id);
        if def.is_none() {
            let why = format!("the metric {id} is unknown to this version of lem");
            self.rejected.push(why);
        }
        def
    }

    fn metric(&mut self, run: &RunContext, metric: &Metric) {
        let Some(def) = self.definition(&metric.id) else {
            return;
        };
        let attributes = def.point_attributes(&metric.attributes, metric.how, metric.cycle);
        let labels = labels(&attributes, &run.run_id);
        let mut values = Vec::with_capacity(3);
        match &metric.value {
            MetricValue::Absent(_) => return,
            MetricValue::Number(value) => values.push((None, Value::Number(*value))),
            MetricValue::Histogram(histogram) => {
                values.push((None, Value::Histogram(Arc::from(histogram.clone()))));
            }
        }
        if let Some(interval) = metric.interval {
            values.push((Some(Bound::Low), Value::Number(interval.low)));
            values.push((Some(Bound::High), Value::Number(interval.high)));
        }
        for (bound, value) in values {
            let Some(family) = Family::of(def, bound) else {
                continue;
            };
            if let Err(why) = fits(&family, &value) {
                self.rejected.push(format!("{} {why}", family.name));
                continue;
            }
            self.series.push(Series {
                cycle: metric.cycle,
                family,
                labels: labels.clone(),
                points: vec![Point {
                    unix_ms: unix_ms(run, metric.t_ns),
                    value,
                }],
            });
        }
    }

    fn samples(&mut self, run: &RunContext, samples: &Samples) {
        if let Err(why) = samples.check() {
            self.rejected.push(why);
            return;
        }
        for column in &samples.columns {
            let Some(def) = self.definition(&column.metric) else {
                continue;
            };
            let Some(family) = Family::of(def, None) else {
                continue;
            };
            if family.kind == FamilyKind::Histogram {
                let why = format!("{} is a distribution, not a sampled value", family.name);
                self.rejected.push(why);
                continue;
            }
            let known = column.values.iter().flatten();
            let wrong = known.filter(|value| !value.is_finite()).count();
            if wrong > 0 {
                let why = format!("{}: {wrong} values are no numbers", family.name);
                self.rejected.push(why);
            }
            let times = samples.t_ns.iter().zip(&column.values);
            let points = times.filter_map(|(&t_ns, value)| {
                let value = value.filter(|value| value.is_finite())?;
                Some(Point {
                    unix_ms: unix_ms(run, t_ns),
                    value: Value::Number(value),
                })
            });
            let mut series = Series {
                cycle: None,
                family,
                labels: labels(&of_column(def, &samples.source, column), &run.run_id),
                points: points.collect(),
            };
            series.in_order();
            if !series.points.is_empty() {
                self.series.push(series);
            }
        }
    }
}

/// A column that does not name its device is of its source.
fn of_column(def: &MetricDef, source: &str, column: &Column) -> Attributes {
    let mut attributes = def.point_attributes(&column.attributes, column.how, None);
    if def.attributes.contains(&"hw.id") {
        attributes
            .entry("hw.id".to_owned())
            .or_insert_with(|| source.to_owned());
    }
    attributes
}

fn fits(family: &Family, value: &Value) -> Result<(), String> {
    let distribution = family.kind == FamilyKind::Histogram;
    match value {
        Value::Number(value) if !value.is_finite() => {
            Err(format!("is {value}, which is no number"))
        }
        Value::Number(_) if distribution => Err("is one number, not a distribution".into()),
        Value::Histogram(_) if !distribution => Err("is a distribution, not a number".into()),
        Value::Histogram(histogram) if !whole(histogram) => {
            Err("has buckets that do not fit together".into())
        }
        _ => Ok(()),
    }
}

fn whole(histogram: &Histogram) -> bool {
    histogram.counts.len() == histogram.bounds.len() + 1
        && histogram.bounds.iter().all(|bound| bound.is_finite())
        && histogram.bounds.is_sorted_by(|a, b| a < b)
        && histogram.sum.is_finite()
}
