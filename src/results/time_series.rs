//! The series of the result: few points that draw the same picture.

use lem_record::downsample;

use super::v3::{SeriesSample, TimeSeries};
use crate::analysis::{Analysis, RunData, SourceSamples, Window};

const MAX_POINTS: usize = 1_000;

pub fn of(data: &RunData, analysis: &Analysis) -> TimeSeries {
    let windows: Vec<Window> = data.cycles.iter().map(|c| c.window).collect();
    let zero_ns = windows.first().map_or(0, |w| w.start_ns);
    let times = times(data, analysis, &windows);
    let watts: Vec<Option<f64>> = times.iter().map(|t| power(analysis, *t)).collect();
    let gpus: Vec<&SourceSamples> = having(data, "sample.gpu_memory_used");
    let (memory, whose, metric) = if gpus.is_empty() {
        let process = having(data, "sample.process_memory");
        (
            process,
            "resident memory of the engine's process",
            "sample.process_memory",
        )
    } else {
        (
            gpus,
            "GPU memory in use, all GPUs together",
            "sample.gpu_memory_used",
        )
    };
    let utilised = having(data, "sample.gpu_utilization");
    let samples = downsample(&times, &watts, MAX_POINTS)
        .into_iter()
        .filter_map(|i| {
            let t_ns = *times.get(i)?;
            let sum = |of: &[&SourceSamples], metric: &str| {
                let values: Vec<f64> = of.iter().filter_map(|s| latest(s, metric, t_ns)).collect();
                (!values.is_empty()).then(|| (values.iter().sum::<f64>(), values.len()))
            };
            Some(SeriesSample {
                t: t_ns.saturating_sub(zero_ns) as f64 / 1e9,
                power_w: watts.get(i).copied().flatten(),
                memory_gb: sum(&memory, metric)
                    .map(|(bytes, _)| bytes / 1e9)
                    .filter(|v| v.is_finite()),
                gpu_util: sum(&utilised, "sample.gpu_utilization")
                    .map(|(ratio, n)| ratio / n as f64)
                    .filter(|v| v.is_finite()),
            })
        });
    TimeSeries {
        interval_ms: data.config_f64("/measurement/interval_ms"),
        power: analysis.boundary.told.clone(),
        memory: if memory.is_empty() {
            "not sampled".into()
        } else {
            whose.into()
        },
        samples: samples.collect(),
    }
}

/// Times of the power samples in the cycles; of all samples where there is no power.
fn times(data: &RunData, analysis: &Analysis, windows: &[Window]) -> Vec<u64> {
    let curves = analysis
        .boundary
        .total
        .iter()
        .filter_map(|i| analysis.sensors.get(*i))
        .filter_map(|s| s.power.as_ref().or(s.counter.as_ref()));
    let mut times: Vec<u64> = Vec::new();
    for curve in curves {
        times.extend(windows.iter().flat_map(|w| curve.curve.times(*w)));
    }
    if times.is_empty() {
        for samples in data.samples.values() {
            for window in windows {
                let rows = samples.rows(window.start_ns, window.end_ns);
                times.extend(samples.t_ns.get(rows).unwrap_or_default());
            }
        }
    }
    times.sort_unstable();
    times.dedup();
    times
}

fn power(analysis: &Analysis, t_ns: u64) -> Option<f64> {
    let mut sum = None;
    for i in &analysis.boundary.total {
        let sensor = analysis.sensors.get(*i)?;
        if !sensor.read_at(t_ns) {
            continue;
        }
        let curve = sensor.power.as_ref().or(sensor.counter.as_ref())?;
        *sum.get_or_insert(0.0) += curve.curve.power_at(t_ns);
    }
    sum.filter(|watts: &f64| watts.is_finite())
}

fn having<'a>(data: &'a RunData, metric: &str) -> Vec<&'a SourceSamples> {
    data.samples
        .values()
        .filter(|s| s.column(metric).is_some())
        .collect()
}

/// The newest value at or before a time, no older than a second.
fn latest(samples: &SourceSamples, metric: &str, t_ns: u64) -> Option<f64> {
    let rows = samples.rows(t_ns.saturating_sub(1_000_000_000), t_ns);
    let values = samples.column(metric)?.values.get(rows)?;
    values.iter().rev().copied().find(|v| v.is_finite())
}
