//! The uncertainty of a joule, after the GUM (JCGM 100:2008).
//!
//! Standard uncertainties u, in the unit of the value; the expanded uncertainty is
//! U = 2u. Three parts are kept apart because they combine differently over cycles:
//! what is common to all runs on a sensor never shrinks; what the cycles of a run have
//! in common (the baseline) does not shrink with their number; the rest does.

use lem_record::Uncertainty;

/// Coverage factor: about 95 % for a normal distribution.
pub const COVERAGE: f64 = 2.0;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Budget {
    /// Gain of the sensor or of the model; `None` where it is not known.
    pub systematic: Option<f64>,
    /// Sampling and counter edges: independent from cycle to cycle.
    pub statistical: f64,
    /// Statistical, but the same in every cycle of the run: the baseline.
    pub shared: f64,
}

impl Budget {
    /// Of a value times an exact factor.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let factor = factor.abs();
        Self {
            systematic: self.systematic.map(|u| u * factor),
            statistical: self.statistical * factor,
            shared: self.shared * factor,
        }
    }

    /// Of a sum. Gains add up as they are, because sensors of one make tend to err the
    /// same way; the rest adds in squares.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            systematic: match (self.systematic, other.systematic) {
                (Some(a), Some(b)) => Some(a + b),
                (known, None) | (None, known) => known,
            },
            statistical: self.statistical.hypot(other.statistical),
            shared: self.shared.hypot(other.shared),
        }
    }

    pub fn standard(&self) -> f64 {
        let random = self.statistical.hypot(self.shared);
        random.hypot(self.systematic.unwrap_or(0.0))
    }

    pub fn expanded(&self) -> Option<Uncertainty> {
        let expanded = COVERAGE * self.standard();
        expanded.is_finite().then(|| Uncertainty {
            expanded,
            k: COVERAGE,
            systematic: self.systematic,
            statistical: Some(self.statistical.hypot(self.shared)),
        })
    }
}

/// Gain error of half-width `relative`, rectangular: g·|E|/√3.
pub fn gain(relative: Option<f64>, joules: f64) -> Option<f64> {
    relative.map(|g| g.abs() * joules.abs() / 3f64.sqrt())
}

/// Both edges of a counter that steps once in `update_s`: each edge is off by up to one
/// step, rectangular (variance step²/12), hence step/√6 for the two; the step is the
/// energy of one update, or the counter's resolution where that is coarser.
pub fn counter_edges(watts: f64, update_s: f64, resolution_j: f64) -> f64 {
    (watts.abs() * update_s).max(resolution_j.abs()) / 6f64.sqrt()
}

/// What a sensor misses that looks for `window_s` once in `update_s`:
/// s_P·√((1 − W/T)/n_eff)·t.
pub fn sampling(sd_watts: f64, window_s: f64, update_s: f64, n_eff: f64, seconds: f64) -> f64 {
    if n_eff <= 0.0 || update_s <= 0.0 {
        return 0.0;
    }
    let unseen = (1.0 - window_s / update_s).clamp(0.0, 1.0);
    sd_watts.abs() * (unseen / n_eff).sqrt() * seconds
}

/// Independent samples among correlated ones: n(1 − ρ₁)/(1 + ρ₁), where ρ₁ is the
/// correlation of neighbours. A negative ρ₁ is taken for none, which is the careful side.
pub fn effective_samples(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    if values.len() < 3 {
        return n.max(1.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    let variance: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let lagged: f64 = values
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    if variance <= 0.0 {
        return n;
    }
    let rho = (lagged / variance).clamp(0.0, 0.999);
    (n * (1.0 - rho) / (1.0 + rho)).max(1.0)
}
