//! Ending points early that are certainly poor.

use serde::Serialize;

use super::quantity::{Better, Estimate, Row, row};
use super::{SweepError, shown};

/// Fewer cycles say too little of an interval.
pub const FEWEST_CYCLES: u32 = 3;

/// `METRIC:FACTOR`: a point is ended when, after three cycles of it and of the best one, even
/// the favourable end of its 95 % interval is worse than the unfavourable end of the best's by
/// more than the factor.
pub struct Rule {
    row: &'static Row,
    factor: f64,
}

/// What is known of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub cycles: u32,
    pub estimate: Estimate,
}

/// Why a point is ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stopped {
    pub point: usize,
    pub reason: String,
}

impl Rule {
    pub fn parse(text: &str) -> Result<Self, SweepError> {
        let wrong = |why: &str| {
            SweepError::new(
                format!("the rule {} of --stop-early {why}", shown(text)),
                "Write METRIC:FACTOR with a factor of at least 1: --stop-early energy.per_output_token:1.5",
            )
        };
        let (id, factor) = text.split_once(':').ok_or_else(|| wrong("has no factor"))?;
        let factor = factor.trim().parse::<f64>().ok();
        let factor = factor.filter(|factor| factor.is_finite() && *factor >= 1.0);
        Ok(Self {
            row: row(id.trim())?,
            factor: factor.ok_or_else(|| wrong("has a factor that is none"))?,
        })
    }

    pub fn row(&self) -> &'static Row {
        self.row
    }

    /// The points that are to be ended; `None` is one of which nothing is known.
    pub fn poor(&self, points: &[Option<Seen>]) -> Vec<Stopped> {
        let bounds: Vec<Option<(f64, f64)>> = points
            .iter()
            .map(|seen| {
                let seen = seen.filter(|seen| seen.cycles >= FEWEST_CYCLES)?;
                let (low, high) = (seen.estimate.low?, seen.estimate.high?);
                // As costs: what is better is less.
                let (good, bad) = match self.row.better {
                    Better::Less => (low, high),
                    Better::More => (1.0 / high, 1.0 / low),
                };
                (good > 0.0 && bad > 0.0 && good.is_finite() && bad.is_finite())
                    .then_some((good, bad))
            })
            .collect();
        let best = bounds
            .iter()
            .enumerate()
            .filter_map(|(n, bounds)| bounds.map(|(_, bad)| (n, bad)))
            .min_by(|a, b| a.1.total_cmp(&b.1));
        let Some((best, bad)) = best else {
            return Vec::new();
        };
        let is_poor = |(n, bounds): (usize, &Option<(f64, f64)>)| {
            let (good, _) = (*bounds)?;
            let times = good / bad;
            (n != best && times > self.factor).then(|| Stopped {
                point: n,
                reason: format!(
                    "stopped early: its {} is certainly more than {times:.2} times worse than that of point {best} (95 % intervals apart; the rule asks for {})",
                    self.row.id, self.factor
                ),
            })
        };
        bounds.iter().enumerate().filter_map(is_poor).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn seen(cycles: u32, low: f64, high: f64) -> Option<Seen> {
        let estimate = Estimate {
            value: f64::midpoint(low, high),
            low: Some(low),
            high: Some(high),
        };
        Some(Seen { cycles, estimate })
    }

    fn poor(rule: &str, points: &[Option<Seen>]) -> Vec<usize> {
        let stopped = Rule::parse(rule).unwrap().poor(points);
        stopped.into_iter().map(|s| s.point).collect()
    }

    #[test]
    fn only_what_is_certainly_poor_is_ended() {
        let rule = "energy.per_output_token:1.5";
        let best = seen(3, 0.9, 1.0);
        assert_eq!(poor(rule, &[best, seen(3, 1.51, 9.0)]), [1]);
        assert_eq!(poor(rule, &[best, seen(3, 1.49, 9.0)]), [0_usize; 0]);
        assert_eq!(
            poor(rule, &[best, seen(2, 5.0, 6.0), None]),
            [0_usize; 0],
            "too few cycles"
        );
        assert_eq!(
            poor(rule, &[seen(2, 0.1, 0.2), seen(3, 5.0, 6.0)]),
            [0_usize; 0]
        );
        let torn = Some(Seen {
            cycles: 9,
            estimate: Estimate::new(99.0, None),
        });
        assert_eq!(poor(rule, &[best, torn]), [0_usize; 0], "no interval");
    }

    #[test]
    fn more_is_better_for_a_throughput() {
        let points = [
            seen(3, 90.0, 100.0),
            seen(3, 20.0, 40.0),
            seen(3, 50.0, 70.0),
        ];
        assert_eq!(poor("throughput.total:1.5", &points), [1]);
        assert_eq!(poor("throughput.total:1.2", &points), [1, 2]);
    }

    #[test]
    fn a_rule_that_cannot_be_read_is_refused() {
        for wrong in [
            "",
            "energy.per_output_token",
            "energy.per_output_token:",
            "energy.per_output_token:0.5",
            "energy.per_output_token:NaN",
            "power:2",
        ] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }
}
