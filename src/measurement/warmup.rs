//! When warm-up is over.

use crate::config::Warmup;

/// Rounds that are looked at together.
const WINDOW: usize = 3;

/// What warm-up found out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    pub rounds: u32,
    pub steady: bool,
    /// Coefficient of variation of the last rounds, where there were enough.
    pub spread: Option<f64>,
}

/// Whether the rounds so far are enough, from each round's time per token.
///
/// Steady means that the last three rounds spread less than the tolerance and that
/// the newest is not an improvement on each before it by more than that: a window
/// of small spread can still be drifting.
pub fn verdict(seconds_per_token: &[f64], rule: &Warmup) -> Option<Verdict> {
    let rounds = u32::try_from(seconds_per_token.len()).unwrap_or(u32::MAX);
    let spread = seconds_per_token
        .len()
        .checked_sub(WINDOW)
        .map(|first| &seconds_per_token[first..])
        .map(coefficient_of_variation);
    let exact = rule.min_rounds >= rule.max_rounds;
    let drifting = seconds_per_token
        .len()
        .checked_sub(WINDOW)
        .map(|first| &seconds_per_token[first..])
        .is_some_and(|last| trend(last) > rule.tolerance);
    let steady = spread.is_some_and(|spread| spread <= rule.tolerance) && !drifting;
    let enough = rounds >= rule.min_rounds && steady && !exact;
    (enough || rounds >= rule.max_rounds.max(rule.min_rounds)).then_some(Verdict {
        rounds,
        steady,
        spread,
    })
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

/// Relative fall from the first to the last, where every step goes down; else 0.
fn trend(values: &[f64]) -> f64 {
    let falls = values.windows(2).all(|pair| pair[1] < pair[0]);
    match (values.first(), values.last()) {
        (Some(first), Some(last)) if falls && *first > 0.0 => (first - last) / first,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(min_rounds: u32, max_rounds: u32) -> Warmup {
        Warmup {
            min_rounds,
            max_rounds,
            tolerance: 0.05,
        }
    }

    #[test]
    fn steady_rounds_end_it() {
        assert_eq!(verdict(&[2.0, 1.0], &rule(2, 10)), None);
        assert_eq!(verdict(&[2.0, 1.0, 1.0], &rule(2, 10)), None);
        let told = verdict(&[2.0, 1.0, 1.01, 1.0], &rule(2, 10));
        assert!(told.is_some_and(|v| v.steady && v.rounds == 4), "{told:?}");
    }

    #[test]
    fn a_drift_is_not_steady_though_its_spread_is_small() {
        assert_eq!(verdict(&[1.06, 1.03, 1.0], &rule(2, 10)), None);
    }

    #[test]
    fn the_most_rounds_end_it_and_say_that_it_is_not_steady() {
        let told = verdict(&[2.0, 1.0, 3.0], &rule(2, 3));
        assert!(told.is_some_and(|v| !v.steady && v.rounds == 3), "{told:?}");
    }

    #[test]
    fn no_rounds_at_all_and_an_exact_number_are_kept() {
        assert!(verdict(&[], &rule(0, 0)).is_some());
        assert_eq!(verdict(&[1.0, 1.0, 1.0], &rule(4, 4)), None);
        assert!(verdict(&[1.0; 4], &rule(4, 4)).is_some_and(|v| v.steady));
    }
}
