//! Energy of a cycle: by component, by phase, gross and above idle.

use lem_record::How;

use super::baseline::Baselines;
use super::data::{CycleData, RunData, Window};
use super::estimate::{SensorEnergy, Split, sensor_energy, split};
use super::phases::{self, PhaseWindows};
use super::sensors::{Boundary, Curve, Sensor, word};
use super::sheet::{Obtained, Reading, Sheet, sum};
use super::uncertainty::{Budget, gain};
use crate::meter::Component;

const NO_BASELINE: &str = "no idle baseline was measured; --measure-baseline or measurement.baseline.enabled measures one";

/// What the energy of every cycle is computed from.
#[derive(Debug)]
pub struct Context<'a> {
    pub data: &'a RunData,
    pub sensors: &'a [Sensor],
    pub boundary: &'a Boundary,
    pub baselines: &'a Baselines,
}

/// What is above an idle power: E − B·t. An offset of the sensor cancels, its gain does
/// not; a negative difference stands, because it is information.
fn above(sensor: &Sensor, gross: &Obtained, idle: Option<(f64, f64)>, seconds: f64) -> Obtained {
    let gross = gross.clone()?;
    let (watts, u) = idle.ok_or(NO_BASELINE)?;
    let value = gross.value - watts * seconds;
    let budget = Budget {
        systematic: gain(sensor.gain(), value),
        statistical: gross.budget.map_or(0.0, |b| b.statistical),
        shared: gross.budget.map_or(0.0, |b| b.shared).hypot(u * seconds),
    };
    let mut reading = Reading::new(value, gross.how).budget(budget);
    reading.method = gross
        .method
        .map(|m| format!("{m}, minus idle power times time"));
    Ok(reading)
}

/// A complement keeps its own exactness: what is left when the parts are taken away.
pub fn rest(total: &Obtained, parts: [&Obtained; 2]) -> Obtained {
    let mut left = total.clone()?;
    for part in parts {
        let part = part.clone()?;
        left.value -= part.value;
        left.budget = left.budget.zip(part.budget).map(|(a, b)| Budget {
            systematic: a.systematic.zip(b.systematic).map(|(a, b)| (a - b).abs()),
            ..a.plus(b)
        });
    }
    left.method = Some("total minus prefill and decode".into());
    Ok(left)
}

/// The sum over the sensors of the boundary.
pub fn over<F>(context: &Context<'_>, each: F) -> Obtained
where
    F: FnMut(usize) -> Obtained,
{
    if context.boundary.total.is_empty() {
        return Err(nothing_read(context.sensors));
    }
    sum(context.boundary.total.iter().copied().map(each))
}

fn nothing_read(sensors: &[Sensor]) -> String {
    sensors.iter().find_map(|s| s.trouble.clone()).unwrap_or_else(|| {
        "no power source: neither a sensor nor a model was read; lem env says what this machine has"
            .into()
    })
}

/// A phase that has an energy of its own.
#[derive(Clone, Copy)]
enum Part {
    Prefill,
    Decode,
}

impl Part {
    fn of(self, split: &Split) -> Obtained {
        match self {
            Self::Prefill => split.prefill.clone(),
            Self::Decode => split.decode.clone(),
        }
    }

    fn seconds(self, windows: &PhaseWindows) -> f64 {
        phases::seconds(match self {
            Self::Prefill => &windows.prefill,
            Self::Decode => &windows.decode,
        })
    }
}

/// A phase's energy says by which estimator it was told apart.
fn by_windows(mut energy: Reading) -> Reading {
    let method = energy.method.take().unwrap_or_default();
    energy.method = Some(format!("windows: {method}"));
    energy
}

/// Gross energy of any window, summed over the boundary.
pub fn gross(context: &Context<'_>, window: Window) -> Obtained {
    over(context, |i| of_sensor(context, i, window))
}

/// Energy of any window above the loaded idle power of its middle.
pub fn marginal(context: &Context<'_>, window: Window) -> Obtained {
    over(context, |i| {
        let sensor = context.sensors.get(i).ok_or("there is no such sensor")?;
        let idle = context.baselines.loaded_at(i, window.middle_ns());
        let gross = of_sensor(context, i, window);
        above(sensor, &gross, idle, window.seconds())
    })
}

fn of_sensor(context: &Context<'_>, index: usize, window: Window) -> Obtained {
    let sensor = context
        .sensors
        .get(index)
        .ok_or("there is no such sensor")?;
    Ok(sensor_energy(sensor, window)?.total)
}

/// Fills in a cycle's energy and power.
pub fn put(
    context: &Context<'_>,
    cycle: &CycleData,
    windows: &Result<PhaseWindows, String>,
    sheet: &mut Sheet,
) {
    let window = cycle.window;
    let seconds = window.seconds();
    let energies: Vec<Result<SensorEnergy, String>> = context
        .sensors
        .iter()
        .map(|sensor| sensor_energy(sensor, window))
        .collect();
    let missing = || Err::<Reading, String>("there is no such sensor".into());
    let total_of = |i: usize| match energies.get(i) {
        Some(Ok(energy)) => Ok(energy.total.clone()),
        Some(Err(why)) => Err(why.clone()),
        None => missing(),
    };
    put_components(context, &total_of, sheet);

    let mut total = over(context, total_of);
    if let Ok(total) = &mut total {
        let method = total.method.take().unwrap_or_default();
        total.method = Some(format!("{}: {method}", context.boundary.told));
    }
    let splits: Vec<Split> = context
        .sensors
        .iter()
        .zip(&energies)
        .map(|(sensor, energy)| match (energy, windows) {
            (Ok(energy), Ok(windows)) => split(sensor, energy, window, windows),
            (Err(why), _) | (_, Err(why)) => Split::absent(why),
        })
        .collect();
    let part_of = |i: usize, part: Part| splits.get(i).map_or_else(missing, |s| part.of(s));
    let phase = |part: Part| {
        let energy = over(context, |i| part_of(i, part));
        energy.map(by_windows)
    };
    let prefill = phase(Part::Prefill);
    let decode = phase(Part::Decode);
    let other = rest(&total, [&prefill, &decode]);

    let loaded = |i: usize| context.baselines.loaded_at(i, window.middle_ns());
    let with_sensor = |i: usize, gross: Obtained, idle: Option<(f64, f64)>, t: f64| {
        context
            .sensors
            .get(i)
            .map_or_else(missing, |sensor| above(sensor, &gross, idle, t))
    };
    let corrected = over(context, |i| with_sensor(i, total_of(i), loaded(i), seconds));
    let above_bare = over(context, |i| {
        with_sensor(i, total_of(i), context.baselines.bare_at(i), seconds)
    });
    let phase_corrected = |part: Part| {
        let seconds = windows.as_ref().map_or(0.0, |w| part.seconds(w));
        let energy = over(context, |i| {
            with_sensor(i, part_of(i, part), loaded(i), seconds)
        });
        energy.map(by_windows)
    };
    let prefill_corrected = phase_corrected(Part::Prefill);
    let decode_corrected = phase_corrected(Part::Decode);
    let other_corrected = rest(&corrected, [&prefill_corrected, &decode_corrected]);

    let idle: Obtained = over(context, |i| {
        let (watts, u) = loaded(i).ok_or(NO_BASELINE)?;
        let sensor = context.sensors.get(i);
        let how = sensor.map_or(How::Measured, |s| s.how);
        let budget = Budget {
            systematic: gain(sensor.and_then(Sensor::gain), watts * seconds),
            statistical: 0.0,
            shared: u * seconds,
        };
        Ok(Reading::new(watts * seconds, how)
            .budget(budget)
            .method("loaded-idle power times time"))
    });

    let time = |part: Part| windows.as_ref().map_or(0.0, |w| part.seconds(w));
    let empty = "the cycle has no such phase";
    for (id, energy, part) in [
        ("power.prefill", &prefill, Part::Prefill),
        ("power.decode", &decode, Part::Decode),
    ] {
        sheet.ratio(id, energy.clone(), time(part), empty);
    }
    sheet.ratio(
        "power.mean",
        total.clone(),
        seconds,
        "the cycle has no duration",
    );
    sheet.peak("power.peak", peak_power(context, window));
    sheet.mean("energy.prefill", prefill);
    sheet.mean("energy.decode", decode);
    sheet.mean("energy.other", other);
    sheet.mean("energy.prefill_corrected", prefill_corrected);
    sheet.mean("energy.decode_corrected", decode_corrected);
    sheet.mean("energy.other_corrected", other_corrected);
    sheet.mean(
        "energy.delay_product",
        total.clone().map(|e| e.scaled(seconds)),
    );
    match (&idle, &total) {
        (Ok(idle_energy), Ok(total_energy)) => {
            let mut share = idle_energy.clone();
            let ratio = idle_energy.value / total_energy.value;
            // The gain is common to both and cancels.
            let of_total = total_energy.budget.unwrap_or_default();
            share.budget = idle_energy.budget.map(|idle| Budget {
                systematic: Some(0.0),
                statistical: (of_total.statistical * ratio).abs(),
                shared: idle.shared.hypot(of_total.shared * ratio),
            });
            sheet.ratio(
                "baseline.ratio",
                Ok(share),
                total_energy.value,
                "the energy is not above 0",
            );
        }
        (Err(why), _) | (_, Err(why)) => sheet.mean("baseline.ratio", Err(why.clone())),
    }
    sheet.mean("baseline.energy", idle);
    sheet.mean("energy.total_above_bare", above_bare);
    sheet.mean("energy.total_corrected", corrected);
    sheet.mean("energy.total", total);
    for (sensor, energy) in context.sensors.iter().zip(&energies) {
        if let Ok(SensorEnergy {
            counter: Some(counter),
            integral: Some(integral),
            ..
        }) = energy
            && *counter > 0.0
            // That a formula agrees with itself says nothing.
            && sensor.how == How::Measured
        {
            let integral = Reading::new(*integral, How::Measured);
            sheet.ratio("energy.closure", Ok(integral), *counter, "");
            sheet.with("hw.id", &sensor.id);
        }
    }
    put_gaps(context, window, sheet);
}

fn put_components(context: &Context<'_>, total_of: &dyn Fn(usize) -> Obtained, sheet: &mut Sheet) {
    let ids = [
        (Component::Gpu, "energy.gpu"),
        (Component::Cpu, "energy.cpu"),
        (Component::Memory, "energy.memory"),
    ];
    for (component, id) in ids {
        let chosen = context
            .boundary
            .components
            .iter()
            .find(|(c, _)| *c == component);
        let energy = match chosen {
            Some((_, chosen)) => sum(chosen.iter().map(|i| total_of(*i))),
            None => {
                let of = |s: &&Sensor| s.component == component;
                let trouble = context
                    .sensors
                    .iter()
                    .filter(of)
                    .find_map(|s| s.trouble.clone());
                Err(trouble.unwrap_or_else(|| {
                    format!("no source reads or models the {} here", word(component))
                }))
            }
        };
        sheet.mean(id, energy);
    }
}

/// Highest power of the boundary's sensors together, at any of their samples.
fn peak_power(context: &Context<'_>, window: Window) -> Obtained {
    let curves: Vec<(&Curve, &Sensor)> = context
        .boundary
        .total
        .iter()
        .filter_map(|i| context.sensors.get(*i))
        .filter_map(|s| Some((s.power.as_ref().or(s.counter.as_ref())?, s)))
        .collect();
    let (mut peak, mut peak_at): (Option<f64>, Option<u64>) = (None, None);
    for (curve, sensor) in &curves {
        let windows = sensor.within(window);
        for t in windows.iter().flat_map(|w| curve.curve.times(*w)) {
            let reading = curves.iter().filter(|(_, s)| s.read_at(*t));
            let watts: f64 = reading.map(|(c, _)| c.curve.power_at(*t)).sum();
            if peak.is_none_or(|p| watts > p) {
                (peak, peak_at) = (Some(watts), Some(*t));
            }
        }
    }
    let how = curves
        .iter()
        .map(|(_, s)| s.how)
        .max()
        .unwrap_or(How::Measured);
    // A single sample has no statistics of its own; the gain it shares with all others.
    let counted = |s: &Sensor| peak_at.is_none_or(|t| s.read_at(t));
    let gains = curves
        .iter()
        .filter(|(_, s)| counted(s))
        .filter_map(|(c, s)| {
            let share = peak_at.map_or(0.0, |t| c.curve.power_at(t));
            gain(s.gain(), share)
        });
    let systematic = gains.reduce(|a, b| a + b);
    let budget = Budget {
        systematic,
        ..Budget::default()
    };
    let told = "highest of the samples, components together";
    peak.map(|watts| Reading::new(watts, how).method(told).budget(budget))
        .ok_or_else(|| nothing_read(context.sensors))
}

fn put_gaps(context: &Context<'_>, window: Window, sheet: &mut Sheet) {
    let gap = context
        .sensors
        .iter()
        .filter_map(|s| {
            let curve = &s.power.as_ref().or(s.counter.as_ref())?.curve;
            let gaps = s
                .within(window)
                .into_iter()
                .filter_map(|w| curve.max_gap(w));
            gaps.reduce(f64::max)
        })
        .reduce(f64::max);
    let reading = gap.map(|gap| Reading::new(gap, How::Measured));
    sheet.peak(
        "sampling.max_gap",
        reading.ok_or_else(|| nothing_read(context.sensors)),
    );
}
