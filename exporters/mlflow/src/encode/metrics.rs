use std::sync::Arc;

use lem_record::catalogue::{self, Bound};
use lem_record::{Metric, MetricValue};

use super::key::legal;
use super::params::param_value;
use super::{Plan, Scope, Series, Values};

/// A metric of a cycle has the cycle's index as its step. One of the whole run has
/// the number of cycles, so that it is the "latest" value of its key.
pub(super) fn encode(scope: &Scope<'_>, n: u64, metric: &Metric, plan: &mut Plan<'_>) {
    let Some(def) = catalogue::find(&metric.id) else {
        plan.reject(
            n,
            format!("the metric {} is unknown to this version of lem", metric.id),
        );
        return;
    };
    if metric.id == "run.info" {
        let named = metric.attributes.iter();
        plan.params
            .extend(named.map(|(name, value)| (legal(name), param_value(value))));
        return;
    }
    if let Some(cycle) = metric.cycle {
        plan.state.saw_cycle(cycle);
    }
    let step = i64::from(metric.cycle.unwrap_or(plan.state.cycles));
    let at = (scope.unix_ms(metric.t_ns), step);
    let key = |quantile, bound| {
        legal(&def.key(&metric.attributes, &scope.started.varying, quantile, bound))
    };
    let mut points = Vec::with_capacity(6);
    let quantile = match &metric.value {
        MetricValue::Absent(reason) => {
            plan.state.is_absent(key(None, None), reason);
            return;
        }
        MetricValue::Number(value) => {
            points.push((key(None, None), *value));
            None
        }
        MetricValue::Histogram(histogram) => {
            let summaries = histogram.summaries();
            points.extend(summaries.map(|(name, value)| (key(Some(name), None), value)));
            Some("mean")
        }
    };
    if let Some(interval) = metric.interval {
        points.push((key(quantile, Some(Bound::Low)), interval.low));
        points.push((key(quantile, Some(Bound::High)), interval.high));
    }
    if metric.cycle.is_none() {
        plan.state.note.measure(metric, &points);
    }
    for (key, value) in points {
        if !value.is_finite() {
            plan.reject(n, format!("{key} is {value}, which MLflow cannot keep"));
            continue;
        }
        plan.state.obtained(&key, metric.how);
        plan.series.push(Series {
            n,
            key,
            scale: 1.0,
            values: Values::One(value),
            times: Arc::new([at]),
        });
    }
}
