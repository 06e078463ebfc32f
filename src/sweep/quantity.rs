//! What points are compared by.

use lem_record::{Interval, Quantity};
use serde::Serialize;

use super::{SweepError, shown};
use crate::results::RunResult;

/// A number of a point's result, with its 95 % interval over the cycles where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

impl Estimate {
    pub fn new(value: f64, interval: Option<&Interval>) -> Self {
        Self {
            value,
            low: interval.map(|i| i.low),
            high: interval.map(|i| i.high),
        }
    }

    /// Half of the interval's width.
    pub fn half_width(&self) -> Option<f64> {
        Some((self.high? - self.low?) / 2.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Less,
    More,
}

/// A quantity that points can be compared by.
pub struct Row {
    /// The catalogue's id where it is a metric of one value, else made of one.
    pub id: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub better: Better,
    /// Whether the catalogue has a gauge of this id, to be logged as one.
    pub gauge: bool,
    pub of: fn(&RunResult) -> Option<Estimate>,
}

pub const THROUGHPUT: &str = "throughput.total";
pub const ENERGY_PER_TOKEN: &str = "energy.per_output_token";

/// Shown in this order.
pub const QUANTITIES: &[Row] = &[
    Row {
        id: THROUGHPUT,
        title: "Throughput",
        unit: "tokens/s",
        better: Better::More,
        gauge: true,
        of: |r| {
            plain(
                r,
                r.numbers.throughput.total_tokens_per_sec,
                "throughput.total_tokens_per_sec",
            )
        },
    },
    Row {
        id: ENERGY_PER_TOKEN,
        title: "Energy",
        unit: "J/token",
        better: Better::Less,
        gauge: true,
        of: |r| quantity(&r.numbers.energy_per_output_token_j),
    },
    Row {
        id: "latency.ttft_mean",
        title: "First token",
        unit: "ms",
        better: Better::Less,
        gauge: false,
        of: |r| plain(r, r.numbers.latency.ttft_ms.mean, "latency.ttft_ms.mean"),
    },
    Row {
        id: "latency.tpot_mean",
        title: "Each token",
        unit: "ms",
        better: Better::Less,
        gauge: false,
        of: |r| plain(r, r.numbers.latency.tpot_ms.mean, "latency.tpot_ms.mean"),
    },
    Row {
        id: "latency.e2e_mean",
        title: "Answer",
        unit: "ms",
        better: Better::Less,
        gauge: false,
        of: |r| plain(r, r.numbers.latency.e2e_ms.mean, "latency.e2e_ms.mean"),
    },
    Row {
        id: "energy.total",
        title: "Energy of a cycle",
        unit: "J",
        better: Better::Less,
        gauge: true,
        of: |r| quantity(&r.numbers.total_energy_j),
    },
    Row {
        id: "energy.per_request",
        title: "Energy of a request",
        unit: "J",
        better: Better::Less,
        gauge: true,
        of: |r| quantity(&r.numbers.energy_per_request_j),
    },
    Row {
        id: "efficiency.tokens_per_joule",
        title: "Efficiency",
        unit: "tokens/J",
        better: Better::More,
        gauge: true,
        of: |r| quantity(&r.numbers.efficiency.tokens_per_joule),
    },
];

/// The row of an id.
pub fn row(id: &str) -> Result<&'static Row, SweepError> {
    QUANTITIES.iter().find(|row| row.id == id).ok_or_else(|| {
        let ids: Vec<&str> = QUANTITIES.iter().map(|row| row.id).collect();
        SweepError::new(
            format!("points cannot be compared by {}", shown(id)),
            format!("Choose one of {}", ids.join(", ")),
        )
    })
}

fn plain(result: &RunResult, value: Option<f64>, path: &str) -> Option<Estimate> {
    let value = value.filter(|value| value.is_finite())?;
    Some(Estimate::new(value, result.intervals.get(path)))
}

fn quantity(quantity: &Quantity) -> Option<Estimate> {
    let value = quantity.value.filter(|value| value.is_finite())?;
    Some(Estimate::new(value, quantity.interval.as_ref()))
}

/// The best of several points by this quantity; the first of equals.
pub fn best(row: &Row, points: &[Option<Estimate>]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (n, point) in points.iter().enumerate() {
        let Some(value) = point.map(|p| p.value) else {
            continue;
        };
        let better = best.is_none_or(|(_, before)| match row.better {
            Better::Less => value < before,
            Better::More => value > before,
        });
        if better {
            best = Some((n, value));
        }
    }
    best.map(|(n, _)| n)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use lem_record::catalogue::find;

    use super::*;

    #[test]
    fn gauges_are_metrics_of_the_catalogue() {
        for row in QUANTITIES {
            assert_eq!(find(row.id).is_some(), row.gauge, "{}", row.id);
        }
        assert!(row("energy").is_err_and(|e| e.remedy.contains(ENERGY_PER_TOKEN)));
    }

    #[test]
    fn the_best_is_the_first_of_the_best() {
        let of = |value| Some(Estimate::new(value, None));
        let points = [None, of(2.0), of(1.0), of(1.0), of(2.0)];
        assert_eq!(best(row(ENERGY_PER_TOKEN).unwrap(), &points), Some(2));
        assert_eq!(best(row(THROUGHPUT).unwrap(), &points), Some(1));
        assert_eq!(best(row(THROUGHPUT).unwrap(), &[None]), None);
    }
}
