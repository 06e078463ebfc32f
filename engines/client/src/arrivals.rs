//! When requests are due: pure functions of a seed.

use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, Gamma};

/// A process of arrivals. Rates are requests a second.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// One each `1 / rate`.
    Constant { rate: f64 },
    /// Independent of each other: the times between them are exponential.
    Poisson { rate: f64 },
    /// Times between them of a gamma distribution with this shape: below 1 burstier than
    /// Poisson, 1 is Poisson, above 1 more even. The mean is `1 / rate`.
    Gamma { rate: f64, shape: f64 },
    /// The rate goes in a straight line from one to the other within `over`, and stays there.
    /// Spaced evenly, or as a Poisson process.
    Ramp {
        from: f64,
        to: f64,
        over: Duration,
        poisson: bool,
    },
    /// Given times, in ascending order; a longer run starts over behind the last of them.
    Trace { at: Vec<Duration> },
}

/// Why a process or a trace cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}. {remedy}")]
pub struct TraceError {
    pub what: String,
    pub remedy: String,
}

impl TraceError {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl Arrivals {
    /// The due times of `n` requests, ascending, the first at 0 for evenly spaced ones and after
    /// one random interval for the others.
    pub fn due(&self, n: usize, seed: u64) -> Result<Vec<Duration>, TraceError> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        match self {
            Self::Constant { rate } => {
                positive("rate", *rate)?;
                (0..n).map(|i| seconds(i as f64 / rate)).collect()
            }
            Self::Poisson { rate } => {
                positive("rate", *rate)?;
                sums(n, || {
                    let gap: f64 = Exp1.sample(&mut rng);
                    gap / rate
                })
            }
            Self::Gamma { rate, shape } => {
                positive("rate", *rate)?;
                positive("shape", *shape)?;
                let gamma = Gamma::new(*shape, 1.0 / (rate * shape)).map_err(|why| {
                    TraceError::new(
                        format!("no gamma distribution with shape {shape} and rate {rate}: {why}"),
                        "Use positive numbers of ordinary size",
                    )
                })?;
                sums(n, || gamma.sample(&mut rng))
            }
            Self::Ramp {
                from,
                to,
                over,
                poisson,
            } => {
                let ramp = Ramp::new(*from, *to, over.as_secs_f64())?;
                let mut expected = 0.0;
                (0..n)
                    .map(|i| {
                        if *poisson {
                            let gap: f64 = Exp1.sample(&mut rng);
                            expected += gap;
                        } else {
                            expected = i as f64;
                        }
                        seconds(ramp.when(expected))
                    })
                    .collect()
            }
            Self::Trace { at } => repeated(at, n),
        }
    }

    /// A trace from text: one time in seconds a line, in the first column where there are
    /// several (comma, semicolon or tab), or a JSON object a line with `timestamp` in seconds or
    /// `timestamp_ms`. A first line that is no number is a header; `#` starts a comment. Times
    /// count from the first.
    pub fn trace(text: &str) -> Result<Self, TraceError> {
        let mut at: Vec<f64> = Vec::new();
        let mut header_allowed = true;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim().trim_start_matches('\u{feff}');
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line_seconds(line) {
                Some(time) if time.is_finite() => {
                    if at.last().is_some_and(|last| *last > time) {
                        return Err(TraceError::new(
                            format!("line {} of the trace goes back in time", number + 1),
                            "Sort the trace by time",
                        ));
                    }
                    at.push(time);
                }
                _ if header_allowed && at.is_empty() => {}
                _ => {
                    return Err(TraceError::new(
                        format!("line {} of the trace has no time", number + 1),
                        "Each line starts with a time in seconds, or is a JSON object with `timestamp` or `timestamp_ms`",
                    ));
                }
            }
            header_allowed = false;
        }
        let Some(first) = at.first().copied() else {
            return Err(TraceError::new(
                "the trace is empty",
                "Give a file with one time in seconds a line",
            ));
        };
        let at = at
            .into_iter()
            .map(|time| seconds(time - first))
            .collect::<Result<_, _>>()?;
        Ok(Self::Trace { at })
    }
}

fn line_seconds(line: &str) -> Option<f64> {
    if line.starts_with('{') {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        let field = |name: &str| value.get(name).and_then(serde_json::Value::as_f64);
        return field("timestamp")
            .or_else(|| field("timestamp_s"))
            .or_else(|| field("timestamp_ms").map(|ms| ms / 1e3));
    }
    line.split([',', ';', '\t'])
        .next()?
        .trim()
        .parse::<f64>()
        .ok()
}

/// The rate of a ramp over time.
struct Ramp {
    from: f64,
    slope: f64,
    over: f64,
    to: f64,
}

impl Ramp {
    fn new(from: f64, to: f64, over: f64) -> Result<Self, TraceError> {
        if !(from.is_finite() && from >= 0.0) {
            return Err(TraceError::new(
                format!("a ramp cannot start at {from} requests a second"),
                "Start at 0 or more",
            ));
        }
        positive("final rate", to)?;
        positive("ramp duration", over)?;
        Ok(Self {
            from,
            slope: (to - from) / over,
            over,
            to,
        })
    }

    /// When this many arrivals are expected to have happened: the integral of the rate,
    /// inverted.
    fn when(&self, arrivals: f64) -> f64 {
        let in_ramp = (self.from + self.to) / 2.0 * self.over;
        if arrivals >= in_ramp {
            return self.over + (arrivals - in_ramp) / self.to;
        }
        if self.slope == 0.0 {
            return arrivals / self.from;
        }
        // from·t + slope·t²/2 = arrivals, in the form that does not cancel for a small slope
        let root = (self.from * self.from + 2.0 * self.slope * arrivals)
            .max(0.0)
            .sqrt();
        if arrivals == 0.0 {
            0.0
        } else {
            2.0 * arrivals / (self.from + root)
        }
    }
}

fn sums(n: usize, mut gap: impl FnMut() -> f64) -> Result<Vec<Duration>, TraceError> {
    let mut now = 0.0;
    (0..n)
        .map(|_| {
            now += gap();
            seconds(now)
        })
        .collect()
}

fn repeated(at: &[Duration], n: usize) -> Result<Vec<Duration>, TraceError> {
    let Some(last) = at.last().copied() else {
        return Err(TraceError::new(
            "the trace is empty",
            "Give a trace with at least one time",
        ));
    };
    // One mean interval lies between the end of a round and the start of the next.
    let pause = last
        .checked_div(u32::try_from(at.len().saturating_sub(1)).unwrap_or(u32::MAX))
        .unwrap_or(Duration::from_secs(1));
    let round = last.saturating_add(pause);
    (0..n)
        .map(|i| {
            let rounds = u32::try_from(i / at.len()).ok();
            rounds
                .and_then(|rounds| round.checked_mul(rounds))
                .and_then(|before| before.checked_add(at[i % at.len()]))
                .ok_or_else(too_far)
        })
        .collect()
}

fn positive(what: &str, value: f64) -> Result<(), TraceError> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(TraceError::new(
            format!("the {what} of arrivals is {value}"),
            "Use a number above 0",
        ))
    }
}

fn seconds(value: f64) -> Result<Duration, TraceError> {
    // A century: beyond it, sums with clock times could overflow.
    if value > 3.2e9 {
        return Err(too_far());
    }
    Duration::try_from_secs_f64(value).map_err(|_| too_far())
}

fn too_far() -> TraceError {
    TraceError::new(
        "an arrival lies more than a century ahead",
        "Use a higher rate or fewer requests",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(arrivals: &Arrivals, n: usize, seed: u64) -> Vec<f64> {
        let due = arrivals.due(n, seed).unwrap();
        let mut before = Duration::ZERO;
        due.iter()
            .map(|at| {
                let gap = at.checked_sub(before).expect("ascending").as_secs_f64();
                before = *at;
                gap
            })
            .collect()
    }

    fn mean_and_cv(gaps: &[f64]) -> (f64, f64) {
        let n = gaps.len() as f64;
        let mean = gaps.iter().sum::<f64>() / n;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn constant_is_even() {
        let due = Arrivals::Constant { rate: 4.0 }.due(5, 1).unwrap();
        let ms: Vec<_> = due.iter().map(Duration::as_millis).collect();
        assert_eq!(ms, [0, 250, 500, 750, 1000]);
    }

    #[test]
    fn gaps_of_a_poisson_process_are_exponential() {
        let mut gaps = gaps(&Arrivals::Poisson { rate: 50.0 }, 20_000, 7);
        let (mean, cv) = mean_and_cv(&gaps);
        assert!((mean * 50.0 - 1.0).abs() < 0.03, "{mean}");
        assert!((cv - 1.0).abs() < 0.03, "{cv}");
        // Kolmogorov and Smirnov: 1.95 / sqrt(n) is passed once in a thousand seeds; this is one.
        gaps.sort_by(f64::total_cmp);
        let n = gaps.len() as f64;
        let worst = gaps
            .iter()
            .enumerate()
            .map(|(i, gap)| ((i as f64 + 0.5) / n - (1.0 - (-50.0 * gap).exp())).abs())
            .fold(0.0, f64::max);
        assert!(worst < 1.95 / n.sqrt(), "{worst}");
        // and the counts of one second are as spread as their mean
        let due = Arrivals::Poisson { rate: 50.0 }.due(20_000, 8).unwrap();
        let mut counts = vec![0.0; 300];
        for at in due {
            if let Some(count) = counts.get_mut(at.as_secs() as usize) {
                *count += 1.0;
            }
        }
        let (mean, cv) = mean_and_cv(&counts);
        let dispersion = cv * cv * mean;
        assert!((dispersion - 1.0).abs() < 0.3, "{dispersion}");
    }

    #[test]
    fn the_shape_of_gamma_sets_the_burstiness() {
        for shape in [0.25, 1.0, 4.0] {
            let gaps = gaps(&Arrivals::Gamma { rate: 10.0, shape }, 40_000, 3);
            let (mean, cv) = mean_and_cv(&gaps);
            assert!((mean * 10.0 - 1.0).abs() < 0.05, "{shape}: {mean}");
            assert!((cv * shape.sqrt() - 1.0).abs() < 0.05, "{shape}: {cv}");
        }
    }

    #[test]
    fn a_ramp_follows_its_rate() {
        let ramp = |poisson| Arrivals::Ramp {
            from: 10.0,
            to: 30.0,
            over: Duration::from_secs(10),
            poisson,
        };
        // 200 within the ramp: 75 in its first half, 125 in its second; then 30 a second.
        let due = ramp(false).due(500, 0).unwrap();
        let before = |s: u64| {
            due.iter()
                .filter(|at| **at < Duration::from_secs(s))
                .count()
        };
        assert_eq!((before(5), before(10), before(20)), (75, 200, 500));
        let due = ramp(true).due(20_000, 5).unwrap();
        let late = due[19_999].as_secs_f64();
        assert!(
            (late / (10.0 + 19_800.0 / 30.0) - 1.0).abs() < 0.05,
            "{late}"
        );
        let down = Arrivals::Ramp {
            from: 30.0,
            to: 10.0,
            over: Duration::from_secs(10),
            poisson: false,
        };
        let due = down.due(200, 0).unwrap();
        assert!(due.is_sorted() && due[199] < Duration::from_secs(10));
        let flat = Arrivals::Ramp {
            from: 5.0,
            to: 5.0,
            over: Duration::from_secs(1),
            poisson: false,
        };
        assert_eq!(flat.due(11, 0).unwrap()[10], Duration::from_secs(2));
        let from_zero = Arrivals::Ramp {
            from: 0.0,
            to: 5.0,
            over: Duration::from_secs(2),
            poisson: false,
        };
        assert_eq!(from_zero.due(6, 0).unwrap()[5], Duration::from_secs(2));
    }

    #[test]
    fn a_seed_is_a_schedule() {
        let poisson = Arrivals::Poisson { rate: 3.0 };
        assert_eq!(poisson.due(50, 9), poisson.due(50, 9));
        assert_ne!(poisson.due(50, 9), poisson.due(50, 10));
        // a longer run begins as a shorter one does
        assert_eq!(
            poisson.due(80, 9).unwrap()[..50],
            poisson.due(50, 9).unwrap()
        );
    }

    #[test]
    fn traces_are_read_and_repeated() {
        let trace = Arrivals::trace("time,tokens\n10.0,5\n10.5,7\n# a comment\n12,9\n").unwrap();
        let due: Vec<_> = trace
            .due(5, 0)
            .unwrap()
            .iter()
            .map(Duration::as_millis)
            .collect();
        assert_eq!(due, [0, 500, 2000, 3000, 3500]);
        let json = Arrivals::trace("{\"timestamp_ms\": 100}\n{\"timestamp_ms\": 350}\n").unwrap();
        assert_eq!(json.due(2, 0).unwrap()[1], Duration::from_millis(250));
        for (text, why) in [
            ("", "empty"),
            ("time\n", "empty"),
            ("1\n0.5\n", "line 2 of the trace goes back"),
            ("1\nx\n", "line 2 of the trace has no time"),
            ("a\nb\n1\n", "line 2"),
        ] {
            let error = Arrivals::trace(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn numbers_that_make_no_process_are_refused() {
        for arrivals in [
            Arrivals::Constant { rate: 0.0 },
            Arrivals::Poisson { rate: f64::NAN },
            Arrivals::Gamma {
                rate: 1.0,
                shape: -1.0,
            },
            Arrivals::Constant { rate: 1e-12 },
            Arrivals::Ramp {
                from: -1.0,
                to: 1.0,
                over: Duration::from_secs(1),
                poisson: false,
            },
            Arrivals::Ramp {
                from: 1.0,
                to: 1.0,
                over: Duration::ZERO,
                poisson: false,
            },
            Arrivals::Trace { at: Vec::new() },
        ] {
            assert!(arrivals.due(10, 0).is_err(), "{arrivals:?}");
        }
    }
}
