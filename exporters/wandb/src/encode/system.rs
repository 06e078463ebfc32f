//! W&B's own names of what its pages group as system metrics.

use std::sync::Arc;

use lem_record::Column;

/// Of a sampled metric of ours.
struct Name {
    metric: &'static str,
    /// An attribute that has this value, or is not there.
    only: Option<(&'static str, &'static str)>,
    name: &'static str,
    scale: f64,
    /// Percent of this other column of the same record, instead of the value itself.
    of: Option<&'static str>,
}

#[rustfmt::skip] // one a line
const OF_A_GPU: &[Name] = &[
    Name { metric: "sample.power", only: None, name: "powerWatts", scale: 1.0, of: None },
    Name { metric: "sample.power_limit", only: None, name: "enforcedPowerLimitWatts", scale: 1.0, of: None },
    Name { metric: "sample.power", only: None, name: "powerPercent", scale: 100.0, of: Some("sample.power_limit") },
    Name { metric: "sample.gpu_utilization", only: Some(("hw.gpu.task", "general")), name: "gpu", scale: 100.0, of: None },
    Name { metric: "sample.gpu_memory_used", only: None, name: "memoryAllocatedBytes", scale: 1.0, of: None },
    Name { metric: "sample.gpu_memory_used", only: None, name: "memoryAllocated", scale: 100.0, of: Some("sample.gpu_memory_limit") },
    Name { metric: "sample.temperature", only: Some(("hw.sensor_location", "gpu")), name: "temp", scale: 1.0, of: None },
    Name { metric: "sample.clock", only: Some(("lem.clock", "sm")), name: "smClock", scale: 1e-6, of: None },
    Name { metric: "sample.clock", only: Some(("lem.clock", "memory")), name: "memoryClock", scale: 1e-6, of: None },
];

pub(super) struct SystemMetric<'a> {
    /// `gpu.0.powerWatts`.
    pub key: Arc<str>,
    values: &'a [Option<f64>],
    of: Option<&'a [Option<f64>]>,
    scale: f64,
}

impl SystemMetric<'_> {
    /// None where the sample was missed or is no number.
    pub fn value(&self, at: usize) -> Option<f64> {
        let value = (*self.values.get(at)?)? * self.scale;
        let value = match self.of {
            None => value,
            Some(whole) => value / (*whole.get(at)?)?,
        };
        value.is_finite().then_some(value)
    }
}

/// What the columns of one GPU give; nothing for what is no GPU.
pub(super) fn metrics<'a>(source: &str, columns: &'a [Column]) -> Vec<SystemMetric<'a>> {
    let mut found: Vec<SystemMetric<'a>> = Vec::new();
    for column in columns {
        let device = column
            .attributes
            .get("hw.id")
            .map_or(source, String::as_str);
        let index = device.strip_prefix("gpu");
        let Some(index) = index.and_then(|index| index.parse::<u16>().ok()) else {
            continue;
        };
        for name in OF_A_GPU.iter().filter(|name| name.metric == column.metric) {
            let fits = name.only.is_none_or(|(attribute, value)| {
                column.attributes.get(attribute).is_none_or(|v| v == value)
            });
            let key = format!("gpu.{index}.{}", name.name);
            if !fits || found.iter().any(|other| *other.key == *key) {
                continue;
            }
            let of = match name.of {
                None => None,
                Some(other) => match columns.iter().find(|column| column.metric == other) {
                    Some(whole) => Some(whole.values.as_slice()),
                    None => continue,
                },
            };
            found.push(SystemMetric {
                key: key.into(),
                values: &column.values,
                of,
                scale: name.scale,
            });
        }
    }
    found
}
