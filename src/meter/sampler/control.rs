//! What the sampler's threads share.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lem_record::{ClockPairs, Stamp};

use super::buffer::Buffers;
use super::{DroppedMeter, Options, Window, WindowStats};
use crate::meter::Meter;

const SECOND_NS: u64 = 1_000_000_000;

/// How often the expensive readings come between the edges of a window. An energy counter
/// takes 4 ms of the processor on an H100, and up to 30: once a second it would cost more than
/// all the rest, and what a window needs of it are its edges.
const EDGES_EVERY_NS: u64 = 5 * SECOND_NS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Begin,
    End,
    Segment,
}

pub(super) struct Shared {
    pub interval_ns: u64,
    pub blocked_after: Duration,
    pub slots: Vec<Slot>,
    control: Mutex<Control>,
    /// To the sampler's thread: a command, or the end.
    pub wake: Condvar,
    /// To the watchdog: there is something to watch, or the end.
    pub watch: Condvar,
    /// To the caller: the command is carried out.
    pub done: Condvar,
}

/// A meter and what it has said.
pub(super) struct Slot {
    pub name: &'static str,
    source_ids: Vec<String>,
    /// Locked while the meter is read: for ever, by a meter that hangs.
    pub meter: Mutex<Box<dyn Meter>>,
    buffers: Mutex<Buffers>,
    /// Why the meter is read no more.
    pub dead: OnceLock<String>,
}

#[derive(Debug)]
pub(super) struct Control {
    /// The number of the thread that may act; others end.
    pub generation: u64,
    pub command: Option<Command>,
    pub open: bool,
    pub quit: bool,
    pub failure: Option<String>,
    /// The slot that is being read, and since when.
    pub busy: Option<(usize, u64)>,
    origin_ns: u64,
    /// The tick that is due next: `origin + next_tick · interval`.
    next_tick: u64,
    last_read_ns: u64,
    last_edges_ns: u64,
    last_clock_ns: u64,
    pub stats: WindowStats,
    clock: Vec<(u64, i64)>,
}

impl Shared {
    pub fn new(meters: Vec<Box<dyn Meter>>, options: Options) -> Self {
        let interval_ns = u64::try_from(options.interval.as_nanos())
            .unwrap_or(u64::MAX)
            .max(1);
        let window = options.expected_window;
        let rows = window.as_nanos() / u128::from(interval_ns);
        // A millisecond's rhythm for a minute; more grows as it comes.
        let rows = usize::try_from(rows).unwrap_or(usize::MAX).min(60_000) + 64;
        let seconds = usize::try_from(window.as_secs()).unwrap_or(0).min(3_600);
        Self {
            interval_ns,
            blocked_after: options.blocked_after,
            slots: meters.into_iter().map(|m| Slot::new(m, rows)).collect(),
            control: Mutex::new(Control::new(seconds + 8)),
            wake: Condvar::new(),
            watch: Condvar::new(),
            done: Condvar::new(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.slots.iter().map(|slot| slot.name).collect();
        f.debug_struct("Shared")
            .field("interval_ns", &self.interval_ns)
            .field("meters", &names)
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn new(meter: Box<dyn Meter>, rows: usize) -> Self {
        Self {
            name: meter.name(),
            source_ids: meter.sources().iter().map(|s| s.id.clone()).collect(),
            buffers: Mutex::new(Buffers::new(meter.sources(), rows)),
            meter: Mutex::new(meter),
            dead: OnceLock::new(),
        }
    }

    pub fn buffers(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn dropped(&self) -> Option<DroppedMeter> {
        self.dead.get().map(|reason| DroppedMeter {
            meter: self.name.to_owned(),
            sources: self.source_ids.clone(),
            reason: reason.clone(),
        })
    }
}

impl Control {
    fn new(clock_pairs: usize) -> Self {
        Self {
            generation: 0,
            command: None,
            open: false,
            quit: false,
            failure: None,
            busy: None,
            origin_ns: 0,
            next_tick: 0,
            last_read_ns: 0,
            last_edges_ns: 0,
            last_clock_ns: 0,
            stats: WindowStats::default(),
            clock: Vec::with_capacity(clock_pairs),
        }
    }

    /// A window starts: its ticks count from now.
    pub fn begin(&mut self, now_ns: u64) {
        self.stats = WindowStats::default();
        self.clock.clear();
        self.origin_ns = now_ns;
        self.next_tick = 1;
        self.last_read_ns = now_ns;
        self.last_edges_ns = now_ns;
        self.push_clock();
        self.open = true;
    }

    /// A reading at an edge that is not the first.
    pub fn edge(&mut self, now_ns: u64) {
        self.gap(now_ns);
        self.last_edges_ns = now_ns;
        self.push_clock();
    }

    pub fn due_ns(&self, interval_ns: u64) -> u64 {
        let ticks = self.next_tick.saturating_mul(interval_ns);
        self.origin_ns.saturating_add(ticks)
    }

    /// Counts the tick that is due, and says whether the edges are due with it.
    pub fn tick(&mut self, now_ns: u64, interval_ns: u64) -> bool {
        let lateness = now_ns.saturating_sub(self.due_ns(interval_ns));
        let skipped = lateness / interval_ns;
        self.stats.taken += 1;
        self.stats.missed += skipped;
        // Of several that are due the last one is taken now; it is late by what is left over.
        if lateness % interval_ns > interval_ns / 2 {
            self.stats.late += 1;
        }
        self.next_tick += skipped + 1;
        self.gap(now_ns);
        if now_ns.saturating_sub(self.last_clock_ns) >= SECOND_NS {
            self.push_clock();
        }
        let edges = now_ns.saturating_sub(self.last_edges_ns) >= EDGES_EVERY_NS;
        if edges {
            self.last_edges_ns = now_ns;
        }
        edges
    }

    fn gap(&mut self, now_ns: u64) {
        let gap = now_ns.saturating_sub(self.last_read_ns);
        self.stats.max_gap_ns = self.stats.max_gap_ns.max(gap);
        self.last_read_ns = now_ns;
    }

    fn push_clock(&mut self) {
        let stamp = Stamp::now();
        self.last_clock_ns = stamp.mono_ns;
        self.clock.push((stamp.mono_ns, stamp.unix_ns));
    }

    pub fn take(&mut self, window: &mut Window) {
        let capacity = self.clock.capacity();
        window.stats = std::mem::take(&mut self.stats);
        window.stats.failure.clone_from(&self.failure);
        window.clock = ClockPairs {
            pairs: std::mem::replace(&mut self.clock, Vec::with_capacity(capacity)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::Control;

    const INTERVAL: u64 = 100;

    fn begun_at(origin: u64) -> Control {
        let mut control = Control::new(1);
        control.begin(origin);
        control
    }

    #[test]
    fn deadlines_do_not_drift_when_each_tick_is_a_little_late() {
        let mut control = begun_at(1_000);
        for k in 1..=50 {
            assert_eq!(control.due_ns(INTERVAL), 1_000 + k * INTERVAL);
            control.tick(1_000 + k * INTERVAL + 30, INTERVAL);
        }
        let stats = &control.stats;
        assert_eq!((stats.taken, stats.late, stats.missed), (50, 0, 0));
        assert_eq!(stats.max_gap_ns, 130);
    }

    #[test]
    fn late_and_missed_ticks_are_told_apart() {
        let mut control = begun_at(0);
        control.tick(151, INTERVAL); // due at 100: late
        control.tick(200, INTERVAL); // on time
        control.tick(610, INTERVAL); // 300, 400, 500 missed; 600 taken in time
        control.tick(1_090, INTERVAL); // 700, 800, 900 missed... 1,000 taken late
        let stats = &control.stats;
        assert_eq!((stats.taken, stats.late, stats.missed), (4, 2, 6));
        assert_eq!(control.due_ns(INTERVAL), 1_100);
        assert_eq!(stats.max_gap_ns, 480);
    }

    #[test]
    fn expensive_readings_come_every_five_seconds() {
        let mut control = begun_at(0);
        let ms = 1_000_000;
        let due = |k: &u64| control.tick(k * 100 * ms, 100 * ms);
        let edges: Vec<u64> = (1..=120).filter(due).collect();
        assert_eq!(edges, [50, 100]);
    }
}
