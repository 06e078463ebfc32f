//! Prefill and decode by a straight line: the energy of a round against its output length.
//!
//! E = a + b·x by least squares over the windows, x being the output tokens of a round after
//! each request's first. The intercept a is prefill with the first token, b the energy of a
//! decoded token at the mean length of the context.

use super::{Means, PhaseEstimate};
use crate::analysis::data::{RoundsData, Window};
use crate::analysis::energy::{Context, gross, marginal, rest};
use crate::analysis::sheet::{Obtained, Reading};
use crate::analysis::statistics;
use crate::analysis::uncertainty::Budget;
use crate::config::PhaseMethod;

/// Three points would always look like a line.
const FEWEST_LENGTHS: usize = 4;

const PREFILL: &str = "slope: intercept of energy over output length";
const DECODE: &str = "slope: energy a token times tokens";

/// A straight line through points, with what is known of its exactness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub intercept: f64,
    pub slope: f64,
    /// Standard errors: the larger of what the residuals and what the points' own
    /// uncertainties give.
    pub u_intercept: f64,
    pub u_slope: f64,
    /// Degrees of freedom.
    pub freedom: usize,
}

/// Least squares through (x, y, standard uncertainty of y). Through two points the residuals
/// say nothing: then the points' own uncertainties are all there is.
pub fn line(points: &[(f64, f64, f64)]) -> Option<Line> {
    let freedom = points.len().checked_sub(2)?;
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let xx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let xy: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    if xx <= 0.0 {
        return None;
    }
    let slope = xy / xx;
    let intercept = my - slope * mx;
    let residuals: f64 = points
        .iter()
        .map(|p| (p.1 - intercept - slope * p.0).powi(2))
        .sum();
    let variance = match freedom {
        0 => 0.0,
        freedom => residuals / freedom as f64,
    };
    // Of the slope Σ(x−x̄)²u²/xx², of the intercept Σ(1/n − x̄(x−x̄)/xx)²u².
    let own = |weight: &dyn Fn(f64) -> f64| {
        points
            .iter()
            .map(|p| (weight(p.0) * p.2).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let of_slope = |x: f64| (x - mx) / xx;
    let of_intercept = |x: f64| 1.0 / n - mx * (x - mx) / xx;
    let fitted = Line {
        intercept,
        slope,
        u_slope: (variance / xx).sqrt().max(own(&of_slope)),
        u_intercept: (variance * (1.0 / n + mx * mx / xx))
            .sqrt()
            .max(own(&of_intercept)),
        freedom,
    };
    (fitted.intercept.is_finite() && fitted.slope.is_finite()).then_some(fitted)
}

pub fn estimate(
    context: &Context<'_>,
    means: &Means,
    rounds: &[&RoundsData],
) -> Result<PhaseEstimate, String> {
    means.check(rounds)?;
    let x = |one: &RoundsData| {
        one.record.output_tokens.saturating_sub(one.record.requests) as f64 / one.rounds()
    };
    let mut lengths: Vec<f64> = rounds.iter().map(|one| x(one)).collect();
    lengths.sort_by(f64::total_cmp);
    lengths.dedup_by(|a, b| (*a - *b).abs() < 0.5);
    if lengths.len() < FEWEST_LENGTHS {
        return Err(format!(
            "the extra rounds had {} different output lengths, and a line needs {FEWEST_LENGTHS}",
            lengths.len()
        ));
    }
    let of = |energy: fn(&Context<'_>, Window) -> Obtained, total: &Obtained| {
        let fitted = fit(context, rounds, &x, energy);
        let pick = |of: fn(&Fitted) -> (f64, f64), scale: f64, method: &str| -> Obtained {
            let fitted = fitted.as_ref().map_err(Clone::clone)?;
            let (value, u) = of(fitted);
            Ok(fitted.reading(value * scale, u * scale).method(method))
        };
        let prefill = pick(|f| (f.line.intercept, f.line.u_intercept), 1.0, PREFILL);
        let decode = pick(
            |f| (f.line.slope, f.line.u_slope),
            means.decode_tokens,
            DECODE,
        );
        let other = rest(total, [&prefill, &decode]);
        (prefill, decode, other)
    };
    let (prefill, decode, other) = of(gross, &Ok(means.total.clone()));
    let (prefill_corrected, decode_corrected, other_corrected) = of(marginal, &means.corrected);
    Ok(PhaseEstimate {
        method: PhaseMethod::Slope,
        prefill,
        decode,
        other,
        prefill_corrected,
        decode_corrected,
        other_corrected,
        note: None,
    })
}

pub(super) struct Fitted {
    pub line: Line,
    /// Any of the readings: how it was obtained.
    like: Reading,
    /// Gain, relative.
    gain: Option<f64>,
    /// What the points have in common (the baseline), joules.
    shared: f64,
}

impl Fitted {
    pub fn reading(&self, value: f64, u: f64) -> Reading {
        let mut reading = Reading::new(value, self.like.how).budget(Budget {
            systematic: self.gain.map(|g| (g * value).abs()),
            statistical: 0.0,
            shared: u.hypot(self.shared),
        });
        reading.interval = statistics::t_quantile(self.line.freedom)
            .and_then(|t| statistics::interval(value - t * u, value + t * u));
        reading
    }
}

/// The line through the rounds' energies, each of one round, against what `x` is of it.
pub(super) fn fit(
    context: &Context<'_>,
    rounds: &[&RoundsData],
    x: &dyn Fn(&RoundsData) -> f64,
    energy: fn(&Context<'_>, Window) -> Obtained,
) -> Result<Fitted, String> {
    let mut points = Vec::with_capacity(rounds.len());
    let (mut gains, mut joules, mut shared) = (Some(0.0), 0.0, 0.0f64);
    let mut like = None;
    for one in rounds {
        let reading = energy(context, one.window)?.scaled(1.0 / one.rounds());
        let budget = reading.budget.unwrap_or_default();
        points.push((x(one), reading.value, budget.statistical));
        gains = gains.zip(budget.systematic).map(|(a, b)| a + b);
        joules += reading.value.abs();
        shared = shared.max(budget.shared);
        like = Some(reading);
    }
    let line = line(&points).ok_or("no line goes through the rounds' energies")?;
    Ok(Fitted {
        line,
        like: like.ok_or("no rounds were measured")?,
        gain: gains.map(|g| g / joules).filter(|g| g.is_finite()),
        shared,
    })
}
