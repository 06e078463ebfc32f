use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lem_record::{Attributes, Board, How, Live, Stamp};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

/// What was served, and what that took.
#[derive(Debug)]
pub(super) struct Served {
    scrapes: AtomicU64,
    /// Of the server's thread.
    cpu_ns: AtomicU64,
    rhythm: Mutex<Rhythm>,
    /// Whether the whole summary was scraped.
    whole: watch::Sender<bool>,
    /// So that the cost is seen beside what it may disturb.
    shown: Option<(Arc<Live>, Arc<Live>)>,
}

/// When scrapes come.
#[derive(Clone, Copy, Debug, Default)]
struct Rhythm {
    last: Option<Instant>,
    /// The latest gaps between two.
    gaps: [Duration; 4],
    next: usize,
}

impl Served {
    pub fn new(board: Option<&Arc<Board>>) -> Self {
        let own = Attributes::from([("lem.sink".to_owned(), "prometheus".to_owned())]);
        let series = |board: &Arc<Board>, id| board.series(id, &own, How::Measured);
        let shown = |board| {
            (
                series(board, "export.live_requests"),
                series(board, "export.live_cpu"),
            )
        };
        Self {
            scrapes: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            rhythm: Mutex::default(),
            whole: watch::Sender::new(false),
            shown: board.map(shown),
        }
    }

    /// A scrape was answered.
    pub fn scraped(&self, now: Instant) {
        let count = self.scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some((requests, _)) = &self.shown {
            requests.set(count as f64, Stamp::mono_ns());
        }
        let mut rhythm = self.rhythm.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = rhythm.last {
            let place = rhythm.next % rhythm.gaps.len();
            if let Some(gap) = rhythm.gaps.get_mut(place) {
                *gap = now.duration_since(last);
            }
            rhythm.next += 1;
        }
        rhythm.last = Some(now);
    }

    /// Somebody has got the whole summary.
    pub fn told_whole(&self) {
        self.whole.send_replace(true);
    }

    pub fn whole(&self) -> watch::Receiver<bool> {
        self.whole.subscribe()
    }

    /// To be called on the server's thread.
    pub fn read_cpu(&self) {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let ns = time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
        self.cpu_ns.store(ns, Ordering::Relaxed);
        if let Some((_, cpu)) = &self.shown {
            cpu.set(ns as f64 / 1e9, Stamp::mono_ns());
        }
    }

    pub fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::Relaxed)
    }

    pub fn cpu_seconds(&self) -> f64 {
        self.cpu_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// The longest of the latest gaps between two scrapes; none before the second.
    pub fn gap(&self) -> Option<Duration> {
        let rhythm = *self.rhythm.lock().unwrap_or_else(PoisonError::into_inner);
        rhythm.gaps.into_iter().max().filter(|_| rhythm.next > 0)
    }
}
