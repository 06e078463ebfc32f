//! The series of a picture, thinned so that every peak and dip stays.

use lem_record::downsample;

use super::picture::What;
use crate::analysis::{Analysis, Curve, RunData, Sensor, SourceSamples, Window};

/// More points than this on the width of a page draw the same line.
const MAX_POINTS: usize = 1_600;
/// A line is broken where samples are this many times as far apart as usual.
const GAP: f64 = 6.0;
/// More lines than this in one panel are not told apart.
const MAX_LINES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The sum of what the total counts.
    Total,
    /// One device, by its place.
    Device(usize),
}

/// A line: `None` where it is broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub name: String,
    pub role: Role,
    pub points: Vec<(u64, Option<f64>)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    pub what: What,
    pub label: String,
    pub series: Vec<Series>,
}

impl Series {
    pub fn range(&self) -> Option<(f64, f64)> {
        let values = self.points.iter().filter_map(|(_, value)| *value);
        values.fold(None, |range, v| match range {
            None => Some((v, v)),
            Some((low, high)) => Some((f64::min(low, v), f64::max(high, v))),
        })
    }
}

/// The sensor's samples where the truth was: earlier by its lag.
fn lag_ns(curve: &Curve) -> u64 {
    (curve.spec.lag_s.unwrap_or(0.0).clamp(0.0, 10.0) * 1e9) as u64
}

fn curve(sensor: &Sensor) -> Option<&Curve> {
    sensor.power.as_ref().or(sensor.counter.as_ref())
}

/// The power of the boundary's sensors together, and where asked of each.
pub fn power(analysis: &Analysis, span: Window, devices: bool) -> Vec<Series> {
    let sensors: Vec<(&Sensor, &Curve)> = analysis
        .boundary
        .total
        .iter()
        .filter_map(|i| analysis.sensors.get(*i))
        .filter_map(|sensor| Some((sensor, curve(sensor)?)))
        .collect();
    let times_of = |curve: &Curve| -> Vec<u64> {
        let lag = lag_ns(curve);
        let window = Window::new(
            span.start_ns.saturating_add(lag),
            span.end_ns.saturating_add(lag),
        );
        let times = curve.curve.times(window).iter();
        times.map(|t| t.saturating_sub(lag)).collect()
    };
    let at = |curve: &Curve, t: u64| curve.curve.power_at(t.saturating_add(lag_ns(curve)));
    let mut times: Vec<u64> = sensors.iter().flat_map(|(_, c)| times_of(c)).collect();
    times.sort_unstable();
    times.dedup();
    let sum = |t: &u64| sensors.iter().map(|(_, c)| at(c, *t)).sum::<f64>();
    let values: Vec<f64> = times.iter().map(sum).collect();
    let name = match sensors.as_slice() {
        [] => return Vec::new(),
        [(one, _)] => format!("power, {}", one.id),
        [..] if sensors.len() <= 3 => {
            let ids: Vec<&str> = sensors.iter().map(|(s, _)| s.id.as_str()).collect();
            format!("power, {}", ids.join(" + "))
        }
        [..] => format!("power, sum of {}", sensors.len()),
    };
    let mut all = vec![Series {
        name,
        role: Role::Total,
        points: thinned(&times, &values),
    }];
    if devices && sensors.len() > 1 {
        for (i, (sensor, curve)) in sensors.iter().take(MAX_LINES).enumerate() {
            let times = times_of(curve);
            let values: Vec<f64> = times.iter().map(|t| at(curve, *t)).collect();
            all.push(Series {
                name: sensor.id.clone(),
                role: Role::Device(i),
                points: thinned(&times, &values),
            });
        }
    }
    all.retain(|series| series.range().is_some());
    all
}

/// The panel of something that is sampled as it is drawn.
pub fn of(what: What, data: &RunData, span: Window) -> Option<Panel> {
    let (metrics, label, factor): (&[&str], &str, f64) = match what {
        What::Temperature => (&["sample.temperature"], "Temperature (°C)", 1.0),
        What::Utilization => (
            &["sample.gpu_utilization", "sample.cpu_utilization"],
            "Utilization (%)",
            100.0,
        ),
        What::Clock => (&["sample.clock"], "Clock (GHz)", 1e-9),
        What::Memory => (
            &["sample.gpu_memory_used", "sample.process_memory"],
            "Memory (GB)",
            1e-9,
        ),
        What::Power | What::Devices | What::Tokens => return None,
    };
    let mut series: Vec<Series> = Vec::new();
    for (source, samples) in &data.samples {
        for column in &samples.columns {
            if !metrics.contains(&column.metric.as_str()) || series.len() >= MAX_LINES {
                continue;
            }
            let rows = samples.rows(span.start_ns, span.end_ns);
            let (times, values) = known(samples, &column.values, rows, factor);
            let points = thinned(&times, &values);
            let told = ["lem.clock", "hw.sensor_location"];
            let mut name = match column.metric.as_str() {
                "sample.cpu_utilization" => "all processors".to_owned(),
                _ => source.clone(),
            };
            for attribute in told.iter().filter_map(|a| column.attributes.get(*a)) {
                name = format!("{name} {attribute}");
            }
            let role = Role::Device(series.len());
            let new = Series { name, role, points };
            series.extend(new.range().is_some().then_some(new));
        }
    }
    (!series.is_empty()).then(|| Panel {
        what,
        label: label.to_owned(),
        series,
    })
}

fn known(
    samples: &SourceSamples,
    values: &[f64],
    rows: std::ops::Range<usize>,
    factor: f64,
) -> (Vec<u64>, Vec<f64>) {
    let times = samples.t_ns.get(rows.clone()).unwrap_or_default();
    let values = values.get(rows).unwrap_or_default();
    let both = times.iter().zip(values).filter(|(_, v)| v.is_finite());
    both.map(|(t, v)| (*t, v * factor)).unzip()
}

/// Broken where samples are missing, then thinned.
fn thinned(times: &[u64], values: &[f64]) -> Vec<(u64, Option<f64>)> {
    let mut gaps: Vec<u64> = times
        .windows(2)
        .map(|pair| pair[1].saturating_sub(pair[0]))
        .collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or(0);
    let longest = ((usual as f64 * GAP) as u64).max(250_000_000);
    let (mut broken_t, mut broken_v) = (Vec::new(), Vec::new());
    let mut before: Option<u64> = None;
    for (t, v) in times.iter().zip(values) {
        if let Some(before) = before.filter(|before| t.saturating_sub(*before) > longest) {
            broken_t.push(before + (t - before) / 2);
            broken_v.push(None);
        }
        broken_t.push(*t);
        broken_v.push(Some(*v).filter(|v| v.is_finite()));
        before = Some(*t);
    }
    downsample(&broken_t, &broken_v, MAX_POINTS)
        .into_iter()
        .filter_map(|i| Some((*broken_t.get(i)?, *broken_v.get(i)?)))
        .collect()
}

/// While any clock was held down, as the driver's bits said when they were polled.
pub fn throttled(data: &RunData, span: Window) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for samples in data.samples.values() {
        let rows = samples.rows(span.start_ns, span.end_ns);
        for column in &samples.columns {
            if column.metric != "sample.throttled" {
                continue;
            }
            let times = samples.t_ns.get(rows.clone()).unwrap_or_default();
            let values = column.values.get(rows.clone()).unwrap_or_default();
            let bits = times.iter().zip(values).filter(|(_, v)| v.is_finite());
            let mut since: Option<u64> = None;
            let mut last = None;
            for (t, value) in bits {
                match (since, *value > 0.0) {
                    (None, true) => since = Some(*t),
                    (Some(start), false) => {
                        windows.push(Window::new(start, *t));
                        since = None;
                    }
                    _ => {}
                }
                last = Some(*t);
            }
            if let (Some(start), Some(end)) = (since, last) {
                windows.push(Window::new(start, end));
            }
        }
    }
    windows.sort_unstable();
    let mut merged: Vec<Window> = Vec::new();
    for window in windows {
        match merged.last_mut() {
            Some(last) if window.start_ns <= last.end_ns => {
                last.end_ns = last.end_ns.max(window.end_ns);
            }
            _ => merged.push(window),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::thinned;

    #[test]
    fn a_gap_breaks_the_line_and_a_peak_stays() {
        let mut times: Vec<u64> = (0..10_000).map(|i| i * 20_000_000).collect();
        let mut values: Vec<f64> = times.iter().map(|_| 100.0).collect();
        values[7_777] = 700.0;
        for t in times.iter_mut().skip(5_000) {
            *t += 3_000_000_000;
        }
        let line = thinned(&times, &values);
        assert!(line.len() <= super::MAX_POINTS);
        assert_eq!(line.iter().filter(|(_, v)| v.is_none()).count(), 1);
        assert!(line.iter().any(|(_, v)| *v == Some(700.0)));
    }
}
