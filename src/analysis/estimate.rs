//! Energy of one sensor, of a window and of a phase's windows: which of its counter and its
//! power samples is taken, and how uncertain that is.

use lem_record::How;

use super::blur::{Blur, Carried};
use super::data::Window;
use super::deconvolve::{self, Calibrated, Share};
use super::phases::{self, PhaseWindows};
use super::sensors::{Curve, Sensor};
use super::sheet::{Obtained, Reading, sum};
use super::statistics;
use super::uncertainty::{Budget, counter_edges, effective_samples, gain, sampling};
use crate::engine::Phase;

/// A counter is taken for a window of at least so many of its updates (its edges are then
/// off by 2 % at most); below, sampled power where there is any.
const UPDATES_FOR_COUNTER: f64 = 20.0;

/// Energy of one sensor in a window.
#[derive(Clone, Debug)]
pub struct SensorEnergy {
    pub total: Reading,
    /// The total is that of the counter.
    pub counted: bool,
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
pub fn seen(curve: &Curve, window: Window) -> Window {
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

/// A device that was read only while its processes worked has the energy of those times.
pub fn sensor_energy(sensor: &Sensor, window: Window) -> Result<SensorEnergy, String> {
    if sensor.read_in.is_none() {
        return energy_within(sensor, window);
    }
    let mut whole = SensorEnergy {
        total: reading(sensor, 0.0, 0.0, "not in use"),
        counted: true,
        counter: None,
        integral: None,
    };
    for (n, part) in sensor.within(window).into_iter().enumerate() {
        let energy = energy_within(sensor, part)?;
        if n == 0 {
            whole = energy;
            continue;
        }
        let added = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b);
        whole.total = sum([Ok(whole.total), Ok(energy.total)])?;
        whole.counted &= energy.counted;
        whole.counter = added(whole.counter, energy.counter);
        whole.integral = added(whole.integral, energy.integral);
    }
    Ok(whole)
}

fn energy_within(sensor: &Sensor, window: Window) -> Result<SensorEnergy, String> {
    let (counter, integral) = (counted(sensor, window), integrated(sensor, window));
    let (counted, total) = match (&counter, &integral) {
        (Ok((counter, joules)), Ok((power, _))) if counter_is_better(counter, power, window) => {
            (true, by_counter(sensor, counter, *joules, window))
        }
        (Ok((counter, joules)), Err(_)) => (true, by_counter(sensor, counter, *joules, window)),
        (_, Ok((power, joules))) => {
            let u = sampling_of(power, &[window]);
            (
                false,
                reading(sensor, *joules, u, "integral of power samples"),
            )
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
        counted,
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

/// Energy of one sensor in the windows of the two phases.
#[derive(Clone, Debug)]
pub struct Split {
    pub prefill: Obtained,
    pub decode: Obtained,
}

impl Split {
    pub fn absent(why: &str) -> Self {
        Self {
            prefill: Err(why.into()),
            decode: Err(why.into()),
        }
    }
}

/// A lag that is known is known to a quarter of the time between two readings; one that is
/// not known lies between none and a whole one. Half-widths, in updates.
const LAG_KNOWN: f64 = 0.25;
const LAG_UNKNOWN: f64 = 0.5;
/// What is given back at the edges is as exact as what is known of the sensor's average.
const CARRIED_RELATIVE: f64 = 1.0 / 3.0;

/// Energy of one sensor in the windows of the phases.
pub fn split(
    sensor: &Sensor,
    energy: &SensorEnergy,
    cycle: Window,
    phases: &PhaseWindows,
) -> Split {
    let named = [
        (Phase::Prefill.as_str(), phases.prefill.as_slice()),
        (Phase::Decode.as_str(), phases.decode.as_slice()),
    ];
    let mut energies = phase_energies(sensor, energy, cycle, &named).into_iter();
    let mut next = || {
        energies
            .next()
            .unwrap_or_else(|| Err("it was not computed".into()))
    };
    Split {
        prefill: next(),
        decode: next(),
    }
}

/// Energy of one sensor in the windows of one phase, whatever the others are; the windows are
/// in order and disjoint. `cuts_ns` are other times at which the load may have changed.
pub fn phase_energy(
    sensor: &Sensor,
    energy: &SensorEnergy,
    cycle: Window,
    windows: &[Window],
    cuts_ns: &[u64],
    what: &str,
) -> Obtained {
    let phases = [(what, windows)];
    let found = phase_energies_cut(sensor, energy, cycle, &phases, cuts_ns).pop();
    found.unwrap_or_else(|| Err("it was not computed".into()))
}

/// Energy of one sensor in the windows of phases that are disjoint, each by its name: the shape
/// comes from the finer series, seen at its lag and with what it carried over the phases' edges
/// given back; the amount from what the total came from, so that the phases and what is left of
/// the cycle sum to it.
pub fn phase_energies(
    sensor: &Sensor,
    energy: &SensorEnergy,
    cycle: Window,
    phases: &[(&str, &[Window])],
) -> Vec<Obtained> {
    phase_energies_cut(sensor, energy, cycle, phases, &[])
}

/// As [`phase_energies`]; `cuts_ns` are other times at which the load may have changed.
fn phase_energies_cut(
    sensor: &Sensor,
    energy: &SensorEnergy,
    cycle: Window,
    phases: &[(&str, &[Window])],
    cuts_ns: &[u64],
) -> Vec<Obtained> {
    match Shape::of(sensor, energy, cycle, phases, cuts_ns) {
        Ok(shape) => phases
            .iter()
            .zip(&shape.carried)
            .map(|((name, windows), carried)| shape.energy(name, windows, carried))
            .collect(),
        Err(why) => phases.iter().map(|_| Err(why.clone())).collect(),
    }
}

/// The cycle laid out with its phases, by their place, and what is left of it, in order of time
/// and without gaps.
fn tiles(cycle: Window, named: &[(&str, &[Window])]) -> Vec<(Option<usize>, Window)> {
    let mut tiles = Vec::new();
    let mut left = vec![cycle];
    for (place, (_, windows)) in named.iter().enumerate() {
        let inside = windows.iter().filter_map(|window| window.clip(&cycle));
        tiles.extend(inside.map(|window| (Some(place), window)));
        left = phases::without(left, windows);
    }
    tiles.extend(left.into_iter().map(|window| (None, window)));
    tiles.sort_unstable_by_key(|(_, window)| *window);
    tiles
}

/// When the load may have changed: at the edges of the cycle, of the phases, and at the cuts.
fn edges_ns(cycle: Window, named: &[(&str, &[Window])], cuts_ns: &[u64]) -> Vec<u64> {
    let windows = named.iter().flat_map(|(_, windows)| windows.iter());
    let mut edges: Vec<u64> = windows
        .flat_map(|w| [w.start_ns, w.end_ns])
        .chain(cuts_ns.iter().copied())
        .filter(|t| (cycle.start_ns..cycle.end_ns).contains(t))
        .chain([cycle.start_ns, cycle.end_ns])
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

/// The series that tells how a cycle's energy lies over its phases.
struct Shape<'a> {
    sensor: &'a Sensor,
    curve: &'a Curve,
    by_counter: bool,
    /// The amount over the shape's own.
    scale: f64,
    counted: bool,
    update_s: f64,
    /// One a phase.
    carried: Vec<Carried>,
    /// Where the sensor was calibrated.
    calibrated: Option<Calibrated>,
}

impl<'a> Shape<'a> {
    fn of(
        sensor: &'a Sensor,
        energy: &SensorEnergy,
        cycle: Window,
        phases: &[(&str, &[Window])],
        cuts_ns: &[u64],
    ) -> Result<Self, String> {
        let power = sensor.power.as_ref().zip(energy.integral);
        let counter = sensor.counter.as_ref().zip(energy.counter);
        let by_counter = match (&counter, &power) {
            (Some((counter, _)), Some((power, _))) => as_fine(counter, power, cycle),
            (counter, _) => counter.is_some(),
        };
        let shape = if by_counter { counter } else { power };
        let (curve, mut whole) = shape.ok_or_else(|| format!("{} was not read", sensor.id))?;
        let update_s = update_s(curve, cycle);
        let mut carried = vec![Carried::default(); phases.len()];
        if sensor.how == How::Measured {
            let place = |window: Window| {
                if by_counter {
                    window
                } else {
                    seen(curve, window)
                }
            };
            let blur = Blur::of(&curve.curve, place(cycle), curve.spec.window_s, update_s);
            let mut tiles = tiles(cycle, phases);
            tiles.retain(|(_, tile)| tile.len_ns() > blur.shortest_ns());
            let places: Vec<Window> = tiles.iter().map(|(_, tile)| place(*tile)).collect();
            let edges = blur.edges(&curve.curve, &places);
            for (phase, sum) in carried.iter_mut().enumerate() {
                *sum = blur.carried(&edges, |i| {
                    tiles.get(i).is_some_and(|(p, _)| *p == Some(phase))
                });
            }
            // A counter is read at the cycle's edges: nothing is carried over those.
            if let Some((first, last)) = edges.first().zip(edges.last()).filter(|_| !by_counter) {
                whole += (first.step() - last.step()) * blur.carried_s();
            }
        }
        let calibrated = Some(&curve.spec)
            .filter(|_| sensor.how == How::Measured && !by_counter)
            .and_then(|spec| spec.kernel)
            .and_then(|kernel| {
                let edges = edges_ns(cycle, phases, cuts_ns);
                Calibrated::of(&curve.curve, &kernel, &edges, update_s)
            });
        if let Some(calibrated) = &calibrated {
            whole = calibrated.energy(&[cycle]).joules;
        }
        let scale = if whole > 0.0 {
            energy.total.value / whole
        } else {
            1.0
        };
        Ok(Self {
            sensor,
            curve,
            by_counter,
            scale,
            counted: energy.counted,
            update_s,
            carried,
            calibrated,
        })
    }

    fn energy(&self, phase: &str, windows: &[Window], carried: &Carried) -> Obtained {
        let (sensor, curve) = (self.sensor, &self.curve.curve);
        let measured = sensor.how == How::Measured;
        if let Some((calibrated, kernel)) = self.calibrated.as_ref().zip(self.curve.spec.kernel) {
            let shortest_s = deconvolve::shortest_s(&kernel, self.update_s);
            phases::resolvable_from(windows, shortest_s, phase, &sensor.id)?;
            return Ok(self.deconvolved(calibrated.energy(windows), windows));
        }
        if measured {
            let window_s = self.curve.spec.window_s.filter(|_| !self.by_counter);
            let apart_s = self.update_s.max(window_s.unwrap_or(0.0));
            phases::resolvable(windows, apart_s, phase, &sensor.id)?;
        }
        let place = |window: &Window| {
            if self.by_counter {
                *window
            } else {
                seen(self.curve, *window)
            }
        };
        let plain: f64 = windows.iter().map(|w| curve.between(place(w))).sum();
        let joules = (plain + carried.joules) * self.scale;
        let (statistical, estimator) = if self.by_counter {
            let watts = joules / phases::seconds(windows).max(f64::MIN_POSITIVE);
            let step = self.curve.spec.resolution_j.unwrap_or(0.0);
            let edges = counter_edges(watts, self.update_s, step) * (windows.len() as f64).sqrt();
            (edges, "energy counter interpolated at the phase's edges")
        } else if self.counted {
            let told = "power samples in the phase's windows, scaled to the energy counter";
            (sampling_of(self.curve, windows), told)
        } else {
            let told = "power samples in the phase's windows";
            (sampling_of(self.curve, windows), told)
        };
        let statistical = if windows.is_empty() { 0.0 } else { statistical };
        let mut told = reading(
            sensor,
            joules,
            statistical.hypot(carried.random_j),
            estimator,
        );
        if measured {
            if let Some(budget) = &mut told.budget {
                budget.shared = self.common(joules, carried);
            }
        } else {
            told.reason =
                Some("modelled: the formula follows the load, no sensor saw the phase".into());
        }
        Ok(told)
    }

    fn deconvolved(&self, share: Share, windows: &[Window]) -> Reading {
        let joules = share.joules * self.scale;
        // What no reading saw is as open as without a calibration.
        let unseen = if windows.is_empty() {
            0.0
        } else {
            sampling_of(self.curve, windows)
        };
        let mut told = reading(
            self.sensor,
            joules,
            share.random_j.hypot(unseen),
            "power samples in the phase's windows, through the calibrated sensor",
        );
        if let Some(budget) = &mut told.budget {
            budget.shared = share
                .common_j
                .hypot((self.scale - 1.0) * joules / 3f64.sqrt());
        }
        told
    }

    /// What is wrong in all windows alike: the lag, what is given back, the scale.
    fn common(&self, joules: f64, carried: &Carried) -> f64 {
        let lag = match self.curve.spec.lag_s {
            _ if self.by_counter => 0.0,
            Some(_) => LAG_KNOWN,
            None => LAG_UNKNOWN,
        };
        let lag = carried.per_lag_w * lag * self.update_s / 3f64.sqrt();
        let given = carried.joules * CARRIED_RELATIVE;
        let scale = (self.scale - 1.0) * joules / 3f64.sqrt();
        lag.hypot(given).hypot(scale)
    }
}
