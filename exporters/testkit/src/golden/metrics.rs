//! What the analysis writes: every metric of the catalogue, once or more.

use lem_record::catalogue::METRICS;
use lem_record::{
    Attributes, Histogram, How, Interval, Kind, Metric, MetricDef, MetricValue, Record, Uncertainty,
};

use super::record::{CYCLES, cycle_start};

/// A value of each attribute that the catalogue names.
fn sample_value(attribute: &str) -> &'static str {
    match attribute {
        "hw.id" => "gpu0",
        "hw.type" => "gpu",
        "lem.baseline.kind" => "loaded",
        "gen_ai.token.type" => "output",
        "gen_ai.operation.name" => "text_completion",
        "gen_ai.provider.name" => "lem",
        "gen_ai.request.model" | "lem.quality.source" => "golden/model",
        "lem.status" => "ok",
        "lem.throttle.reason" => "thermal",
        "lem.sink" => "mlflow",
        _ => "golden",
    }
}

pub(super) fn analysed() -> Vec<Record> {
    let mut records = Vec::new();
    let defs = METRICS.iter().filter(|def| !def.id.starts_with("sample."));
    for (index, def) in defs.enumerate() {
        let attributes: Attributes = def
            .attributes
            .iter()
            .map(|name| ((*name).to_owned(), sample_value(name).to_owned()))
            .collect();
        let base = 1.5 * (index + 1) as f64;
        let per_cycle = def.id.starts_with("time.") || def.id.starts_with("energy.");
        for cycle in (0..CYCLES).filter(|_| per_cycle) {
            let value = base + f64::from(cycle) - 1.0; // the run's value is their mean
            records.push(metric(def, &attributes, value, Some(cycle)));
        }
        records.push(metric(def, &attributes, base, None));
        if def.attributes.contains(&"hw.id") {
            let mut second = attributes.clone();
            second.insert("hw.id".to_owned(), "gpu1".to_owned());
            records.push(metric(def, &second, base + 0.25, None));
        }
    }
    records
}

fn metric(def: &MetricDef, attributes: &Attributes, value: f64, cycle: Option<u32>) -> Record {
    let energy = def.id.starts_with("energy.") && cycle.is_none();
    let value = match def.kind {
        // what no sensor gives is absent
        _ if def.id == "energy.memory" => {
            MetricValue::Absent("no sensor reads the memory's power".to_owned())
        }
        Kind::Histogram => MetricValue::Histogram(Box::new(histogram(value))),
        Kind::Gauge | Kind::Counter | Kind::UpDown => MetricValue::Number(value),
    };
    let number = match value {
        MetricValue::Number(number) if energy => Some(number),
        _ => None,
    };
    Record::Metric(Metric {
        id: def.id.to_owned(),
        attributes: attributes.clone(),
        value,
        t_ns: cycle_start(cycle.unwrap_or(CYCLES)) + 1_000_000_000,
        cycle,
        how: if energy { How::Modelled } else { How::Measured },
        uncertainty: number.map(|number| Uncertainty {
            expanded: number * 0.05,
            k: 2.0,
            systematic: Some(number * 0.02),
            statistical: Some(number * 0.015),
        }),
        interval: number.map(|number| Interval {
            low: number - 0.5,
            high: number + 0.5,
            level: 0.95,
        }),
        method: energy.then(|| "trapezoid".to_owned()),
    })
}

fn histogram(unit: f64) -> Histogram {
    let unit = unit / 100.0;
    Histogram {
        bounds: vec![unit, unit * 2.0, unit * 4.0],
        counts: vec![1, 3, 2, 0],
        count: 6,
        sum: unit * 12.0,
        min: unit * 0.5,
        max: unit * 3.5,
        mean: unit * 2.0,
        p50: unit * 1.75,
        p90: unit * 3.25,
        p99: unit * 3.475,
    }
}
