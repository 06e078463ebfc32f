use lem_record::{Metric, MetricValue, Record, Warning};

/// Makes of a record one that reads back. A line that no reader can decode would be
/// lost in silence, so what cannot be said in JSON is said in words.
pub(super) fn writable(record: &mut Record) {
    match record {
        Record::Metric(metric) => finite(metric),
        Record::Samples(samples) => {
            if let Err(why) = samples.check() {
                *record = lost("samples", &why);
            }
        }
        _ => {}
    }
}

/// Stands in the log where a record could not.
pub(super) fn lost(kind: &str, why: &str) -> Record {
    Record::Warning(Warning {
        code: "log.unwritable".to_owned(),
        message: format!("a record of kind {kind} could not be written: {why}"),
        remedy: "This is a bug in lem: please report it".to_owned(),
    })
}

/// JSON turns a NaN into null, and null is no number to any reader.
fn finite(metric: &mut Metric) {
    let broken = match &metric.value {
        MetricValue::Absent(_) => None,
        MetricValue::Number(value) => (!value.is_finite()).then(|| format!("{value}")),
        MetricValue::Histogram(h) => {
            let parts = [h.sum, h.min, h.max, h.mean, h.p50, h.p90, h.p99];
            let mut all = parts.iter().chain(&h.bounds);
            all.find(|part| !part.is_finite())
                .map(|part| format!("a distribution with {part}"))
        }
    };
    if let Some(what) = broken {
        metric.value = MetricValue::Absent(format!("the value came out as {what}"));
    }
    let Metric {
        uncertainty,
        interval,
        ..
    } = metric;
    *uncertainty = uncertainty.take().filter(|u| {
        let optional = [u.systematic, u.statistical].into_iter().flatten();
        optional.chain([u.expanded, u.k]).all(f64::is_finite)
    });
    *interval = interval
        .take()
        .filter(|i| [i.low, i.high, i.level].iter().all(|v| v.is_finite()));
}
