//! Which points are believed, and which are too many.

use lem_record::downsample;

use crate::encode::{Point, Value};

/// A sample that is no later than the one before it in its series is left out: a
/// series has one value at a time, and the first may have been sent already.
pub(crate) fn is_later(last: Option<i64>, ms: i64) -> bool {
    last.is_none_or(|last| ms > last)
}

/// A point that lies further ahead of the clock is not believed, ms. One such point, and
/// a Prometheus without a window takes no other sample for years.
pub(crate) const MOST_AHEAD: i64 = 600_000;

/// Points of one series, at most.
pub(crate) const MOST_POINTS: usize = 10_000;

/// Leaves out what the picture does not need. The points are in order of time.
pub(crate) fn thin(points: &mut Vec<Point>) {
    if points.len() <= MOST_POINTS {
        return;
    }
    let times: Vec<u64> = points
        .iter()
        .map(|point| u64::try_from(point.unix_ms).unwrap_or(0))
        .collect();
    let values: Vec<Option<f64>> = points
        .iter()
        .map(|point| match &point.value {
            Value::Number(value) => Some(*value),
            Value::Histogram(_) => None,
        })
        .collect();
    let mut kept = downsample(&times, &values, MOST_POINTS)
        .into_iter()
        .peekable();
    let mut at = 0;
    points.retain(|_| {
        let keep = kept.next_if_eq(&at).is_some();
        at += 1;
        keep
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_long_series_keeps_its_ends_and_its_peak() {
        let mut points: Vec<Point> = (0..50_000)
            .map(|i| Point {
                unix_ms: 1_750_000_000_000 + i,
                value: Value::Number(if i == 23_456 { 99.0 } else { (i % 7) as f64 }),
            })
            .collect();
        let (first, last) = (points[0].clone(), points[49_999].clone());
        thin(&mut points);
        assert!(points.len() <= MOST_POINTS && points.len() > MOST_POINTS / 2);
        assert_eq!((points.first(), points.last()), (Some(&first), Some(&last)));
        assert!(
            points
                .iter()
                .any(|point| point.value == Value::Number(99.0))
        );
        assert!(points.is_sorted_by_key(|point| point.unix_ms));
    }
}
