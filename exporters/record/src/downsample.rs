//! Fewer points that draw the same picture.

/// Chooses at most `budget` of the points, as indices in order.
///
/// The points are put into buckets of equal time; each keeps its first, lowest,
/// highest and last point, so that no peak and no dip is lost. A missing value
/// (`None`, or not finite) is kept where it is a bucket's first or last, and where
/// a bucket holds nothing else: a gap as long as a bucket stays a gap.
///
/// `times` must not decrease and be as many as `values`; what is beyond the
/// shorter of the two is left out. The choice depends on nothing but the arguments.
pub fn downsample(times: &[u64], values: &[Option<f64>], budget: usize) -> Vec<usize> {
    let len = times.len().min(values.len());
    if len <= budget {
        return (0..len).collect();
    }
    let mut kept = Vec::with_capacity(budget);
    if budget < 4 {
        // one bucket, of which the peak is worth most
        if let Some(bucket) = Bucket::of(0, times.iter().zip(values).map(|(_, v)| *v)) {
            kept.extend([bucket.highest, bucket.lowest, bucket.last]);
            kept.truncate(budget);
        }
        kept.sort_unstable();
        kept.dedup();
        return kept;
    }
    let buckets = (budget / 4) as u128;
    let (Some(first), Some(last)) = (times.first(), times.get(len - 1)) else {
        return kept;
    };
    let span = u128::from(last.saturating_sub(*first)) + 1;
    let bucket_of =
        |t: u64| (u128::from(t.saturating_sub(*first)) * buckets / span).min(buckets - 1);

    let mut start = 0;
    let mut current = 0;
    for (index, t) in times.iter().take(len).enumerate() {
        // never back, even where times do: the budget must hold
        let next = bucket_of(*t).max(current);
        if next != current {
            keep(&mut kept, start, values.get(start..index));
            start = index;
            current = next;
        }
    }
    keep(&mut kept, start, values.get(start..len));
    kept
}

struct Bucket {
    first: usize,
    lowest: usize,
    highest: usize,
    last: usize,
}

impl Bucket {
    fn of(start: usize, values: impl Iterator<Item = Option<f64>>) -> Option<Self> {
        let mut bucket: Option<Self> = None;
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (offset, value) in values.enumerate() {
            let index = start + offset;
            let b = bucket.get_or_insert(Self {
                first: index,
                lowest: index,
                highest: index,
                last: index,
            });
            b.last = index;
            let Some(value) = value.filter(|v| v.is_finite()) else {
                continue;
            };
            if value < low {
                (low, b.lowest) = (value, index);
            }
            if value > high {
                (high, b.highest) = (value, index);
            }
        }
        bucket
    }
}

fn keep(kept: &mut Vec<usize>, start: usize, values: Option<&[Option<f64>]>) {
    let values = values.unwrap_or_default().iter().copied();
    let Some(bucket) = Bucket::of(start, values) else {
        return;
    };
    let mut picks = [bucket.first, bucket.lowest, bucket.highest, bucket.last];
    picks.sort_unstable();
    for pick in picks {
        if kept.last() != Some(&pick) {
            kept.push(pick);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::downsample;

    #[test]
    fn few_points_stay_as_they_are() {
        assert_eq!(
            downsample(&[1, 2, 3], &[Some(1.0), None, Some(2.0)], 3),
            [0, 1, 2]
        );
        assert!(downsample(&[], &[], 0).is_empty());
    }

    #[test]
    fn a_gap_stays_a_gap_and_a_peak_a_peak() {
        let times: Vec<u64> = (0..1000).collect();
        let mut values: Vec<Option<f64>> = times.iter().map(|t| Some((*t % 7) as f64)).collect();
        values[400..500].fill(None);
        values[777] = Some(99.0);
        let kept = downsample(&times, &values, 100);
        assert!(kept.contains(&777));
        let in_gap: Vec<_> = kept.iter().filter(|i| (400..500).contains(*i)).collect();
        assert!(in_gap.len() >= 2 && in_gap.iter().all(|i| values[**i].is_none()));
    }

    proptest! {
        #[test]
        fn the_budget_holds_and_the_extremes_stay(
            points in prop::collection::vec((any::<u64>(), prop::option::of(-1e9..1e9f64)), 0..400),
            budget in 0usize..120,
            sorted in any::<bool>(),
        ) {
            let (mut times, values): (Vec<u64>, Vec<_>) = points.into_iter().unzip();
            if sorted {
                times.sort_unstable();
            }
            let kept = downsample(&times, &values, budget);
            prop_assert!(kept.len() <= budget);
            prop_assert!(kept.windows(2).all(|w| w[0] < w[1]), "in order, none twice: {kept:?}");
            let known = || values.iter().flatten().copied();
            let shown = || kept.iter().filter_map(|i| values[*i]);
            if budget >= 1 && known().next().is_some() {
                prop_assert_eq!(shown().reduce(f64::max), known().reduce(f64::max));
            }
            if budget >= 4 {
                prop_assert_eq!(shown().reduce(f64::min), known().reduce(f64::min));
                prop_assert_eq!(kept.first(), (!times.is_empty()).then_some(&0));
            }
        }
    }
}
