//! Means, spreads, percentiles and confidence intervals.

use lem_record::Interval;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Confidence level of every interval.
pub const LEVEL: f64 = 0.95;
/// From so many cycles on the bootstrap is better than Student's t.
pub const BOOTSTRAP_FROM: usize = 15;
/// With so many cycles the mean is normal enough for Student's t, and resampling them slow.
pub const BOOTSTRAP_TO: usize = 200;
const RESAMPLES: usize = 10_000;
/// Fixed, so that a result rebuilt from its log is the same.
const SEED: u64 = 0x6c65_6d00;

pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard deviation of a sample (n − 1).
pub fn stddev(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() >= 2)?;
    let sum: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((sum / (values.len() - 1) as f64).sqrt())
}

/// Coefficient of variation: the standard deviation over the mean's amount.
pub fn cv(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|m| *m != 0.0)?;
    Some(stddev(values)? / mean.abs())
}

/// Percentile of sorted values by linear interpolation, as numpy's default method;
/// `q` from 0 to 1.
pub fn percentile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q.clamp(0.0, 1.0) * last as f64;
    let below = (at.floor() as usize).min(last);
    let (a, b) = (*sorted.get(below)?, *sorted.get((below + 1).min(last))?);
    let share = at - below as f64;
    // From the nearer side, so that the ends are exact.
    let value = if share < 0.5 {
        a + (b - a) * share
    } else {
        b - (b - a) * (1.0 - share)
    };
    Some(value.clamp(a.min(b), a.max(b)))
}

/// Quantile of Student's t with `freedom` degrees of freedom at the two-sided [`LEVEL`].
pub fn t_quantile(freedom: usize) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, freedom as f64).ok()?;
    Some(t.inverse_cdf(0.5 + LEVEL / 2.0))
}

/// Cycles as pairs: a quantity is Σ numerators over Σ denominators (a mean has
/// denominators of 1), so that a mean and a ratio are one thing.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    pub num: Vec<f64>,
    pub den: Vec<f64>,
}

impl Pairs {
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let (num, den) = pairs.into_iter().unzip();
        Self { num, den }
    }

    pub fn len(&self) -> usize {
        self.num.len()
    }

    pub fn is_empty(&self) -> bool {
        self.num.is_empty()
    }

    pub fn value(&self) -> Option<f64> {
        ratio(self.num.iter().sum(), self.den.iter().sum())
    }

    /// Standard error of the value by the delta method: s/√n of the residuals
    /// (num − R·den)/mean(den); for a mean the usual s/√n.
    pub fn standard_error(&self) -> Option<f64> {
        let value = self.value().filter(|_| self.len() >= 2)?;
        let scale = mean(&self.den)?;
        let residuals: Vec<f64> = self
            .num
            .iter()
            .zip(&self.den)
            .map(|(num, den)| (num - value * den) / scale)
            .collect();
        Some(stddev(&residuals)? / (self.len() as f64).sqrt())
    }

    /// The interval over cycles: Student's t under 15 and above 200, BCa bootstrap between.
    pub fn interval(&self) -> Option<Interval> {
        if (BOOTSTRAP_FROM..=BOOTSTRAP_TO).contains(&self.len()) {
            return self.bca();
        }
        let (value, se) = (self.value()?, self.standard_error()?);
        let half = t_quantile(self.len() - 1)? * se;
        interval(value - half, value + half)
    }

    /// Bias-corrected and accelerated bootstrap (Efron 1987), 10,000 resamples of whole
    /// cycles, seeded.
    pub fn bca(&self) -> Option<Interval> {
        let (value, n) = (self.value()?, self.len());
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let mut estimates = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            let (mut num, mut den) = (0.0, 0.0);
            for _ in 0..n {
                let i = rng.random_range(0..n);
                num += self.num.get(i)?;
                den += self.den.get(i)?;
            }
            estimates.extend(ratio(num, den));
        }
        estimates.sort_by(f64::total_cmp);
        bca_of(&estimates, value, self.acceleration()?)
    }

    /// a = Σd³ / (6·(Σd²)^1.5) of the jackknife deviations; 0 where all cycles are equal.
    pub fn acceleration(&self) -> Option<f64> {
        let (num, den): (f64, f64) = (self.num.iter().sum(), self.den.iter().sum());
        let left_out: Vec<f64> = self
            .num
            .iter()
            .zip(&self.den)
            .filter_map(|(n, d)| ratio(num - n, den - d))
            .collect();
        let mean = mean(&left_out)?;
        let (mut squares, mut cubes) = (0.0, 0.0);
        for estimate in left_out {
            let d = mean - estimate;
            squares += d * d;
            cubes += d * d * d;
        }
        let scale: f64 = 6.0 * f64::powf(squares, 1.5);
        Some(if scale > 0.0 { cubes / scale } else { 0.0 })
    }
}

/// The BCa interval from the sorted estimates of resamples, the value itself and the
/// acceleration.
pub fn bca_of(estimates: &[f64], value: f64, a: f64) -> Option<Interval> {
    let total = estimates.len() as f64;
    let below = estimates.partition_point(|e| *e < value) as f64;
    let equal = estimates.partition_point(|e| *e <= value) as f64 - below;
    let normal = Normal::standard();
    // Ties count half, so that equal cycles have no bias.
    let share = ((below + equal / 2.0) / total).clamp(0.5 / total, 1.0 - 0.5 / total);
    let z0 = normal.inverse_cdf(share);
    let corrected = |p: f64| {
        let z = z0 + normal.inverse_cdf(p);
        normal.cdf(z0 + z / (1.0 - a * z))
    };
    let tail = (1.0 - LEVEL) / 2.0;
    let low = percentile(estimates, corrected(tail))?;
    let high = percentile(estimates, corrected(1.0 - tail))?;
    interval(low, high)
}

fn ratio(num: f64, den: f64) -> Option<f64> {
    let value = num / den;
    value.is_finite().then_some(value)
}

pub fn interval(low: f64, high: f64) -> Option<Interval> {
    (low.is_finite() && high.is_finite()).then_some(Interval {
        low,
        high,
        level: LEVEL,
    })
}
