//! Idle power: before the engine (bare, B0), with the weights loaded (B1), and after the
//! run (B1′).

use super::data::{BaselineWindow, RunData, Window};
use super::sensors::{Boundary, Curve, Sensor};
use super::statistics;
use super::uncertainty::{counter_edges, effective_samples};

/// What one sensor said while the machine was idle.
#[derive(Clone, Debug, PartialEq)]
pub struct Idle {
    /// Mean, watts.
    pub watts: f64,
    /// Standard deviation of the samples, watts.
    pub sd: f64,
    /// Standard uncertainty of the mean, watts, without the sensor's gain.
    pub u: f64,
    pub window: Window,
    /// Change over the window by a straight line through the samples, over the mean.
    pub drift: Option<f64>,
}

/// By sensor, in the order of the run's sensors.
#[derive(Clone, Debug, Default)]
pub struct Baselines {
    pub bare: Vec<Option<Idle>>,
    pub loaded: Vec<Option<Idle>>,
    pub after: Vec<Option<Idle>>,
}

impl Baselines {
    pub fn of(data: &RunData, sensors: &[Sensor]) -> Self {
        let observed = |kind: &str| -> Vec<Option<Idle>> {
            // Of several the last: a resumed run observes again.
            let found = data.baselines.iter().rfind(|b| b.kind == kind);
            let idle = |sensor: &Sensor, b: &BaselineWindow| idle(sensor, b.window);
            sensors
                .iter()
                .map(|sensor| found.and_then(|b| idle(sensor, b)))
                .collect()
        };
        Self {
            bare: observed("bare"),
            loaded: observed("loaded"),
            after: observed("after"),
        }
    }

    /// Loaded-idle power of a sensor at a time and its uncertainty, watts: on the line
    /// from before the cycles to after them, where both were observed.
    pub fn loaded_at(&self, sensor: usize, t_ns: u64) -> Option<(f64, f64)> {
        let of = |all: &[Option<Idle>]| all.get(sensor).cloned().flatten();
        let (before, after) = (of(&self.loaded), of(&self.after));
        let (Some(before), Some(after)) = (&before, &after) else {
            return before.or(after).map(|idle| (idle.watts, idle.u));
        };
        let (t0, t1) = (before.window.middle_ns(), after.window.middle_ns());
        let share = (t_ns.saturating_sub(t0)) as f64 / (t1.saturating_sub(t0)).max(1) as f64;
        let share = share.clamp(0.0, 1.0);
        let watts = before.watts + (after.watts - before.watts) * share;
        Some((watts, (before.u * (1.0 - share)).hypot(after.u * share)))
    }

    pub fn bare_at(&self, sensor: usize) -> Option<(f64, f64)> {
        let idle = self.bare.get(sensor)?.as_ref()?;
        Some((idle.watts, idle.u))
    }
}

/// The idle power of a boundary: watts, standard deviation, uncertainty.
pub fn of_boundary(idles: &[Option<Idle>], boundary: &Boundary) -> Option<(f64, f64, f64)> {
    let mut sum = (0.0, 0.0f64, 0.0f64);
    for i in &boundary.total {
        let idle = idles.get(*i)?.as_ref()?;
        sum.0 += idle.watts;
        sum.1 = sum.1.hypot(idle.sd);
        sum.2 = sum.2.hypot(idle.u);
    }
    (!boundary.total.is_empty()).then_some(sum)
}

fn idle(sensor: &Sensor, window: Window) -> Option<Idle> {
    let covers = |c: &&Curve| c.curve.covers(window).is_ok() && window.len_ns() > 0;
    let power = sensor.power.as_ref().filter(covers);
    let counter = sensor.counter.as_ref().filter(covers);
    let series = power.or(counter)?;
    let powers = series.curve.powers(window);
    let sd = statistics::stddev(&powers).unwrap_or(0.0);
    let seconds = window.seconds();
    let (watts, u) = match counter {
        Some(counter) => {
            let watts = counter.curve.between(window) / seconds;
            let update = super::estimate::step_s(counter, window);
            let step = counter.spec.resolution_j.unwrap_or(0.0);
            (watts, counter_edges(watts, update, step) / seconds)
        }
        None => {
            let u = sd / effective_samples(&powers).sqrt();
            (series.curve.between(window) / seconds, u)
        }
    };
    let drift = slope(&powers)
        .map(|change| change / watts.abs())
        .filter(|d| d.is_finite());
    Some(Idle {
        watts,
        sd,
        u,
        window,
        drift,
    })
}

/// Change from the first to the last of evenly spaced values along the least-squares line.
fn slope(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let mean = statistics::mean(values).filter(|_| values.len() >= 3)?;
    let centre = (n - 1.0) / 2.0;
    let (mut xy, mut xx) = (0.0, 0.0);
    for (i, value) in values.iter().enumerate() {
        let x = i as f64 - centre;
        xy += x * (value - mean);
        xx += x * x;
    }
    Some(xy / xx * (n - 1.0))
}
