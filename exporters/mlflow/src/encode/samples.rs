use std::sync::Arc;

use lem_record::{Column, Samples, catalogue};

use super::key::legal;
use super::{Plan, Scope};

/// Points of one key.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// The record that they come from.
    pub n: u64,
    pub key: String,
    /// The values are multiplied with it.
    pub scale: f64,
    pub values: Values<'a>,
    /// Unix ms and step of each value.
    pub times: Arc<[(i64, i64)]>,
}

#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    One(f64),
    Many(&'a [Option<f64>]),
}

impl Series<'_> {
    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Value, Unix ms and step; none where the sample was missed or is no number.
    pub fn point(&self, at: usize) -> Option<(f64, i64, i64)> {
        let value = match self.values {
            Values::One(value) => value,
            Values::Many(values) => (*values.get(at)?)?,
        };
        let value = value * self.scale;
        let (time, step) = *self.times.get(at)?;
        value.is_finite().then_some((value, time, step))
    }

    pub fn points(&self) -> impl Iterator<Item = (f64, i64, i64)> + '_ {
        (0..self.len()).filter_map(|at| self.point(at))
    }
}

/// A system metric of MLflow's UI, of a sampled metric of ours.
struct System {
    metric: &'static str,
    before: &'static str,
    after: &'static str,
    scale: f64,
}

#[rustfmt::skip] // one a line
const SYSTEM: &[System] = &[
    System { metric: "sample.power", before: "system/gpu_", after: "_power_usage_watts", scale: 1.0 },
    System { metric: "sample.gpu_utilization", before: "system/gpu_", after: "_utilization_percentage", scale: 100.0 },
    System { metric: "sample.gpu_memory_used", before: "system/gpu_", after: "_memory_usage_megabytes", scale: 1e-6 },
    System { metric: "sample.cpu_utilization", before: "system/cpu_utilization_percentage", after: "", scale: 100.0 },
];

/// The step of a sample is its time in ms from the run's start, or one more than the
/// step before it where that would not be later: MLflow would take two samples of
/// one ms for one moment.
pub(super) fn encode<'a>(scope: &Scope<'_>, n: u64, samples: &'a Samples, plan: &mut Plan<'a>) {
    if let Err(why) = samples.check() {
        plan.reject(n, why);
        return;
    }
    let mut keyed = Vec::with_capacity(samples.columns.len());
    for column in &samples.columns {
        match key(scope, &samples.source, column) {
            Some(key) => keyed.push((key, column)),
            None => plan.reject(
                n,
                format!(
                    "the metric {} is unknown to this version of lem",
                    column.metric
                ),
            ),
        }
    }
    let last = keyed
        .iter()
        .filter_map(|(key, _)| plan.state.steps.get(key).copied())
        .max();
    let times = times(scope, &samples.t_ns, last);
    let Some(&(_, last)) = times.last() else {
        return;
    };
    for (key, column) in keyed {
        let wrong = column
            .values
            .iter()
            .flatten()
            .filter(|value| !value.is_finite())
            .count();
        if wrong > 0 {
            plan.reject(
                n,
                format!("{key}: {wrong} values are no numbers, which MLflow cannot keep"),
            );
        }
        plan.state.steps.insert(key.clone(), last);
        plan.state.obtained(&key, column.how);
        let series = |key, scale| Series {
            n,
            key,
            scale,
            values: Values::Many(&column.values),
            times: Arc::clone(&times),
        };
        if let Some((key, scale)) = system_key(scope, &samples.source, column) {
            plan.series.push(series(key, scale));
        }
        plan.series.push(series(key, 1.0));
    }
}

fn times(scope: &Scope<'_>, t_ns: &[u64], mut last: Option<i64>) -> Arc<[(i64, i64)]> {
    let start = i128::from(scope.started_at.mono_ns);
    t_ns.iter()
        .map(|&t| {
            let ms = (i128::from(t) - start).div_euclid(1_000_000);
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            let step = last.map_or(ms, |last| ms.max(last.saturating_add(1)));
            last = Some(step);
            (scope.unix_ms(t), step)
        })
        .collect()
}

fn key(scope: &Scope<'_>, source: &str, column: &Column) -> Option<String> {
    let def = catalogue::find(&column.metric)?;
    let mut attributes = column.attributes.clone();
    if def.attributes.contains(&"hw.id") {
        attributes
            .entry("hw.id".to_owned())
            .or_insert_with(|| source.to_owned());
    }
    Some(legal(&def.key(
        &attributes,
        &scope.started.varying,
        None,
        None,
    )))
}

fn system_key(scope: &Scope<'_>, source: &str, column: &Column) -> Option<(String, f64)> {
    if !scope.config.log_system_metrics {
        return None;
    }
    let system = SYSTEM
        .iter()
        .find(|system| system.metric == column.metric)?;
    if system.after.is_empty() {
        return Some((system.before.to_owned(), system.scale));
    }
    let device = column
        .attributes
        .get("hw.id")
        .map_or(source, String::as_str);
    let index = device
        .strip_prefix("gpu")
        .filter(|index| index.parse::<u16>().is_ok())?;
    Some((
        format!("{}{index}{}", system.before, system.after),
        system.scale,
    ))
}
