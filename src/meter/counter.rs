//! Energy counters that wrap around.

/// More than any package, board or rail draws: a step that implies more is not a wrap-around
/// but a counter that started again.
const IMPLAUSIBLE_W: f64 = 10_000.0;

/// A raw counter in microjoules made into joules since its first reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter {
    /// The largest value before it starts again from 0; absent where the kernel does not tell.
    range_uj: Option<u64>,
    last: Option<(u64, u64)>,
    total_uj: u64,
}

/// The counter went backwards in a way that no wrap-around explains: the energy since the
/// reading before is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Restarted;

impl Counter {
    pub fn new(range_uj: Option<u64>) -> Self {
        Self {
            range_uj,
            ..Self::default()
        }
    }

    /// Joules since the first reading.
    pub fn advance(&mut self, raw_uj: u64, t_ns: u64) -> Result<f64, Restarted> {
        let last = self.last.replace((raw_uj, t_ns));
        if let Some((last_uj, last_ns)) = last {
            let step = match raw_uj.checked_sub(last_uj) {
                Some(step) => step,
                None => self
                    .wrapped(last_uj, raw_uj, t_ns.saturating_sub(last_ns))
                    .ok_or(Restarted)?,
            };
            self.total_uj = self.total_uj.saturating_add(step);
        }
        Ok(self.total_uj as f64 * 1e-6)
    }

    fn wrapped(&self, last_uj: u64, raw_uj: u64, elapsed_ns: u64) -> Option<u64> {
        let step = self.range_uj?.checked_sub(last_uj)?.checked_add(raw_uj)?;
        // A tenth of a second more: the sensor's own update may lie before the reading.
        let most_uj = IMPLAUSIBLE_W * 1e6 * (elapsed_ns as f64 * 1e-9 + 0.1);
        (step as f64 <= most_uj).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::{Counter, Restarted};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_wrap_is_bridged_and_a_restart_is_not() {
        let mut counter = Counter::new(Some(262_143_328_850));
        assert_eq!(counter.advance(262_143_000_000, SECOND), Ok(0.0));
        let after = counter.advance(171_150, 2 * SECOND).unwrap();
        assert!((after - 0.5).abs() < 1e-9, "{after}");
        counter.advance(100_000_171_150, 2000 * SECOND).unwrap();
        assert_eq!(counter.advance(5, 2001 * SECOND), Err(Restarted));
        let after = counter.advance(1_000_005, 2002 * SECOND).unwrap();
        assert!((after - 100_001.5).abs() < 1e-6, "{after}");
    }

    #[test]
    fn without_a_range_going_backwards_is_a_restart() {
        let mut counter = Counter::new(None);
        counter.advance(10, 0).unwrap();
        assert_eq!(counter.advance(9, SECOND), Err(Restarted));
    }

    proptest! {
        /// However the true energy runs, the joules equal it: wraps leave no trace.
        #[test]
        fn wraps_leave_no_trace(
            range in 1_000_000_000u64..1 << 40,
            start in 0u64..1 << 40,
            steps in prop::collection::vec(0u64..100_000_000, 1..200),
        ) {
            let mut counter = Counter::new(Some(range));
            let mut truth = 0u64;
            // The kernel's convention: range is added on a negative step, so values live in 0..range.
            let raw = |truth: u64| (start + truth) % range;
            counter.advance(raw(0), 0).unwrap();
            for (i, step) in steps.iter().enumerate() {
                truth += step;
                let t = (i as u64 + 1) * SECOND / 10;
                let joules = counter.advance(raw(truth), t).unwrap();
                prop_assert!((joules - truth as f64 * 1e-6).abs() < 1e-6);
            }
        }

        #[test]
        fn never_decreases_whatever_is_read(
            range in prop::option::of(any::<u64>()),
            raws in prop::collection::vec(any::<u64>(), 1..50),
        ) {
            let mut counter = Counter::new(range);
            let mut last = 0.0;
            for (i, raw) in raws.into_iter().enumerate() {
                if let Ok(joules) = counter.advance(raw, i as u64 * SECOND) {
                    prop_assert!(joules >= last);
                    last = joules;
                }
            }
        }
    }
}
