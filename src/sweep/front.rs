//! The Pareto front of throughput (more is better) against energy (less is better).

/// Whether each point is on the front: no other is at least as good in both and better in one.
/// Equal points stay together; a point without a finite value in both is on none.
///
/// Sort by throughput and sweep: O(n log n).
pub fn front(points: &[Option<(f64, f64)>]) -> Vec<bool> {
    let mut on = vec![false; points.len()];
    let mut sorted: Vec<(usize, f64, f64)> = points
        .iter()
        .enumerate()
        .filter_map(|(n, point)| point.map(|(more, less)| (n, more, less)))
        .filter(|(_, more, less)| more.is_finite() && less.is_finite())
        // −0 and 0 are one number, and would be two to `total_cmp`.
        .map(|(n, more, less)| (n, more + 0.0, less + 0.0))
        .collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.2.total_cmp(&b.2)));
    // The least energy among all with more throughput.
    let mut least = f64::INFINITY;
    for alike in sorted.chunk_by(|a, b| a.1 == b.1) {
        let Some((_, _, best)) = alike.first().copied() else {
            continue;
        };
        if best < least {
            for (n, _, _) in alike.iter().take_while(|(_, _, less)| *less == best) {
                if let Some(mark) = on.get_mut(*n) {
                    *mark = true;
                }
            }
            least = best;
        }
    }
    on
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::front;

    /// By the definition, O(n²).
    fn by_definition(points: &[Option<(f64, f64)>]) -> Vec<bool> {
        let there = |p: &Option<(f64, f64)>| p.filter(|(a, b)| a.is_finite() && b.is_finite());
        let beats =
            |a: (f64, f64), b: (f64, f64)| a.0 >= b.0 && a.1 <= b.1 && (a.0 > b.0 || a.1 < b.1);
        points
            .iter()
            .map(|point| {
                there(point).is_some_and(|point| {
                    !points
                        .iter()
                        .filter_map(there)
                        .any(|other| beats(other, point))
                })
            })
            .collect()
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            // Few values, so that ties and duplicates are common.
            4 => (0_i32..6).prop_map(f64::from),
            2 => -1e6_f64..1e6,
            1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), Just(0.0)],
        ]
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says(
            points in prop::collection::vec(prop::option::weighted(0.9, (value(), value())), 0..60)
        ) {
            prop_assert_eq!(front(&points), by_definition(&points));
        }
    }

    #[test]
    fn ties_and_duplicates_stay() {
        let points = [(1.0, 1.0), (2.0, 2.0), (2.0, 2.0), (2.0, 3.0), (0.5, 1.0)].map(Some);
        assert_eq!(front(&points), [true, true, true, false, false]);
        assert_eq!(front(&[None]), [false]);
    }
}
