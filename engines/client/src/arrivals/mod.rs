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
mod tests;
