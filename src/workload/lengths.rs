//! Numbers of tokens: fixed, or drawn.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::config::{Distribution, Length};

/// Fewer than one draw in a billion would fall into the range: a mistake, not a wish.
const LEAST_SHARE: f64 = 1e-9;

/// `count` lengths; the error says what is wrong with the distribution.
///
/// Drawing again what falls outside a range is the same as drawing from the
/// distribution cut to the range, and that is done here by inverting its cumulative
/// function: one draw a length, however narrow the range.
pub(super) fn draw(
    length: &Length,
    count: usize,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<u32>, String> {
    let one = Draw::new(length)?;
    Ok((0..count).map(|_| one.next(rng)).collect())
}

enum Draw {
    Uniform { min: u32, max: u32 },
    Cut(Cut),
}

/// A normal distribution cut to a range, then perhaps raised to the power of e.
struct Cut {
    standard: Normal,
    mu: f64,
    sigma: f64,
    logarithmic: bool,
    /// The range's bounds in standard deviations from the mean, as probabilities; of
    /// the mirrored distribution where the range lies above the mean, since near 1 the
    /// digits run out.
    low: f64,
    high: f64,
    mirrored: bool,
    min: u32,
    max: u32,
}

impl Draw {
    fn new(length: &Length) -> Result<Self, String> {
        match *length {
            Length::Fixed(n) => Ok(Self::Uniform { min: n, max: n }),
            Length::Drawn(Distribution::Uniform { min, max }) => {
                ordered(min, max)?;
                Ok(Self::Uniform { min, max })
            }
            Length::Drawn(Distribution::Normal {
                mean,
                stddev,
                min,
                max,
            }) => {
                ordered(min, max)?;
                moments(mean, stddev)?;
                if stddev == 0.0 {
                    return constant(mean, min, max);
                }
                Cut::new(mean, stddev, false, min, max).map(Self::Cut)
            }
            Length::Drawn(Distribution::Lognormal {
                mean,
                stddev,
                min,
                max,
            }) => {
                ordered(min, max)?;
                moments(mean, stddev)?;
                if mean <= 0.0 {
                    return Err(format!(
                        "the mean of a lognormal distribution is above 0, not {mean}"
                    ));
                }
                if stddev == 0.0 {
                    return constant(mean, min, max);
                }
                // of the logarithm, from those of the length itself
                let variance = (stddev / mean).powi(2).ln_1p();
                let mu = mean.ln() - variance / 2.0;
                Cut::new(mu, variance.sqrt(), true, min, max).map(Self::Cut)
            }
        }
    }

    fn next(&self, rng: &mut ChaCha8Rng) -> u32 {
        match self {
            Self::Uniform { min, max } => rng.random_range(*min..=*max),
            Self::Cut(cut) => cut.next(rng),
        }
    }
}

impl Cut {
    fn new(mu: f64, sigma: f64, logarithmic: bool, min: u32, max: u32) -> Result<Self, String> {
        let standard = Normal::standard();
        // what rounds to min begins half below it, what rounds to max ends half above
        let deviation = |bound: f64| {
            let bound = if logarithmic {
                bound.max(0.0).ln()
            } else {
                bound
            };
            (bound - mu) / sigma
        };
        let (low, high) = (
            deviation(f64::from(min) - 0.5),
            deviation(f64::from(max) + 0.5),
        );
        let mirrored = low > 0.0;
        let (low, high) = if mirrored { (-high, -low) } else { (low, high) };
        let (low, high) = (standard.cdf(low), standard.cdf(high));
        let share = high - low;
        if share.is_nan() || share < LEAST_SHARE {
            return Err(format!(
                "its range {min} to {max} is so far from its mean that nothing falls into it"
            ));
        }
        Ok(Self {
            standard,
            mu,
            sigma,
            logarithmic,
            low,
            high,
            mirrored,
            min,
            max,
        })
    }

    fn next(&self, rng: &mut ChaCha8Rng) -> u32 {
        let share: f64 = rng.random();
        let z = self
            .standard
            .inverse_cdf(self.low + share * (self.high - self.low));
        let z = if self.mirrored { -z } else { z };
        let x = self.mu + self.sigma * z;
        let x = if self.logarithmic { x.exp() } else { x };
        // the cast saturates, and the last digit of the inversion may lie outside
        (x.round() as u32).clamp(self.min, self.max)
    }
}

fn ordered(min: u32, max: u32) -> Result<(), String> {
    if min <= max {
        Ok(())
    } else {
        Err(format!("its min {min} is above its max {max}"))
    }
}

fn moments(mean: f64, stddev: f64) -> Result<(), String> {
    if !mean.is_finite() {
        return Err(format!("its mean is {mean}"));
    }
    if !stddev.is_finite() || stddev < 0.0 {
        return Err(format!("its stddev is {stddev}"));
    }
    Ok(())
}

fn constant(mean: f64, min: u32, max: u32) -> Result<Draw, String> {
    let n = mean.round() as u32;
    if mean.round() < f64::from(min) || mean.round() > f64::from(max) {
        return Err(format!(
            "its mean {mean} lies outside its range {min} to {max}, and its stddev is 0"
        ));
    }
    Ok(Draw::Uniform { min: n, max: n })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::Rng;

    use super::super::seed::{Purpose, rng};
    use super::draw;
    use crate::config::{Distribution, Length};

    fn drawn(distribution: Distribution, count: usize, seed: u64) -> Result<Vec<u32>, String> {
        draw(
            &Length::Drawn(distribution),
            count,
            &mut rng(seed, Purpose::InputLengths),
        )
    }

    fn mean_and_stddev(values: &[u32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = values
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>();
        (mean, (square / (n - 1.0)).sqrt())
    }

    #[test]
    fn a_fixed_length_is_that_length() {
        let lengths = draw(&Length::Fixed(7), 3, &mut rng(1, Purpose::InputLengths)).unwrap();
        assert_eq!(lengths, [7, 7, 7]);
    }

    #[test]
    fn mean_and_stddev_are_those_of_the_length_itself() {
        let (mean, stddev, min, max) = (500.0, 200.0, 0, 1_000_000);
        for distribution in [
            Distribution::Normal {
                mean: 5000.0,
                stddev,
                min,
                max,
            },
            Distribution::Lognormal {
                mean,
                stddev,
                min,
                max,
            },
        ] {
            let expected = match distribution {
                Distribution::Normal { mean, .. } => mean,
                _ => mean,
            };
            let (m, s) = mean_and_stddev(&drawn(distribution, 40_000, 7).unwrap());
            // four standard errors: of the mean 4·200/√40000, of the stddev generously
            assert!((m - expected).abs() < 4.0, "{m}");
            assert!((s - 200.0).abs() < 8.0, "{s}");
        }
    }

    /// The definition, taken literally: Box-Muller, rounded, drawn again outside.
    #[test]
    fn a_cut_distribution_is_the_same_as_drawing_again() {
        for (mean, stddev, min, max) in
            [(20.0, 10.0, 15, 60), (5.0, 3.0, 8, 12), (50.0, 20.0, 1, 30)]
        {
            let n = 40_000;
            let ours = drawn(
                Distribution::Normal {
                    mean,
                    stddev,
                    min,
                    max,
                },
                n,
                3,
            )
            .unwrap();
            let mut rng = rng(99, Purpose::Choice);
            let mut literal = Vec::with_capacity(n);
            while literal.len() < n {
                let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
                let z = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
                let x = (mean + stddev * z).round();
                if x >= f64::from(min) && x <= f64::from(max) {
                    literal.push(x as u32);
                }
            }
            for value in min..=max {
                let share =
                    |all: &[u32]| all.iter().filter(|&&v| v <= value).count() as f64 / n as f64;
                // Kolmogorov-Smirnov at about 1 in 100 000: 2.4·√(2/n)
                assert!(
                    (share(&ours) - share(&literal)).abs() < 0.017,
                    "{value} of {mean}"
                );
            }
        }
    }

    #[test]
    fn a_range_in_the_far_tail_still_works_or_is_refused() {
        let tail = Distribution::Normal {
            mean: 0.0,
            stddev: 10.0,
            min: 55,
            max: 1000,
        };
        let lengths = drawn(tail, 1000, 1).unwrap();
        assert!(lengths.iter().all(|&n| (55..100).contains(&n)));
        let hopeless = Distribution::Normal {
            mean: 0.0,
            stddev: 1.0,
            min: 50,
            max: 60,
        };
        assert!(drawn(hopeless, 1, 1).unwrap_err().contains("nothing falls"));
    }

    #[test]
    fn a_wrong_distribution_is_explained() {
        let (min, max) = (1, 10);
        let error = |distribution| drawn(distribution, 1, 1).unwrap_err();
        assert!(error(Distribution::Uniform { min: 5, max: 4 }).contains("above its max"));
        let nan = f64::NAN;
        assert!(
            error(Distribution::Normal {
                mean: nan,
                stddev: 1.0,
                min,
                max
            })
            .contains("mean")
        );
        assert!(
            error(Distribution::Normal {
                mean: 1.0,
                stddev: -1.0,
                min,
                max
            })
            .contains("stddev")
        );
        assert!(
            error(Distribution::Normal {
                mean: 20.0,
                stddev: 0.0,
                min,
                max
            })
            .contains("outside")
        );
        assert!(
            error(Distribution::Lognormal {
                mean: 0.0,
                stddev: 1.0,
                min,
                max
            })
            .contains("above 0")
        );
    }

    proptest! {
        #[test]
        fn lengths_stay_in_their_range_and_depend_on_the_seed_alone(
            kind in 0..3,
            mean in -100.0..2000.0_f64,
            stddev in 0.0..1000.0_f64,
            min in 0..500_u32,
            span in 0..2000_u32,
            seed: u64,
        ) {
            let max = min + span;
            let distribution = match kind {
                0 => Distribution::Uniform { min, max },
                1 => Distribution::Normal { mean, stddev, min, max },
                _ => Distribution::Lognormal { mean, stddev, min, max },
            };
            if let Ok(lengths) = drawn(distribution.clone(), 50, seed) {
                prop_assert!(lengths.iter().all(|n| (min..=max).contains(n)));
                prop_assert_eq!(&lengths[..20], drawn(distribution, 20, seed).unwrap());
            }
        }
    }
}
