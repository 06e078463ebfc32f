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
    /// Change of the device's temperature, degrees a minute, where it was read.
    pub warming: Option<f64>,
    /// Its performance states in the window, where they were read.
    pub states: Vec<i64>,
    /// Where it was not measured in this run: when it was.
    pub cached: Option<Cached>,
}

/// An idle power that an earlier run measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Cached {
    pub age_h: f64,
    /// The run that measured it.
    pub run: String,
}

/// The idle power of a board moves by so much from one day to the next: half-width, as the
/// larger of watts and of a share.
const CACHED_DRIFT_W: f64 = 2.0;
const CACHED_DRIFT: f64 = 0.02;

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
            let idle = |sensor: &Sensor, b: &BaselineWindow| idle(data, sensor, b.window);
            let measured = |sensor: &Sensor| found.and_then(|b| idle(sensor, b));
            let of = |sensor: &Sensor| measured(sensor).or_else(|| cached(data, sensor, kind));
            sensors.iter().map(of).collect()
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
        // One that was measured now is better than one of another day.
        let now = |idle: &Option<Idle>| idle.as_ref().is_some_and(|i| i.cached.is_none());
        let (before, after) = match (now(&before), now(&after)) {
            (true, false) => (before, None),
            (false, true) => (None, after),
            _ => (before, after),
        };
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

fn idle(data: &RunData, sensor: &Sensor, window: Window) -> Option<Idle> {
    let covers = |c: &&Curve| c.curve.covers(window).is_ok() && window.len_ns() > 0;
    let power = sensor.power.as_ref().filter(covers);
    let counter = sensor.counter.as_ref().filter(covers);
    let series = power.or(counter)?;
    let powers = series.curve.powers(window);
    let sd = statistics::stddev(&powers).unwrap_or(0.0);
    let seconds = window.seconds();
    // The window is a sample of how the machine idles: it scatters also where it was read exactly.
    let scatter = sd / effective_samples(&powers).sqrt();
    let (watts, u) = match counter {
        Some(counter) => {
            let watts = counter.curve.between(window) / seconds;
            let update = super::estimate::step_s(counter, window);
            let step = counter.spec.resolution_j.unwrap_or(0.0);
            let edges = counter_edges(watts, update, step) / seconds;
            (watts, edges.hypot(scatter))
        }
        None => (series.curve.between(window) / seconds, scatter),
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
        warming: warming(data, sensor, window),
        states: states(data, sensor, window),
        cached: None,
    })
}

/// Values of a column of the sensor's own source in a window.
fn column(data: &RunData, sensor: &Sensor, metric: &str, window: Window) -> Vec<f64> {
    let values = data.samples.get(&sensor.id).and_then(|samples| {
        let rows = samples.rows(window.start_ns, window.end_ns);
        samples.column(metric)?.values.get(rows)
    });
    let values = values.unwrap_or_default().iter().copied();
    values.filter(|v| v.is_finite()).collect()
}

fn warming(data: &RunData, sensor: &Sensor, window: Window) -> Option<f64> {
    let change = slope(&column(data, sensor, "sample.temperature", window))?;
    Some(change / (window.seconds() / 60.0)).filter(|d| d.is_finite())
}

fn states(data: &RunData, sensor: &Sensor, window: Window) -> Vec<i64> {
    let values = column(data, sensor, "sample.performance_state", window);
    let mut states: Vec<i64> = values.into_iter().map(|v| v as i64).collect();
    states.sort_unstable();
    states.dedup();
    states
}

/// The columns of the table of idle powers that an earlier run measured.
pub const CACHED_COLUMNS: [&str; 7] = [
    "kind",
    "source",
    "watts",
    "stddev_watts",
    "uncertainty_watts",
    "age_hours",
    "run",
];

/// What an earlier run measured on this board, its uncertainty enlarged by what an idle power
/// moves from day to day.
fn cached(data: &RunData, sensor: &Sensor, kind: &str) -> Option<Idle> {
    let table = data.cached_baselines.as_ref()?;
    let place = |name: &str| table.columns.iter().position(|c| c == name);
    let row = table.rows.iter().find(|row| {
        let is =
            |name: &str, value: &str| place(name).and_then(|i| row.get(i)?.as_str()) == Some(value);
        is("kind", kind) && is("source", &sensor.id)
    })?;
    let number = |name: &str| {
        let value = row.get(place(name)?)?.as_f64()?;
        value.is_finite().then_some(value)
    };
    let watts = number("watts")?;
    let drift = f64::max(CACHED_DRIFT_W, CACHED_DRIFT * watts.abs()) / 3f64.sqrt();
    let run = row.get(place("run")?)?.as_str()?;
    Some(Idle {
        watts,
        sd: number("stddev_watts")?,
        u: number("uncertainty_watts")?.hypot(drift),
        window: Window::new(0, 0),
        drift: None,
        warming: None,
        states: Vec::new(),
        cached: Some(Cached {
            age_h: number("age_hours")?.max(0.0),
            run: run.to_owned(),
        }),
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
