//! When warm-up is over.

use crate::analysis::{line, t_quantile};
use crate::config::Warmup;

/// Rounds that are looked at together.
const WINDOW: usize = 3;
/// Rounds that a slow drift is looked for in.
const LONG: usize = 6;

/// What warm-up found out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    pub rounds: u32,
    pub steady: bool,
    /// Coefficient of variation of the last rounds, where there were enough.
    pub spread: Option<f64>,
}

/// Whether the rounds so far are enough, from what was seen of each round: its time per token,
/// and where a sensor tells it, its mean power. All have to be steady.
///
/// Steady means that the last three rounds spread less than the tolerance and show no trend,
/// and that a line through the last six has none: a window of small spread can still drift.
pub fn verdict(series: &[&[f64]], rule: &Warmup) -> Option<Verdict> {
    let seen = series.first().map_or(0, |first| first.len());
    let rounds = u32::try_from(seen).unwrap_or(u32::MAX);
    let known = || series.iter().filter(|one| one.len() == seen);
    let spread = known()
        .map(|one| tail(one, WINDOW).map(coefficient_of_variation))
        .try_fold(0.0f64, |widest, one| Some(widest.max(one?)));
    let drifting = known().any(|one| drifts(one, rule.tolerance));
    let exact = rule.min_rounds >= rule.max_rounds;
    let steady = spread.is_some_and(|spread| spread <= rule.tolerance) && !drifting;
    let enough = rounds >= rule.min_rounds && steady && !exact;
    (enough || rounds >= rule.max_rounds.max(rule.min_rounds)).then_some(Verdict {
        rounds,
        steady,
        spread,
    })
}

/// The last `n`, where there are so many.
fn tail(values: &[f64], n: usize) -> Option<&[f64]> {
    values.get(values.len().checked_sub(n)?..)
}

/// Whether the last rounds go one way by more than the tolerance: the last three without a step
/// back, or a line through the last six beyond chance (Student's t, 95 %).
fn drifts(values: &[f64], tolerance: f64) -> bool {
    let short = tail(values, WINDOW).is_some_and(|last| trend(last) > tolerance);
    let long = tail(values, values.len().min(LONG)).filter(|last| last.len() > WINDOW);
    let beyond = |last: &[f64]| {
        let points: Vec<(f64, f64, f64)> = (0u32..)
            .zip(last)
            .map(|(round, value)| (f64::from(round), *value, 0.0))
            .collect();
        let Some(line) = line(&points) else {
            return false;
        };
        let change = line.slope * (last.len() - 1) as f64;
        let mean = last.iter().sum::<f64>() / last.len() as f64;
        let t = t_quantile(line.freedom).unwrap_or(f64::INFINITY);
        change.abs() > tolerance * mean && line.slope.abs() > t * line.u_slope
    };
    short || long.is_some_and(beyond)
}

fn coefficient_of_variation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    if mean > 0.0 {
        variance.sqrt() / mean
    } else {
        f64::INFINITY
    }
}

/// Relative change from the first to the last, where every step goes the same way; else 0.
fn trend(values: &[f64]) -> f64 {
    let falls = values.windows(2).all(|pair| pair[1] < pair[0]);
    let rises = values.windows(2).all(|pair| pair[1] > pair[0]);
    match (values.first(), values.last()) {
        (Some(first), Some(last)) if (falls || rises) && *first > 0.0 => {
            (first - last).abs() / first
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seconds: &[f64], rule: &Warmup) -> Option<Verdict> {
        verdict(&[seconds], rule)
    }

    fn rule(min_rounds: u32, max_rounds: u32) -> Warmup {
        Warmup {
            min_rounds,
            max_rounds,
            tolerance: 0.05,
        }
    }

    #[test]
    fn steady_rounds_end_it() {
        assert_eq!(told(&[2.0, 1.0], &rule(2, 10)), None);
        assert_eq!(told(&[2.0, 1.0, 1.0], &rule(2, 10)), None);
        let found = told(&[2.0, 1.0, 1.01, 1.0], &rule(2, 10));
        assert!(
            found.is_some_and(|v| v.steady && v.rounds == 4),
            "{found:?}"
        );
    }

    #[test]
    fn a_drift_is_not_steady_though_its_spread_is_small() {
        assert_eq!(told(&[1.06, 1.03, 1.0], &rule(2, 10)), None);
        assert_eq!(told(&[1.0, 1.03, 1.06], &rule(2, 10)), None);
        // Slowly, with steps back: seen over six rounds, not over three.
        let slow = [1.2, 1.15, 1.1, 1.05, 1.0, 1.01, 0.96];
        assert!(told(&slow[4..], &rule(2, 10)).is_some());
        assert_eq!(told(&slow, &rule(2, 10)), None);
    }

    #[test]
    fn power_has_to_be_steady_too_where_it_is_known() {
        let seconds = [1.0, 1.0, 1.0];
        assert_eq!(
            verdict(&[&seconds, &[300.0, 350.0, 400.0]], &rule(2, 10)),
            None
        );
        assert!(verdict(&[&seconds, &[400.0, 401.0, 400.0]], &rule(2, 10)).is_some());
        // Not known of every round: not asked.
        assert!(verdict(&[&seconds, &[400.0]], &rule(2, 10)).is_some());
    }

    #[test]
    fn the_most_rounds_end_it_and_say_that_it_is_not_steady() {
        let found = told(&[2.0, 1.0, 3.0], &rule(2, 3));
        assert!(
            found.is_some_and(|v| !v.steady && v.rounds == 3),
            "{found:?}"
        );
    }

    #[test]
    fn no_rounds_at_all_and_an_exact_number_are_kept() {
        assert!(told(&[], &rule(0, 0)).is_some());
        assert_eq!(told(&[1.0, 1.0, 1.0], &rule(4, 4)), None);
        assert!(told(&[1.0; 4], &rule(4, 4)).is_some_and(|v| v.steady));
    }
}
