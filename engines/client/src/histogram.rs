//! Durations in buckets of at most 1.6 % width, in constant memory.

use crate::Quantiles;

/// Buckets an octave, as a power of two.
const FINE: u32 = 6;

#[derive(Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self {
            counts: vec![0; (64 - FINE as usize + 1) << FINE],
            total: 0,
            max: 0,
        }
    }

    pub fn record(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max = self.max.max(ns);
    }

    pub fn quantiles(&self) -> Quantiles {
        Quantiles {
            count: self.total,
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            max_ns: (self.total > 0).then_some(self.max),
        }
    }

    /// The upper edge of the bucket that holds it.
    fn quantile(&self, q: f64) -> Option<u64> {
        let rank = ((self.total as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        self.counts.iter().enumerate().find_map(|(i, count)| {
            seen += count;
            (seen >= rank).then(|| upper(i).min(self.max))
        })
    }
}

fn bucket(ns: u64) -> usize {
    if ns < 1 << FINE {
        return ns as usize;
    }
    let octave = ns.ilog2() - FINE;
    ((octave as usize) << FINE) + (ns >> octave) as usize
}

fn upper(bucket: usize) -> u64 {
    if bucket < 2 << FINE {
        return bucket as u64;
    }
    let octave = (bucket >> FINE) - 1;
    let mantissa = (bucket - (octave << FINE)) as u64;
    ((mantissa + 1) << octave).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_near_and_never_below() {
        let mut h = Histogram::new();
        assert_eq!(h.quantiles(), Quantiles::default());
        (1..=1000).for_each(|i| h.record(i * 1000));
        let q = h.quantiles();
        for (got, true_value) in [
            (q.p50_ns, 500_000),
            (q.p90_ns, 900_000),
            (q.p99_ns, 990_000),
        ] {
            let got = got.unwrap();
            assert!(
                got >= true_value && got < true_value + true_value / 50,
                "{got} for {true_value}"
            );
        }
        assert_eq!(q.max_ns, Some(1_000_000));
    }

    #[test]
    fn every_number_has_its_bucket() {
        let mut h = Histogram::new();
        for ns in [0, 1, 63, 64, 127, 128, 1 << 40, u64::MAX - 1, u64::MAX] {
            h.record(ns);
            assert!(upper(bucket(ns)) >= ns, "{ns}");
            assert!(ns == 0 || upper(bucket(ns) - 1) < ns, "{ns}");
        }
    }
}
