use std::collections::HashMap;
use std::sync::Arc;

use lem_record::Histogram;

use super::family::Family;
use super::labels::Labels;

/// Points of one metric with the same labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The cycle that they tell of (their label `lem_cycle`); none: the whole run, or no cycle.
    pub cycle: Option<u32>,
    pub family: Arc<Family>,
    /// Sorted by name; without `__name__`.
    pub labels: Labels,
    /// Of one kind, with ever later times. Never empty.
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub unix_ms: i64,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Finite.
    Number(f64),
    /// Its counts are one more than its bounds, which rise and are finite.
    Histogram(Arc<Histogram>),
}

/// What a sample is called, after the family's name, and its value: a number is one
/// sample, a histogram one a bucket, and two.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub suffix: &'static str,
    /// The value of the label `le`.
    pub le: Option<String>,
    pub value: f64,
}

impl Value {
    /// In the order of the text formats.
    pub fn samples(&self) -> Vec<Sample> {
        let histogram = match self {
            Self::Number(value) => {
                return vec![Sample {
                    suffix: "",
                    le: None,
                    value: *value,
                }];
            }
            Self::Histogram(histogram) => histogram,
        };
        let mut below = 0_u64;
        let mut samples: Vec<Sample> = histogram
            .bounds
            .iter()
            .zip(&histogram.counts)
            .map(|(bound, count)| {
                below = below.saturating_add(*count);
                Sample {
                    suffix: "_bucket",
                    le: Some(le(*bound)),
                    value: below as f64,
                }
            })
            .collect();
        let above = histogram.counts.get(histogram.bounds.len()).copied();
        // what the buckets hold, so that the last of them is all
        let count = below.saturating_add(above.unwrap_or(0)) as f64;
        for (suffix, le, value) in [
            ("_bucket", Some("+Inf".to_owned()), count),
            ("_sum", None, histogram.sum),
            ("_count", None, count),
        ] {
            samples.push(Sample { suffix, le, value });
        }
        samples
    }
}

/// As the translation of OTLP writes it, in every format: receivers compare it as text.
pub fn le(bound: f64) -> String {
    bound.to_string()
}

/// A series each: what several records say of the same one, together and in order of
/// time; of two points in one ms the later record's. Sorted by name, then labels.
pub fn merge(series: impl IntoIterator<Item = Series>) -> Vec<Series> {
    let mut merged: Vec<Series> = Vec::new();
    let mut places: HashMap<(Arc<Family>, Labels), usize> = HashMap::new();
    for series in series {
        let identity = (Arc::clone(&series.family), series.labels.clone());
        let place = *places.entry(identity).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(before) => before.points.extend(series.points),
            None => merged.push(series),
        }
    }
    for series in &mut merged {
        series.in_order();
    }
    merged.sort_by(|a, b| (&a.family.name, &a.labels).cmp(&(&b.family.name, &b.labels)));
    merged
}

impl Series {
    /// Ever later times; of several points in one ms the last is kept.
    pub(super) fn in_order(&mut self) {
        self.points.sort_by_key(|point| point.unix_ms); // stable
        self.points.dedup_by(|later, kept| {
            let same = later.unix_ms == kept.unix_ms;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_moment_the_last_word_stands() {
        let point = |unix_ms, value| Point {
            unix_ms,
            value: Value::Number(value),
        };
        let series = |points| Series {
            cycle: None,
            family: Family::target(),
            labels: Vec::new(),
            points,
        };
        let all = [
            series(vec![point(1, 1.0), point(3, 3.0)]),
            series(vec![point(2, 2.0), point(3, 3.5), point(3, 3.75)]),
        ];
        let merged = merge(all);
        let expected = series(vec![point(1, 1.0), point(2, 2.0), point(3, 3.75)]);
        assert_eq!(merged, [expected]);
    }

    #[test]
    fn a_histogram_is_cumulative_and_its_bounds_plain() {
        let histogram = Histogram {
            bounds: vec![0.5, 1.0, 163_840.0],
            counts: vec![1, 0, 2, 4],
            count: 7,
            sum: 9.5,
            min: 0.0,
            max: 0.0,
            mean: 0.0,
            p50: 0.0,
            p90: 0.0,
            p99: 0.0,
        };
        let samples = Value::Histogram(Arc::new(histogram)).samples();
        let told: Vec<String> = samples
            .iter()
            .map(|s| {
                format!(
                    "{} {} {}",
                    s.suffix,
                    s.le.as_deref().unwrap_or("-"),
                    s.value
                )
            })
            .collect();
        let expected = [
            "_bucket 0.5 1",
            "_bucket 1 1",
            "_bucket 163840 3",
            "_bucket +Inf 7",
            "_sum - 9.5",
            "_count - 7",
        ];
        assert_eq!(told, expected);
    }
}
