//! Fewer samples for the sinks than the log has.
//!
//! How many of a source's first `n` samples may be sent is a fixed function of
//! `n` alone ([`allowance`]): the first 4096 all, then 640 for each doubling, and
//! never more than 10,000. A record may keep what the allowance grows by over its
//! samples, so the choice depends only on the records before it. A live run, a
//! replay and a resend from the middle therefore send the very same points, though
//! nobody knows beforehand how long a run will be. The price: in a long run the
//! later part is coarser than the earlier. `timeseries.parquet` has every sample.

use lem_record::{Column, Samples, downsample};

/// Points a series, at most.
pub const MAX_POINTS: u64 = 10_000;
const ALL_OF_THE_FIRST: u64 = 4096;
const PER_DOUBLING: u64 = 640;
/// After 2^20 samples (29 hours at 100 ms) little is left to give.
const GENEROUS_DOUBLINGS: u64 = 8;
const PER_LATER_DOUBLING: u64 = 56;

/// How many of the first `n` samples may be sent. Never falls, never grows by
/// more than `n` does.
pub fn allowance(n: u64) -> u64 {
    let Some(doublings) = (n / ALL_OF_THE_FIRST).checked_ilog2() else {
        return n;
    };
    let doublings = u64::from(doublings);
    let base = ALL_OF_THE_FIRST << doublings;
    let generous = doublings.min(GENEROUS_DOUBLINGS);
    let step = if doublings < GENEROUS_DOUBLINGS {
        PER_DOUBLING
    } else {
        PER_LATER_DOUBLING
    };
    let before = PER_DOUBLING * generous + PER_LATER_DOUBLING * (doublings - generous);
    let within = u128::from(step) * u128::from(n - base) / u128::from(base);
    (ALL_OF_THE_FIRST + before)
        .saturating_add(within as u64)
        .min(MAX_POINTS)
}

/// What is to be sent of samples that `seen` samples of their source precede.
#[derive(Debug, PartialEq)]
pub enum Thinned {
    /// All of them.
    Whole,
    /// These. A value that another column's point does not need is `None`.
    Some(Samples),
    Nothing,
}

pub fn thin(samples: &Samples, seen: u64) -> Thinned {
    let len = samples.t_ns.len() as u64;
    let budget = allowance(seen.saturating_add(len)) - allowance(seen);
    if budget >= len {
        return Thinned::Whole;
    }
    let budget = usize::try_from(budget).unwrap_or(usize::MAX);
    let kept: Vec<Vec<usize>> = samples
        .columns
        .iter()
        .map(|column| downsample(&samples.t_ns, &column.values, budget))
        .collect();
    let mut rows: Vec<usize> = kept.iter().flatten().copied().collect();
    rows.sort_unstable();
    rows.dedup();
    if rows.is_empty() {
        return Thinned::Nothing;
    }
    let columns = samples
        .columns
        .iter()
        .zip(&kept)
        .map(|(column, kept)| Column {
            metric: column.metric.clone(),
            attributes: column.attributes.clone(),
            how: column.how,
            values: rows
                .iter()
                .map(|row| match kept.binary_search(row) {
                    Ok(_) => column.values.get(*row).copied().flatten(),
                    Err(_) => None,
                })
                .collect(),
        });
    Thinned::Some(Samples {
        source: samples.source.clone(),
        columns: columns.collect(),
        t_ns: rows
            .iter()
            .filter_map(|row| samples.t_ns.get(*row).copied())
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use lem_record::How;
    use proptest::prelude::*;

    use super::*;

    fn samples(start: u64, columns: &[Vec<f64>]) -> Samples {
        Samples {
            source: "gpu0".into(),
            t_ns: (0..columns[0].len() as u64)
                .map(|i| (start + i) * 1000)
                .collect(),
            columns: columns
                .iter()
                .map(|values| Column {
                    metric: "sample.power".into(),
                    attributes: BTreeMap::new(),
                    how: How::Measured,
                    values: values.iter().copied().map(Some).collect(),
                })
                .collect(),
        }
    }

    #[test]
    fn short_runs_are_sent_whole() {
        assert_eq!(thin(&samples(0, &[vec![1.0; 4096]]), 0), Thinned::Whole);
        assert_ne!(thin(&samples(0, &[vec![1.0; 4097]]), 0), Thinned::Whole);
    }

    #[test]
    fn each_column_keeps_its_own_peak() {
        let (mut a, mut b) = (vec![1.0; 5000], vec![2.0; 5000]);
        (a[4321], b[17]) = (50.0, -50.0);
        let Thinned::Some(thinned) = thin(&samples(9000, &[a, b]), 9000) else {
            panic!("thinned")
        };
        thinned.check().unwrap();
        let at = |t: u64| {
            thinned
                .t_ns
                .iter()
                .position(|x| *x == (9000 + t) * 1000)
                .unwrap()
        };
        assert_eq!(thinned.columns[0].values[at(4321)], Some(50.0));
        assert_eq!(thinned.columns[1].values[at(17)], Some(-50.0));
        let sent = thinned.columns[0].values.iter().flatten().count() as u64;
        assert!(sent <= allowance(14_000) - allowance(9000), "{sent}");
    }

    #[test]
    fn a_week_at_50_hz_stays_within_the_limit() {
        let (mut seen, mut sent, record) = (0, 0, 3000);
        let values: Vec<f64> = (0..record).map(|i| f64::from(i % 13)).collect();
        while seen < 7 * 86_400 * 50 {
            sent += match thin(&samples(seen, std::slice::from_ref(&values)), seen) {
                Thinned::Whole => u64::from(record as u32),
                Thinned::Some(some) => some.columns[0].values.iter().flatten().count() as u64,
                Thinned::Nothing => 0,
            };
            seen += u64::from(record as u32);
        }
        assert!(sent <= MAX_POINTS, "{sent}");
        assert!(sent > 6000, "the allowance is there to be used: {sent}");
    }

    proptest! {
        #[test]
        fn the_allowance_only_grows_and_never_faster_than_the_samples(
            shift in 0u32..63, low in any::<u64>(), more in 0u64..1_000_000,
        ) {
            let n = low >> shift;
            let (here, there) = (allowance(n), allowance(n.saturating_add(more)));
            prop_assert!(here <= there && there <= MAX_POINTS);
            prop_assert!(there - here <= more);
        }
    }
}
