use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

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
        read(ClockId::Monotonic).unsigned_abs()
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
