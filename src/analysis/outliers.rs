//! Cycles that lie apart from the others: flagged, never left out.
//!
//! By the modified z-score of Iglewicz and Hoaglin (1993), 0.6745·(x − median)/MAD, with their
//! limit of 3.5; where more than half of the cycles are equal, by the mean absolute deviation
//! with its factor.

use std::collections::BTreeMap;

use super::CycleAnalysis;
use super::statistics::{mean, percentile};

const LIMIT: f64 = 3.5;
/// Fewer cycles have no "others".
const FEWEST: usize = 5;
/// What is nearer than this to the median is not worth a look, however equal the others are.
const NEAR: f64 = 0.005;

/// By what cycles are judged.
const JUDGED: [&str; 5] = [
    "run.duration",
    "energy.total",
    "energy.per_output_token",
    "time.prefill",
    "time.decode",
];

/// A value that lies apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Apart {
    /// Catalogue id.
    pub id: &'static str,
    pub value: f64,
    pub median: f64,
}

/// By the cycle's index; cycles like the others are not in it.
pub fn of(cycles: &[&CycleAnalysis]) -> BTreeMap<u32, Vec<Apart>> {
    let mut found: BTreeMap<u32, Vec<Apart>> = BTreeMap::new();
    for id in JUDGED {
        let of = |c: &&CycleAnalysis| Some((c.index, c.sheet.value(id)?));
        let (indices, values): (Vec<u32>, Vec<f64>) = cycles.iter().filter_map(of).unzip();
        let Some((median, apart)) = apart(&values) else {
            continue;
        };
        for place in apart {
            if let (Some(index), Some(value)) = (indices.get(place), values.get(place)) {
                found.entry(*index).or_default().push(Apart {
                    id,
                    value: *value,
                    median,
                });
            }
        }
    }
    found
}

/// The median, and the places of what lies apart from it.
fn apart(values: &[f64]) -> Option<(f64, Vec<usize>)> {
    if values.len() < FEWEST {
        return None;
    }
    let middle = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        percentile(&sorted, 0.5)
    };
    let median = middle(values).filter(|m| m.is_finite())?;
    let away: Vec<f64> = values.iter().map(|v| (v - median).abs()).collect();
    let scale = match middle(&away)? {
        mad if mad > 0.0 => mad / 0.6745,
        _ => 1.253_314 * mean(&away)?,
    };
    let far = |d: f64| d > LIMIT * scale && d > NEAR * median.abs();
    let places = away.iter().enumerate().filter(|(_, d)| far(**d));
    Some((median, places.map(|(place, _)| place).collect()))
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn one_that_lies_apart_is_found_whatever_the_scale() {
        for scale in [1e-6, 1.0, 1e9] {
            let values: Vec<f64> = [10.0, 10.1, 9.9, 10.05, 14.0, 9.95]
                .iter()
                .map(|v| v * scale)
                .collect();
            assert_eq!(apart(&values).map(|(_, found)| found), Some(vec![4]));
        }
        // The same by scipy.stats.median_abs_deviation: MAD 0.075, scores 0.7, 2.2, 0.7, 35.
        assert_eq!(
            apart(&[10.0, 10.1, 9.9, 10.05, 10.02]).map(|(_, f)| f),
            Some(vec![])
        );
    }

    #[test]
    fn few_cycles_equal_cycles_and_a_wide_scatter_have_none() {
        assert_eq!(apart(&[1.0, 1.0, 1.0, 9.0]), None);
        assert_eq!(apart(&[2.0; 9]).map(|(_, f)| f), Some(vec![]));
        assert_eq!(
            apart(&[1.0, 3.0, 9.0, 5.0, 7.0, 2.0]).map(|(_, f)| f),
            Some(vec![])
        );
        // More than half are equal: then the mean deviation is the scale.
        let mut values = vec![2.0; 20];
        values.push(3.0);
        assert_eq!(apart(&values).map(|(_, f)| f), Some(vec![20]));
        assert_eq!(
            apart(&[2.0, 2.0, 2.0, 2.0, 2.001]).map(|(_, f)| f),
            Some(vec![])
        );
    }
}
