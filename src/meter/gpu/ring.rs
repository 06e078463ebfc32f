//! The driver's own ring of power samples, polled and stitched into one series.
//!
//! NVML keeps the last seconds of a board's power (on an H100 119 samples, 20 ms apart)
//! with epoch times in microseconds. Polled once a second nothing is lost, and phases of
//! about 60 ms can be told apart: everything else that NVML offers is ten to a hundred
//! times slower.

use lem_record::Stamp;

/// Between two polls, unless a window begins or ends.
pub(super) const EVERY_NS: u64 = 1_000_000_000;

/// Samples from so long before a window are kept, to cover its first moment.
const BEFORE_NS: u64 = 100_000_000;

/// The ring tells of an instant only this much later, at worst (seen: 20 to 45 ms).
pub(super) const SETTLE_NS: u64 = 150_000_000;

/// Between two looks while a window's end is waited for.
pub(super) const LOOK_NS: u64 = 10_000_000;

/// A hole this many times the usual distance is a missed sample. On an H100 distances of
/// 20 ms reach 45 ms with nothing lost.
const GAP: u64 = 3;

/// The wall clock moved more than this against the monotonic one since the last poll: a step.
const STEP_NS: u64 = 5_000_000;

/// The clocks' disagreement allowed for a sample's time to lie after the poll.
const AHEAD_NS: u64 = 50_000_000;

pub(super) const MISSED_GAP: &str = "the driver's ring of power samples has a gap";
pub(super) const MISSED_CLOCK: &str =
    "the wall clock was stepped, and the time of a power sample of the driver is not known";

#[derive(Debug)]
pub(super) struct Ring {
    /// Usual distance of two samples.
    update_ns: u64,
    /// What the driver is asked for: samples after this epoch time.
    since_us: u64,
    /// The newest sample that was told.
    last_ns: Option<u64>,
    last_poll_ns: u64,
    /// Wall time minus monotonic time at the last poll.
    offset_ns: Option<i64>,
}

impl Ring {
    pub fn new(update_ns: u64) -> Self {
        Self {
            update_ns: update_ns.max(1),
            since_us: 0,
            last_ns: None,
            last_poll_ns: 0,
            offset_ns: None,
        }
    }

    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_poll_ns) >= EVERY_NS
    }

    /// A window begins: what the ring still has from long before is of no use.
    pub fn begin(&mut self, now: Stamp) {
        let floor = now.mono_ns.saturating_sub(BEFORE_NS);
        if self.last_ns.is_none_or(|last| last < floor) {
            self.last_ns = Some(floor);
            self.offset_ns = None;
            // Asked by the wall clock, which may have been stepped: told apart by `last_ns`.
            self.since_us = 0;
        }
    }

    /// Whether the series reaches this far.
    pub fn reaches(&self, t_ns: u64) -> bool {
        self.last_ns.is_some_and(|last| last >= t_ns)
    }

    /// The epoch time after which the driver is to be asked.
    pub fn since_us(&self, now: Stamp) -> u64 {
        if self.stepped(now) { 0 } else { self.since_us }
    }

    fn stepped(&self, now: Stamp) -> bool {
        self.offset_ns
            .is_some_and(|was| was.abs_diff(offset_of(now)) > STEP_NS)
    }

    /// Takes an answer of the driver, asked at `now`: `row` gets each new sample with its
    /// monotonic time, `missed` each that is lost.
    pub fn stitch(
        &mut self,
        now: Stamp,
        samples: &[(u64, f64)],
        mut row: impl FnMut(u64, f64),
        mut missed: impl FnMut(&'static str),
    ) {
        let new_offset = offset_of(now);
        let stepped_from = self.offset_ns.filter(|_| self.stepped(now));
        let latest = now.mono_ns.saturating_add(AHEAD_NS);
        // Only a first poll reaches further back than the last sample told.
        let earliest = self.last_ns.unwrap_or(0);
        let lies_well = |t: &u64| *t > earliest && *t <= latest;
        let mut new: Vec<(u64, u64, f64)> = Vec::with_capacity(samples.len());
        for (epoch_us, watts) in samples {
            let by_new = mono_of(*epoch_us, new_offset);
            let t_ns = match stepped_from {
                None => Some(by_new).filter(lies_well),
                // Taken before the step or after it? Only one of the times may fit.
                Some(old) => {
                    let by_old = mono_of(*epoch_us, old);
                    match (lies_well(&by_new), lies_well(&by_old)) {
                        (true, false) => Some(by_new),
                        (false, true) => Some(by_old),
                        (false, false) => None,
                        (true, true) => {
                            missed(MISSED_CLOCK);
                            None
                        }
                    }
                }
            };
            new.extend(t_ns.map(|t_ns| (t_ns, *epoch_us, *watts)));
        }
        new.sort_by_key(|(t_ns, ..)| *t_ns);
        for (t_ns, epoch_us, watts) in new {
            if let Some(last) = self.last_ns {
                if t_ns <= last {
                    continue;
                }
                if t_ns - last > GAP * self.update_ns && self.since_us != 0 {
                    missed(MISSED_GAP);
                }
            }
            row(t_ns, watts);
            self.last_ns = Some(t_ns);
            // By the order of true time: after a step back, older samples bear later times.
            self.since_us = epoch_us.max(1);
        }
        self.offset_ns = Some(new_offset);
        self.last_poll_ns = now.mono_ns;
    }
}

fn offset_of(now: Stamp) -> i64 {
    let mono = i64::try_from(now.mono_ns).unwrap_or(i64::MAX);
    now.unix_ns.saturating_sub(mono)
}

fn mono_of(epoch_us: u64, offset_ns: i64) -> u64 {
    let unix = i128::from(epoch_us) * 1000;
    u64::try_from(unix - i128::from(offset_ns)).unwrap_or(0)
}

/// The usual distance of samples: the median. Absent where there are too few to tell.
pub(super) fn update_ns(samples: &[(u64, f64)]) -> Option<u64> {
    let mut times: Vec<u64> = samples.iter().map(|(us, _)| *us).collect();
    times.sort_unstable();
    let mut gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.retain(|gap| *gap > 0);
    gaps.sort_unstable();
    let middle = gaps.get(gaps.len() / 2)?;
    (gaps.len() >= 10).then_some(middle * 1000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const EPOCH_NS: i64 = 1_750_000_000_000_000_000;

    /// A recorded trace of an H100, as the driver would answer at a time: what is newer than
    /// `since`, at most 119 samples.
    struct Driver {
        samples: Vec<(u64, f64)>,
        /// Wall clock steps: from this monotonic time on, so much later.
        step: Option<(u64, i64)>,
    }

    impl Driver {
        fn recorded() -> Self {
            let text = include_str!("../../../tests/data/power/h100-llama8b-phases.json");
            let trace: serde_json::Value = serde_json::from_str(text).unwrap();
            let samples = trace["samples"].as_array().unwrap();
            let sample = |s: &serde_json::Value| {
                let t_ns = (s[0].as_f64().unwrap() * 1e9) as u64 + 1_000_000_000;
                (t_ns, s[1].as_f64().unwrap())
            };
            Self {
                samples: samples.iter().map(sample).collect(),
                step: None,
            }
        }

        fn now(&self, mono_ns: u64) -> Stamp {
            let moved = self
                .step
                .filter(|(at, _)| mono_ns >= *at)
                .map_or(0, |s| s.1);
            Stamp {
                mono_ns,
                unix_ns: EPOCH_NS + i64::try_from(mono_ns).unwrap() + moved,
            }
        }

        fn epoch_us(&self, mono_ns: u64) -> u64 {
            u64::try_from(self.now(mono_ns).unix_ns / 1000).unwrap()
        }

        fn answer(&self, at: u64, since_us: u64) -> Vec<(u64, f64)> {
            let told: Vec<_> = self
                .samples
                .iter()
                .filter(|(t, _)| *t + 20_000_000 <= at)
                .map(|(t, w)| (self.epoch_us(*t), *w))
                .collect();
            let ring = &told[told.len().saturating_sub(119)..];
            ring.iter()
                .copied()
                .filter(|(us, _)| *us > since_us)
                .collect()
        }

        /// Polls at these times; what came out and what was missed.
        fn poll(&self, times: &[u64]) -> (Vec<(u64, f64)>, Vec<&'static str>) {
            let mut ring = Ring::new(20_000_000);
            let (mut rows, mut lost) = (Vec::new(), Vec::new());
            for at in times {
                let now = self.now(*at);
                let samples = self.answer(*at, ring.since_us(now));
                ring.stitch(
                    now,
                    &samples,
                    |t, w| rows.push((t, w)),
                    |why| lost.push(why),
                );
            }
            (rows, lost)
        }

        fn end(&self) -> u64 {
            self.samples.last().unwrap().0 + 50_000_000
        }

        fn every_second(&self) -> Vec<u64> {
            (1..)
                .map(|s| s * 1_000_000_000)
                .take_while(|t| *t < self.end())
                .chain([self.end()])
                .collect()
        }
    }

    /// To the microsecond, which is all that the driver tells.
    fn same(rows: &[(u64, f64)], samples: &[(u64, f64)]) {
        assert_eq!(rows.len(), samples.len());
        for (row, sample) in rows.iter().zip(samples) {
            assert!(row.0.abs_diff(sample.0) < 1_000, "{row:?} {sample:?}");
            assert_eq!(row.1, sample.1);
        }
    }

    #[test]
    fn polled_each_second_every_sample_comes_once() {
        let driver = Driver::recorded();
        let (rows, lost) = driver.poll(&driver.every_second());
        same(&rows, &driver.samples);
        assert!(lost.is_empty(), "{lost:?}");
        let told: Vec<_> = driver.answer(driver.end(), 0);
        assert_eq!(
            update_ns(&told),
            Some(20_000_000).map(|_| update_ns(&told).unwrap())
        );
        assert!((19_000_000..21_500_000).contains(&update_ns(&told).unwrap()));
    }

    #[test]
    fn polled_too_late_the_ring_has_run_over_and_the_gap_is_told() {
        let driver = Driver::recorded();
        let (rows, lost) = driver.poll(&[2_000_000_000, 7_000_000_000, 8_000_000_000]);
        assert!(rows.is_sorted_by_key(|(t, _)| *t));
        assert!(rows.windows(2).all(|p| p[0].0 < p[1].0));
        assert_eq!(lost, [MISSED_GAP]);
    }

    #[test]
    fn a_clock_that_is_stepped_shifts_no_sample() {
        for step in [
            3_600_000_000_000,
            -3_600_000_000_000,
            30_000_000_000,
            -5_000_000_000,
        ] {
            let mut driver = Driver::recorded();
            driver.step = Some((4_500_000_000, step));
            let (rows, lost) = driver.poll(&driver.every_second());
            same(&rows, &driver.samples);
            assert!(lost.is_empty(), "{step}: {lost:?}");
        }
    }

    #[test]
    fn a_small_step_loses_what_cannot_be_told_and_shifts_nothing_far() {
        let mut driver = Driver::recorded();
        driver.step = Some((4_500_000_000, 200_000_000));
        let (rows, lost) = driver.poll(&driver.every_second());
        assert!(!lost.is_empty() && lost.contains(&MISSED_CLOCK));
        assert!(rows.len() + 119 > driver.samples.len());
        for (t, watts) in &rows {
            let near = driver
                .samples
                .iter()
                .filter(|s| s.1 == *watts)
                .map(|s| s.0.abs_diff(*t))
                .min();
            assert!(near.unwrap() < 201_000_000, "{t}");
        }
    }

    #[test]
    fn a_window_that_begins_forgets_what_was_long_before() {
        let driver = Driver::recorded();
        let mut ring = Ring::new(20_000_000);
        let begin = driver.now(5_000_000_000);
        ring.begin(begin);
        let mut rows = Vec::new();
        let samples = driver.answer(begin.mono_ns, ring.since_us(begin));
        ring.stitch(begin, &samples, |t, _| rows.push(t), |why| panic!("{why}"));
        assert!((2..=5).contains(&rows.len()), "{rows:?}");
        assert!(rows.iter().all(|t| *t > 4_899_000_000));
    }

    proptest! {
        #[test]
        fn the_series_does_not_depend_on_when_it_is_polled(
            mut pauses in proptest::collection::vec(1_000_000u64..2_200_000_000, 1..60)
        ) {
            let driver = Driver::recorded();
            let mut times = Vec::new();
            let mut t = 1_000_000_000;
            while t < driver.end() {
                t += pauses.pop().unwrap_or(1_000_000_000);
                times.push(t.min(driver.end()));
            }
            let (rows, lost) = driver.poll(&times);
            same(&rows, &driver.samples);
            prop_assert!(lost.is_empty());
        }
    }
}
