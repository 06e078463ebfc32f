use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicI64, Ordering};

/// What this process adds to CLOCK_MONOTONIC: 0, unless it goes on with a log that was begun
/// before the machine was last started.
static AHEAD_NS: AtomicI64 = AtomicI64::new(0);

/// One moment on both clocks.
///
/// Durations are taken from `mono_ns` (CLOCK_MONOTONIC, comparable between
/// processes of one boot); `unix_ns` is for people and for remote services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    pub mono_ns: u64,
    pub unix_ns: i64,
}

impl Stamp {
    /// Reads both clocks, one right after the other.
    pub fn now() -> Self {
        Self {
            mono_ns: Self::mono_ns(),
            unix_ns: read(ClockId::Realtime),
        }
    }

    /// Reads CLOCK_MONOTONIC only: what a hot path should call.
    pub fn mono_ns() -> u64 {
        Self::of_clock(read(ClockId::Monotonic).unsigned_abs())
    }

    /// The time that another program took from CLOCK_MONOTONIC, as [`Stamp::mono_ns`] tells it.
    pub fn of_clock(clock_ns: u64) -> u64 {
        clock_ns.saturating_add_signed(AHEAD_NS.load(Ordering::Relaxed))
    }

    /// Lets this process's monotonic times go on from those of an earlier boot: as much later
    /// than `last` as the wall clock says, and later in any case. Of several logs the latest
    /// counts. Before anything is measured.
    pub fn go_on_from(last: Self) {
        let now = Self::now();
        let passed = (i128::from(now.unix_ns) - i128::from(last.unix_ns)).max(1_000_000_000);
        let due = i128::from(last.mono_ns) + passed;
        let ahead = i64::try_from(due - i128::from(now.mono_ns)).unwrap_or(0);
        if ahead > 0 {
            AHEAD_NS.fetch_add(ahead, Ordering::Relaxed);
        }
    }

    /// The wall time of another monotonic time, taking this stamp as the tie.
    pub fn unix_ns_at(&self, mono_ns: u64) -> i64 {
        let delta = i128::from(mono_ns) - i128::from(self.mono_ns);
        i64::try_from(i128::from(self.unix_ns) + delta).unwrap_or(self.unix_ns)
    }

    pub fn unix_ms(&self) -> i64 {
        self.unix_ns.div_euclid(1_000_000)
    }
}

fn read(clock: ClockId) -> i64 {
    let t = clock_gettime(clock);
    t.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(t.tv_nsec)
}
