//! The ratio of two means, with its interval, and whether it differs from 1.

use lem_record::Interval;
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::analysis::statistics::{LEVEL, interval, mean, stddev};

/// Coverage of the sensors' gain, which is no matter of cycles.
const COVERAGE: f64 = 2.0;

/// The mean of some cycles over the mean of others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    pub value: f64,
    /// Absent where a side has fewer than two cycles, or where the lower mean cannot be told
    /// from 0.
    pub interval: Option<Interval>,
    /// That the means are equal: Welch's test.
    pub p: Option<f64>,
}

/// A mean and the square of its standard error.
struct Side {
    mean: f64,
    variance: f64,
    n: f64,
}

impl Side {
    fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let sd = stddev(values)?;
        Some(Self {
            mean: mean(values)?,
            variance: sd * sd / n,
            n,
        })
    }
}

/// b over a, by Fieller's theorem: all ratios θ that a t-test of mean(b) − θ·mean(a) = 0
/// does not refuse, with the degrees of freedom of Welch and Satterthwaite at the estimate.
/// The two sides are measured apart, so their cycles are independent. `gain` is the
/// relative standard uncertainty of the ratio that repetition does not shrink.
pub fn ratio(a: &[f64], b: &[f64], gain: f64) -> Option<Ratio> {
    let value = mean(b)? / mean(a)?;
    if !value.is_finite() {
        return None;
    }
    let sides = Side::of(a).zip(Side::of(b));
    let spread = sides.as_ref().and_then(|(a, b)| fieller(a, b, value));
    let systematic = COVERAGE * value.abs() * gain;
    Some(Ratio {
        value,
        interval: spread.and_then(|(low, high)| {
            interval(
                value - (value - low).hypot(systematic),
                value + (high - value).hypot(systematic),
            )
        }),
        p: sides.and_then(|(a, b)| welch(&a, &b, b.mean * gain)),
    })
}

fn freedom(a: &Side, b: &Side, theta: f64) -> f64 {
    let (va, vb) = (theta * theta * a.variance, b.variance);
    (va + vb).powi(2) / (va * va / (a.n - 1.0) + vb * vb / (b.n - 1.0))
}

fn fieller(a: &Side, b: &Side, value: f64) -> Option<(f64, f64)> {
    if a.variance == 0.0 && b.variance == 0.0 {
        return Some((value, value));
    }
    let t = StudentsT::new(0.0, 1.0, freedom(a, b, value)).ok()?;
    let t = t.inverse_cdf(0.5 + LEVEL / 2.0);
    let g = t * t * a.variance / (a.mean * a.mean);
    if g >= 1.0 {
        return None;
    }
    let half = t / a.mean.abs()
        * (b.variance + value * value * a.variance - g * b.variance)
            .max(0.0)
            .sqrt();
    // The middle lies beyond the estimate where the lower mean is uncertain.
    Some(((value - half) / (1.0 - g), (value + half) / (1.0 - g)))
}

fn welch(a: &Side, b: &Side, gain: f64) -> Option<f64> {
    let difference = b.mean - a.mean;
    let variance = a.variance + b.variance;
    let u = variance.sqrt().hypot(gain);
    if u == 0.0 {
        return Some(if difference == 0.0 { 1.0 } else { 0.0 });
    }
    let freedom = freedom(a, b, 1.0);
    let t = difference.abs() / u;
    let tail = match StudentsT::new(0.0, 1.0, freedom) {
        Ok(distribution) => distribution.sf(t),
        // Without any scatter there is the gain alone, which is taken for normal.
        Err(_) => statrs::distribution::Normal::standard().sf(t),
    };
    Some((2.0 * tail).min(1.0))
}

/// Benjamini and Hochberg: each p as the least false-discovery rate at which it would be
/// among the discoveries.
pub fn adjusted(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    let of = |i: usize| p.get(i).copied().unwrap_or(1.0);
    order.sort_by(|i, j| of(*j).total_cmp(&of(*i)));
    let n = p.len() as f64;
    let mut adjusted = vec![1.0; p.len()];
    let mut least: f64 = 1.0;
    for (above, index) in order.into_iter().enumerate() {
        let rank = n - above as f64;
        least = least.min(of(index) * n / rank);
        if let Some(slot) = adjusted.get_mut(index) {
            *slot = least;
        }
    }
    adjusted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::{adjusted, ratio};

    #[derive(Deserialize)]
    struct Golden {
        ratios: Vec<Case>,
        p: Vec<f64>,
        adjusted: Vec<f64>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        a: Vec<f64>,
        b: Vec<f64>,
        ratio: f64,
        interval: Option<(f64, f64)>,
        p: f64,
    }

    fn golden() -> Golden {
        let text = include_str!("../../../tests/data/analysis/ratios.json");
        serde_json::from_str(text).unwrap()
    }

    fn near(ours: f64, theirs: f64) -> bool {
        (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1e-3)
    }

    #[test]
    fn ratios_are_those_of_scipy() {
        for case in golden().ratios {
            let ours = ratio(&case.a, &case.b, 0.0).unwrap();
            assert!(near(ours.value, case.ratio), "{}: {ours:?}", case.name);
            assert!(
                near(ours.p.unwrap(), case.p),
                "{}: p {:?}, not {}",
                case.name,
                ours.p,
                case.p
            );
            match (ours.interval, case.interval) {
                (Some(i), Some((low, high))) => {
                    assert!(
                        near(i.low, low) && near(i.high, high),
                        "{}: {i:?}, not {low} {high}",
                        case.name
                    );
                }
                (ours, theirs) => assert!(
                    ours.is_none() && theirs.is_none(),
                    "{}: {ours:?} {theirs:?}",
                    case.name
                ),
            }
        }
    }

    #[test]
    fn adjusted_p_are_those_of_scipy() {
        let golden = golden();
        for (ours, theirs) in adjusted(&golden.p).iter().zip(&golden.adjusted) {
            assert!(near(*ours, *theirs), "{ours} {theirs}");
        }
        assert!(adjusted(&[]).is_empty());
    }

    #[test]
    fn a_single_cycle_has_a_ratio_and_no_interval() {
        let one = ratio(&[2.0], &[3.0, 3.1], 0.0).unwrap();
        assert_eq!((one.value, one.interval, one.p), (1.525, None, None));
        assert_eq!(ratio(&[0.0, 0.0], &[1.0, 1.0], 0.0), None);
        assert_eq!(ratio(&[], &[1.0], 0.0), None);
    }

    #[test]
    fn the_gain_widens_and_never_hides_behind_equal_cycles() {
        let same = ratio(&[100.0; 4], &[110.0; 4], 0.0).unwrap();
        assert_eq!(same.p, Some(0.0));
        assert_eq!(same.interval.map(|i| (i.low, i.high)), Some((1.1, 1.1)));
        let apart = ratio(&[100.0; 4], &[110.0; 4], 0.1).unwrap();
        assert!(apart.interval.unwrap().low < 1.0 && apart.p.unwrap() > 0.05);
    }

    proptest! {
        #[test]
        fn it_scales_and_turns_around(
            a in prop::collection::vec(50.0..150.0f64, 3..12),
            b in prop::collection::vec(50.0..150.0f64, 3..12),
            scale in 0.001..1000.0f64,
        ) {
            let close = |x: f64, y: f64| (x - y).abs() <= 1e-9 * y.abs();
            let plain = ratio(&a, &b, 0.0).unwrap();
            let scaled: Vec<f64> = b.iter().map(|v| v * scale).collect();
            let larger = ratio(&a, &scaled, 0.0).unwrap();
            prop_assert!(close(larger.value, plain.value * scale));
            let turned = ratio(&b, &a, 0.0).unwrap();
            prop_assert!(close(turned.p.unwrap(), plain.p.unwrap()));
            if let (Some(i), Some(l), Some(t)) = (plain.interval, larger.interval, turned.interval) {
                prop_assert!(i.low <= plain.value && plain.value <= i.high);
                prop_assert!(close(l.low, i.low * scale) && close(l.high, i.high * scale));
                prop_assert!(close(t.low, 1.0 / i.high) && close(t.high, 1.0 / i.low), "{t:?} {i:?}");
            }
        }
    }
}
