//! The clocks of the run.

use rustix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC, nanoseconds: comparable between processes of one boot.
pub fn now_ns() -> u64 {
    read(ClockId::Monotonic)
}

/// Wall time since 1970, nanoseconds.
pub fn real_ns() -> u64 {
    read(ClockId::Realtime)
}

/// Processor time of this thread, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    read(ClockId::ThreadCPUTime)
}

/// How long this thread was ready to run and had no core, nanoseconds.
pub fn waited_for_core_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
