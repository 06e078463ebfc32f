use std::sync::Arc;

use lem_record::catalogue::{self, Bound};
use lem_record::{Metric, MetricValue};
use serde_json::{Map, json};

use super::state::Pending;
use super::text::{clean, short};
use super::{Axis, Plan, Scope};

/// A cycle's value goes to the cycle's row, the whole run's to the summary.
pub(super) fn encode(scope: &Scope<'_>, n: u64, metric: &Metric, plan: &mut Plan<'_>) {
    let Some(def) = catalogue::find(&metric.id) else {
        let id = short(&metric.id, 100);
        plan.reject(
            n,
            format!("the metric {id} is unknown to this version of lem"),
        );
        return;
    };
    if metric.id == "run.info" {
        let named = metric.attributes.iter().take(100);
        let named = named.map(|(name, value)| (clean(name), short(value, 1000)));
        plan.state.info.extend(named);
        return;
    }
    let key =
        |quantile, bound| def.key(&metric.attributes, &scope.started.varying, quantile, bound);
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
    points.retain(|(key, value)| {
        if !value.is_finite() {
            plan.reject(n, format!("{key} is {value}, which W&B cannot keep"));
        }
        value.is_finite()
    });
    for (key, _) in &points {
        plan.state.obtained(key, metric.how);
    }
    let Some(cycle) = metric.cycle else {
        for (key, value) in points {
            if !plan.state.summarise(key, json!(value)) {
                plan.reject(n, "the run has more metrics than W&B shows");
                return;
            }
        }
        return;
    };
    // a second value of the same cycle does not replace the first
    let has = |pending: &Pending| {
        points
            .iter()
            .any(|(key, _)| pending.values.contains_key(key))
    };
    if plan.state.pending.as_ref().is_some_and(has) {
        plan.flush(scope);
    }
    for (key, _) in &points {
        plan.define(&Arc::from(key.as_str()), Axis::Cycle);
    }
    if points.is_empty() {
        return;
    }
    let pending = plan.state.pending.get_or_insert_with(|| Pending {
        n,
        cycle,
        t_ns: metric.t_ns,
        values: Map::new(),
    });
    pending.n = n;
    pending
        .values
        .extend(points.into_iter().map(|(key, value)| (key, json!(value))));
}
