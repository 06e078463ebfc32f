//! Wakes the loop at a given time. The readiness queue itself only counts milliseconds.

#[cfg(target_os = "linux")]
pub use linux::Timer;
#[cfg(not(target_os = "linux"))]
pub use other::Timer;

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    /// A timer of the kernel's in the queue beside the sockets.
    #[derive(Debug)]
    pub struct Timer {
        fd: OwnedFd,
        armed_ns: Option<u64>,
    }

    impl Timer {
        pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self { fd, armed_ns: None })
        }

        /// `None` disarms. Returns how long the queue may wait beside it.
        pub fn set(&mut self, at_ns: Option<u64>, _now_ns: u64) -> io::Result<Option<u64>> {
            if self.armed_ns != at_ns {
                self.armed_ns = at_ns;
                let spec = |ns: u64| Timespec {
                    tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
                    // Below a thousand million.
                    tv_nsec: (ns % 1_000_000_000) as _,
                };
                let new = Itimerspec {
                    it_interval: spec(0),
                    it_value: spec(at_ns.unwrap_or(0)),
                };
                timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &new)?;
            }
            Ok(None)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;

    use mio::{Registry, Token};

    /// Elsewhere the queue's own timeout has to do, to the millisecond.
    #[derive(Debug)]
    pub struct Timer;

    impl Timer {
        pub fn new(_registry: &Registry, _token: Token) -> io::Result<Self> {
            Ok(Self)
        }

        pub fn set(&mut self, at_ns: Option<u64>, now_ns: u64) -> io::Result<Option<u64>> {
            Ok(at_ns.map(|at| at.saturating_sub(now_ns)))
        }
    }
}
