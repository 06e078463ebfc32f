//! One thread that reads every meter at absolute times.
//!
//! ```text
//! Sampler ──command──► Control ◄──wakes── sampler thread ──reads──► Slot (meter, buffers)
//!                         ▲
//!                      watchdog: replaces a thread that hangs in a meter
//! ```
//!
//! Tick `k` of a window is due at its begin plus `k` intervals on CLOCK_MONOTONIC, so
//! that lateness does not add up. A meter is read under no lock but its own. One that
//! panics is dropped with its reason. One that does not return within
//! [`Options::blocked_after`] is given up together with the thread that waits for it:
//! the watchdog raises the generation and starts another thread for the other meters;
//! the old one, should it ever return, sees that it is out of date and ends without
//! touching anything. Rows that a meter gave before it was dropped are kept.

mod buffer;
mod control;
mod stats;
#[cfg(test)]
mod tests;
mod thread;

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use lem_record::Board;

use self::control::{Command, Shared};
pub use self::stats::{DroppedMeter, MissedReason, SourceMissed, Window, WindowStats};
use super::{Meter, Source};

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time between two readings.
    pub interval: Duration,
    /// A reading that takes longer than this is never waited for again.
    pub blocked_after: Duration,
    /// Length of a window that the buffers are made for; a longer one lets them grow.
    pub expected_window: Duration,
}

impl Options {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            blocked_after: Duration::from_secs(2).max(interval * 5),
            expected_window: Duration::from_secs(60),
        }
    }
}

/// Reads meters in windows. Between windows its thread sleeps.
#[derive(Debug)]
pub struct Sampler {
    shared: Arc<Shared>,
    sources: Vec<Source>,
    watchdog: Option<JoinHandle<()>>,
}

impl Sampler {
    pub fn start(meters: Vec<Box<dyn Meter>>, interval: Duration) -> std::io::Result<Self> {
        Self::with_options(meters, Options::new(interval))
    }

    pub fn with_options(meters: Vec<Box<dyn Meter>>, options: Options) -> std::io::Result<Self> {
        let sources = meters
            .iter()
            .flat_map(|meter| meter.sources().iter().cloned())
            .collect();
        let shared = Arc::new(Shared::new(meters, options));
        thread::spawn(&shared, 0)?;
        let watched = Arc::clone(&shared);
        let watchdog = std::thread::Builder::new()
            .name("lem-watchdog".into())
            .spawn(move || thread::watch(&watched));
        let mut sampler = Self {
            shared,
            sources,
            watchdog: None,
        };
        // From here on, an error drops the sampler, which ends its thread.
        sampler.watchdog = Some(watchdog?);
        Ok(sampler)
    }

    /// Every source of every meter, dropped ones included.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Shows each reading of a window on the board, and nothing between windows.
    pub fn show(&self, board: &Board) {
        for slot in &self.shared.slots {
            slot.buffers().show(board);
        }
    }

    /// Reads everything, then goes on at each interval. Returns once the first reading is
    /// done: what is measured from now on lies inside the window. Rows of a window that was
    /// begun before and not ended are lost.
    pub fn begin_window(&mut self) {
        self.command(Command::Begin);
    }

    /// Reads everything at once and stops. The readings reach from before
    /// [`Sampler::begin_window`] returned to after this was called.
    pub fn end_window(&mut self) -> Window {
        self.command(Command::End);
        self.take()
    }

    /// Takes out what a window has so far, up to a reading now, and goes on. The next
    /// segment starts after that reading: written one after the other they are one series.
    pub fn take_segment(&mut self) -> Window {
        self.command(Command::Segment);
        self.take()
    }

    fn command(&mut self, command: Command) {
        let shared = &*self.shared;
        let mut control = shared.lock();
        control.command = Some(command);
        shared.wake.notify_all();
        shared.watch.notify_all();
        while control.command.is_some() && control.failure.is_none() {
            control = shared
                .done
                .wait(control)
                .unwrap_or_else(PoisonError::into_inner);
        }
        control.command = None;
    }

    fn take(&mut self) -> Window {
        let mut window = Window::default();
        {
            let mut control = self.shared.lock();
            control.take(&mut window);
        }
        for slot in &self.shared.slots {
            let (samples, missed) = slot.buffers().take();
            window.samples.extend(samples);
            window.stats.missed_by_source.extend(missed);
            window.stats.dropped.extend(slot.dropped());
        }
        window
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.lock().quit = true;
        self.shared.wake.notify_all();
        self.shared.watch.notify_all();
        // The watchdog waits for nobody, and the sampler's thread is not joined: it may hang.
        if let Some(watchdog) = self.watchdog.take() {
            let _ = watchdog.join();
        }
    }
}
