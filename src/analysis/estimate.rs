//! Energy of one sensor, of a window and of a phase's windows: which of its counter and its
//! power samples is taken, and how uncertain that is.

use lem_record::How;

use super::data::Window;
use super::phases;
use super::sensors::{Curve, Sensor};
use super::sheet::{Obtained, Reading};
use super::statistics;
use super::uncertainty::{Budget, counter_edges, effective_samples, gain, sampling};

/// A counter is taken for a window of at least so many of its updates (its edges are then
/// off by 2 % at most); below, sampled power where there is any.
const UPDATES_FOR_COUNTER: f64 = 20.0;

/// Energy of one sensor in a window.
pub struct SensorEnergy {
    pub total: Reading,
    /// Joules that the counter, and the integral of power, gave.
    pub counter: Option<f64>,
    pub integral: Option<f64>,
}

/// Seconds between two values of a sensor that say something new, as sampled in this window.
pub fn update_s(curve: &Curve, window: Window) -> f64 {
    let spacing = curve.curve.spacing(window).unwrap_or(0.0);
    spacing.max(curve.spec.update_s.unwrap_or(0.0))
}

/// Seconds between two steps of a counter that is read at the window's edges: its own
/// update period, however rarely it is read between them; where that is not known, the
/// time between two readings.
pub fn step_s(curve: &Curve, window: Window) -> f64 {
    curve
        .spec
        .update_s
        .or_else(|| curve.curve.spacing(window))
        .unwrap_or(0.0)
}

/// A window as the sensor sees it: later by its lag.
fn seen(curve: &Curve, window: Window) -> Window {
    let lag_ns = (curve.spec.lag_s.unwrap_or(0.0).clamp(0.0, 10.0) * 1e9) as u64;
    Window::new(
        window.start_ns.saturating_add(lag_ns),
        window.end_ns.saturating_add(lag_ns),
    )
}

fn counted(sensor: &Sensor, window: Window) -> Result<(&Curve, f64), String> {
    let curve = sensor.counter.as_ref().ok_or("it has no counter")?;
    curve.curve.covers(window)?;
    Ok((curve, curve.curve.between(window)))
}

fn integrated(sensor: &Sensor, window: Window) -> Result<(&Curve, f64), String> {
    let curve = sensor.power.as_ref().ok_or("it has no power samples")?;
    curve.curve.covers(window)?;
    Ok((curve, curve.curve.between(seen(curve, window))))
}

/// Whether a counter says more of a window than the power samples beside it: it was read
/// nearly as often (a counter misses nothing between its readings), or the window is so
/// long that the counter's edges do not matter.
fn counter_is_better(counter: &Curve, power: &Curve, window: Window) -> bool {
    as_fine(counter, power, window)
        || window.seconds() >= UPDATES_FOR_COUNTER * step_s(counter, window)
}

fn as_fine(counter: &Curve, power: &Curve, window: Window) -> bool {
    let spacing = |curve: &Curve| curve.curve.spacing(window).unwrap_or(f64::INFINITY);
    spacing(counter) <= 1.5 * spacing(power)
}

pub fn sensor_energy(sensor: &Sensor, window: Window) -> Result<SensorEnergy, String> {
    let (counter, integral) = (counted(sensor, window), integrated(sensor, window));
    let total = match (&counter, &integral) {
        (Ok((counter, joules)), Ok((power, _))) if counter_is_better(counter, power, window) => {
            by_counter(sensor, counter, *joules, window)
        }
        (Ok((counter, joules)), Err(_)) => by_counter(sensor, counter, *joules, window),
        (_, Ok((power, joules))) => {
            let u = sampling_of(power, &[window]);
            reading(sensor, *joules, u, "integral of power samples")
        }
        (Err(why), Err(also)) => {
            let why = if sensor.power.is_some() { also } else { why };
            let why = sensor.trouble.as_ref().unwrap_or(why);
            return Err(format!(
                "{} was not read in the whole cycle: {why}",
                sensor.id
            ));
        }
    };
    Ok(SensorEnergy {
        total,
        counter: counter.ok().map(|(_, joules)| joules),
        integral: integral.ok().map(|(_, joules)| joules),
    })
}

fn by_counter(sensor: &Sensor, counter: &Curve, joules: f64, window: Window) -> Reading {
    let watts = joules / window.seconds();
    let step = counter.spec.resolution_j.unwrap_or(0.0);
    let edges = counter_edges(watts, step_s(counter, window), step);
    reading(sensor, joules, edges, "energy counter")
}

fn reading(sensor: &Sensor, joules: f64, statistical: f64, estimator: &str) -> Reading {
    let method = match sensor.how {
        How::Measured => format!("{estimator} ({})", sensor.method),
        _ => sensor.method.clone(),
    };
    let budget = Budget {
        systematic: gain(sensor.gain(), joules),
        statistical,
        shared: 0.0,
    };
    Reading::new(joules, sensor.how)
        .method(method)
        .budget(budget)
}

/// The sampling uncertainty of the windows together, joules.
fn sampling_of(curve: &Curve, windows: &[Window]) -> f64 {
    let powers: Vec<f64> = windows
        .iter()
        .flat_map(|w| curve.curve.powers(seen(curve, *w)))
        .collect();
    let sd = statistics::stddev(&powers).unwrap_or(0.0);
    let update = windows
        .first()
        .map_or(0.0, |window| update_s(curve, *window));
    sampling(
        sd,
        curve.spec.window_s.unwrap_or(0.0),
        update,
        effective_samples(&powers),
        phases::seconds(windows),
    )
}

/// Energy of one sensor in the windows of a phase: the shape comes from the finer series,
/// the amount from what the total came from, so that the phases sum to it.
pub fn phase_energy(
    sensor: &Sensor,
    energy: &SensorEnergy,
    cycle: Window,
    windows: &[Window],
    what: &str,
) -> Obtained {
    let power = sensor.power.as_ref().zip(energy.integral);
    let counter = sensor.counter.as_ref().zip(energy.counter);
    let by_counter = match (&counter, &power) {
        (Some((counter, _)), Some((power, _))) => as_fine(counter, power, cycle),
        (counter, _) => counter.is_some(),
    };
    let shape = if by_counter { counter } else { power };
    let (curve, whole) = shape.ok_or_else(|| format!("{} was not read", sensor.id))?;
    let update = update_s(curve, cycle);
    let place = |window: Window| {
        if by_counter {
            window
        } else {
            seen(curve, window)
        }
    };
    if sensor.how == How::Measured {
        let blur = if by_counter {
            None
        } else {
            curve.spec.window_s
        };
        phases::resolvable(windows, update.max(blur.unwrap_or(0.0)), what, &sensor.id)?;
    }
    let joules: f64 = windows.iter().map(|w| curve.curve.between(place(*w))).sum();
    let scale = if whole > 0.0 {
        energy.total.value / whole
    } else {
        1.0
    };
    let joules = joules * scale;
    let (statistical, estimator) = if by_counter {
        let watts = joules / phases::seconds(windows).max(f64::MIN_POSITIVE);
        let step = curve.spec.resolution_j.unwrap_or(0.0);
        let edges = counter_edges(watts, update, step) * (windows.len() as f64).sqrt();
        (edges, "energy counter interpolated at the phase's edges")
    } else if scale == 1.0 {
        let told = "power samples in the phase's windows";
        (sampling_of(curve, windows), told)
    } else {
        let told = "power samples in the phase's windows, scaled to the energy counter";
        (sampling_of(curve, windows), told)
    };
    let statistical = if windows.is_empty() { 0.0 } else { statistical };
    let mut told = reading(sensor, joules, statistical, estimator);
    if sensor.how != How::Measured {
        told.reason =
            Some("modelled: the formula follows the load, no sensor saw the phase".into());
    }
    Ok(told)
}
