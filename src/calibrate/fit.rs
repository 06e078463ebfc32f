//! What a power reading does to a known square wave: how far it lags, how much it smears,
//! how often it is renewed.
//!
//! A reading at time t is modelled as the true power, delayed by d, seen either through the
//! mean of a window W or through a low-pass of time constant τ. The true power is low or high
//! with the load, whose times are known. For each candidate the two levels follow by least
//! squares; the best candidate leaves the least. What phases need of it are the mean and the
//! standard deviation of that smear: the lag is d + W/2 or d + τ, and the deviation W/√12 or τ,
//! told as the window that has it (√12 times as long), so that both shapes read alike.
//!
//! Seen: the sample ring of one H100 is a low-pass of 12 ms after 5 ms, that of another half
//! as much; the averaged field of both is the mean of a second.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::meter::{Kernel, Shape};

/// Stretches of time in which the load ran, seconds, in order.
pub type Busy = [(f64, f64)];

/// A reading of power: seconds, watts.
pub type Read = (f64, f64);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fit {
    pub kernel: Kernel,
    /// Seconds by which the middle of what a reading shows lies before it.
    pub lag_s: f64,
    /// Standard uncertainty of the lag, from fits to parts of the data.
    /// Absent where there are too few readings to tell.
    pub u_lag_s: Option<f64>,
    /// Seconds that a reading averages; of a low-pass: the window of the same standard deviation.
    pub window_s: f64,
    pub u_window_s: Option<f64>,
    /// Seconds between two readings that differ.
    pub update_s: f64,
    pub idle_watts: f64,
    pub busy_watts: f64,
    /// Share of the readings' variance that the model explains.
    pub explained: f64,
}

/// Below this the readings do not follow the load, and nothing may be concluded.
const EXPLAINED_AT_LEAST: f64 = 0.8;

/// Fits to so many parts of the data give the uncertainty.
const PARTS: usize = 5;

const GRID: usize = 20;

#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq)]
pub enum FitError {
    #[error("there are {0} new readings; at least {MIN_READINGS} are needed")]
    TooFew(usize),
    #[error("the readings do not follow the load: it explains {:.0} % of their variance", .0 * 100.0)]
    DoesNotFollow(f64),
}

pub const MIN_READINGS: usize = 20;

/// Only readings that are new: a polled field repeats its last one until it is renewed.
pub fn renewed(polled: &[Read]) -> Vec<Read> {
    let mut new: Vec<Read> = Vec::new();
    let mut last = polled.first().map(|(_, watts)| *watts);
    for (t, watts) in polled.iter().skip(1) {
        if Some(*watts) != last {
            new.push((*t, *watts));
            last = Some(*watts);
        }
    }
    new
}

/// `longest_s` bounds the delay and the window that are looked for.
pub fn fit(readings: &[Read], busy: &Busy, longest_s: f64) -> Result<Fit, FitError> {
    if readings.len() < MIN_READINGS {
        return Err(FitError::TooFew(readings.len()));
    }
    let [window, low_pass] =
        [Shape::Window, Shape::LowPass].map(|shape| search(readings, busy, shape, longest_s));
    let best = if low_pass.explained > window.explained {
        low_pass
    } else {
        window
    };
    if best.explained < EXPLAINED_AT_LEAST {
        return Err(FitError::DoesNotFollow(best.explained.max(0.0)));
    }
    let size = readings.len().div_ceil(PARTS);
    let parts: Vec<Kernel> = readings
        .chunks(size)
        .filter(|part| part.len() >= MIN_READINGS / 2)
        .map(|part| search(part, busy, best.kernel.shape, longest_s).kernel)
        .collect();
    let spread = |of: fn(&Kernel) -> f64| standard_error(&parts.iter().map(of).collect::<Vec<_>>());
    Ok(Fit {
        kernel: best.kernel,
        lag_s: best.kernel.lag_s(),
        u_lag_s: spread(Kernel::lag_s),
        window_s: best.kernel.window_s(),
        u_window_s: spread(Kernel::window_s),
        update_s: median_distance(readings),
        idle_watts: best.idle,
        busy_watts: best.idle + best.rise,
        explained: best.explained,
    })
}

/// One candidate and how well it explains the readings.
#[derive(Clone, Copy, Debug)]
struct Point {
    kernel: Kernel,
    idle: f64,
    rise: f64,
    explained: f64,
}

/// A grid over delay and width, made finer around the best three times.
fn search(readings: &[Read], busy: &Busy, shape: Shape, longest_s: f64) -> Point {
    // Clocks of the driver and of the load differ a little: a small negative delay is looked at.
    let mut delays = (-0.1 * longest_s, longest_s);
    let mut widths = (1e-3, longest_s);
    let mut best = Point {
        kernel: Kernel {
            shape,
            delay_s: 0.0,
            width_s: 1e-3,
        },
        idle: 0.0,
        rise: 0.0,
        explained: f64::NEG_INFINITY,
    };
    for _ in 0..3 {
        for width_s in grid(widths) {
            let seen = Seen::new(busy, shape, width_s);
            for delay_s in grid(delays) {
                let point = explain(readings, &seen, delay_s);
                if point.explained > best.explained {
                    best = point;
                }
            }
        }
        let near = |(low, high): (f64, f64), at: f64, floor: f64| {
            let step = 2.0 * (high - low) / GRID as f64;
            ((at - step).max(floor), at + step)
        };
        delays = near(delays, best.kernel.delay_s, f64::NEG_INFINITY);
        widths = near(widths, best.kernel.width_s, 1e-3);
    }
    best
}

fn grid((low, high): (f64, f64)) -> impl Iterator<Item = f64> {
    (0..=GRID).map(move |i| low + (high - low) * i as f64 / GRID as f64)
}

/// The load as a sensor of this shape shows it: 0 idle, 1 busy.
struct Seen<'a> {
    busy: &'a Busy,
    shape: Shape,
    width_s: f64,
    /// What a low-pass shows at the end of each pulse.
    at_ends: Vec<f64>,
}

impl<'a> Seen<'a> {
    fn new(busy: &'a Busy, shape: Shape, width_s: f64) -> Self {
        let mut at_ends = Vec::new();
        if shape == Shape::LowPass {
            let (mut shown, mut since) = (0.0, f64::NEG_INFINITY);
            for (start, end) in busy {
                shown *= ((since - start) / width_s).exp();
                shown = 1.0 - (1.0 - shown) * ((start - end) / width_s).exp();
                since = *end;
                at_ends.push(shown);
            }
        }
        Self {
            busy,
            shape,
            width_s,
            at_ends,
        }
    }

    fn at(&self, t: f64) -> f64 {
        match self.shape {
            Shape::Window => self.share(t - self.width_s, t),
            Shape::LowPass => self.low_pass(t),
        }
    }

    /// The share of a stretch in which the load ran.
    fn share(&self, from: f64, to: f64) -> f64 {
        let first = self.busy.partition_point(|(_, end)| *end <= from);
        let inside: f64 = self
            .busy
            .iter()
            .skip(first)
            .take_while(|(start, _)| *start < to)
            .map(|(start, end)| end.min(to) - start.max(from))
            .sum();
        inside / (to - from)
    }

    fn low_pass(&self, t: f64) -> f64 {
        let begun = self.busy.partition_point(|(start, _)| *start <= t);
        let Some((start, end)) = begun.checked_sub(1).and_then(|i| self.busy.get(i)) else {
            return 0.0;
        };
        let past = |from: f64, to: f64| ((from - to) / self.width_s).exp();
        if t >= *end {
            return self.at_ends.get(begun - 1).copied().unwrap_or(0.0) * past(*end, t);
        }
        let before = begun.checked_sub(2).and_then(|i| {
            let shown = self.at_ends.get(i)?;
            Some(shown * past(self.busy.get(i)?.1, *start))
        });
        1.0 - (1.0 - before.unwrap_or(0.0)) * past(*start, t)
    }
}

/// Least squares of the readings on what the load looks like through the sensor.
fn explain(readings: &[Read], seen: &Seen<'_>, delay_s: f64) -> Point {
    let n = readings.len() as f64;
    let (mut sx, mut sy, mut sxx, mut sxy, mut syy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (t, watts) in readings {
        let x = seen.at(t - delay_s);
        sx += x;
        sy += watts;
        sxx += x * x;
        sxy += x * watts;
        syy += watts * watts;
    }
    let (vxx, vxy, vyy) = (sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n);
    let rise = if vxx > 0.0 { vxy / vxx } else { 0.0 };
    Point {
        kernel: Kernel {
            shape: seen.shape,
            delay_s,
            width_s: seen.width_s,
        },
        idle: (sy - rise * sx) / n,
        rise,
        explained: if vyy > 0.0 { rise * vxy / vyy } else { 0.0 },
    }
}

fn median_distance(readings: &[Read]) -> f64 {
    let mut gaps: Vec<f64> = readings.windows(2).map(|p| p[1].0 - p[0].0).collect();
    gaps.sort_by(f64::total_cmp);
    gaps.get(gaps.len() / 2).copied().unwrap_or(0.0)
}

fn standard_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;

    fn data(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn pairs(list: &Value, a: usize, b: usize) -> Vec<(f64, f64)> {
        let pair = |row: &Value| (row[a].as_f64().unwrap(), row[b].as_f64().unwrap());
        list.as_array().unwrap().iter().map(pair).collect()
    }

    /// A square wave as a sensor with this delay and width tells it.
    fn told(
        shape: Shape,
        delay_s: f64,
        width_s: f64,
        update_s: f64,
    ) -> (Vec<Read>, Vec<(f64, f64)>) {
        let busy: Vec<_> = (0..40)
            .map(|i| (0.7 * f64::from(i), 0.7 * f64::from(i) + 0.31))
            .collect();
        let n = (25.0 / update_s) as u32;
        let readings = (0..n).map(|i| {
            let t = f64::from(i) * update_s;
            (
                t,
                100.0 + 500.0 * Seen::new(&busy, shape, width_s).at(t - delay_s),
            )
        });
        (readings.collect(), busy.clone())
    }

    #[test]
    fn what_was_put_in_comes_out() {
        for (delay, window, update) in [(0.01, 0.02, 0.02), (0.0, 0.025, 0.1), (0.03, 0.2, 0.05)] {
            let (readings, busy) = told(Shape::Window, delay, window, update);
            let fit = fit(&readings, &busy, 0.5).unwrap();
            assert!((fit.lag_s - delay - window / 2.0).abs() < 0.006, "{fit:?}");
            assert!((fit.window_s - window).abs() < 0.02, "{fit:?}");
            assert!((fit.update_s - update).abs() < 1e-9 && fit.explained > 0.98);
            assert!((fit.busy_watts - 600.0).abs() < 10.0, "{fit:?}");
        }
        for (delay, tau, update) in [(0.005, 0.012, 0.02), (0.0, 0.03, 0.02)] {
            let (readings, busy) = told(Shape::LowPass, delay, tau, update);
            let fit = fit(&readings, &busy, 0.1).unwrap();
            assert_eq!(fit.kernel.shape, Shape::LowPass, "{fit:?}");
            assert!((fit.lag_s - delay - tau).abs() < 0.001, "{fit:?}");
            assert!((fit.window_s - tau * 12f64.sqrt()).abs() < 0.004, "{fit:?}");
        }
    }

    /// A recorded H100: the lag is 10 to 22 ms, the ring has a sample in 20 ms.
    #[test]
    fn the_ring_of_an_h100() {
        let waves = data(include_str!(
            "../../tests/data/power/h100-square-waves.json"
        ));
        for run in waves["runs"].as_array().unwrap().iter().take(2) {
            let readings = pairs(&run["samples"], 0, 1);
            let busy = pairs(&run["busy"], 0, 1);
            let fit = fit(&readings, &busy, 0.1).unwrap();
            assert!((0.010..0.022).contains(&fit.lag_s), "{fit:?}");
            assert!(
                fit.window_s < 0.04 && fit.u_lag_s.unwrap() < 0.005,
                "{fit:?}"
            );
            assert!((0.019..0.021).contains(&fit.update_s), "{fit:?}");
        }
    }

    /// The same board's averaged field: about one second, hence half a second late.
    #[test]
    fn the_averaged_field_of_an_h100() {
        let polled = data(include_str!("../../tests/data/power/h100-polled.json"));
        let slow: Vec<_> = polled["busy"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|b| b[0] == 1.0)
            .collect();
        let busy: Vec<(f64, f64)> = slow
            .iter()
            .map(|b| (b[1].as_f64().unwrap(), b[2].as_f64().unwrap()))
            .collect();
        let (from, to) = (busy[0].0, busy.last().unwrap().1 + 0.3);
        let mut readings = renewed(&pairs(&polled["rows"], 0, 2));
        readings.retain(|(t, _)| (from..to).contains(t));
        let fit = fit(
            &readings
                .iter()
                .map(|(t, w)| (*t, w * 1e-3))
                .collect::<Vec<_>>(),
            &busy,
            2.0,
        )
        .unwrap();
        assert!((0.8..1.2).contains(&fit.window_s), "{fit:?}");
        assert!((0.08..0.13).contains(&fit.update_s), "{fit:?}");
    }

    #[test]
    fn readings_that_do_not_follow_conclude_nothing() {
        let (_, busy) = told(Shape::Window, 0.0, 0.02, 0.02);
        let flat: Vec<Read> = (0..500)
            .map(|i| (f64::from(i) * 0.02, 100.0 + f64::from(i * 7919 % 31)))
            .collect();
        assert!(matches!(
            fit(&flat, &busy, 0.1),
            Err(FitError::DoesNotFollow(_))
        ));
        assert_eq!(fit(&flat[..5], &busy, 0.1), Err(FitError::TooFew(5)));
    }
}
