//! A sign of life while the run is measured and nothing else may be sent.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lem_record::ExportError;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use super::Remote;
use crate::WandbConfig;

/// As often as the official client.
pub(crate) const PERIOD: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    /// Processor time of the thread, ns.
    cpu_ns: AtomicU64,
}

/// Runs until it is stopped or dropped, on a thread and with a connection of its own.
pub(crate) struct Heartbeat {
    counts: Arc<Counts>,
    /// The thread ends when this does.
    stop: Mutex<Option<SyncSender<()>>>,
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Heartbeat({:?})", self.counts)
    }
}

impl Heartbeat {
    pub fn start(
        config: &WandbConfig,
        remote: &Remote,
        period: Duration,
    ) -> Result<Self, ExportError> {
        // a pool of connections belongs to the runtime that made it
        let client = super::client(config)?;
        let path = remote.stream_path();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let beat = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                let request = client.post(&path).json(&json!({})).timeout(TIMEOUT);
                let reply = runtime.block_on(request.send());
                let count = match reply.is_ok_and(|reply| reply.is_success()) {
                    true => &shared.sent,
                    false => &shared.failed,
                };
                count.fetch_add(1, Ordering::Relaxed);
                let cpu = clock_gettime(ClockId::ThreadCPUTime);
                let ns = cpu.tv_sec.saturating_mul(1_000_000_000);
                let ns = ns.saturating_add(cpu.tv_nsec).unsigned_abs();
                shared.cpu_ns.store(ns, Ordering::Relaxed);
            }
        };
        let thread = std::thread::Builder::new().name("wandb-heartbeat".to_owned());
        thread
            .spawn(beat)
            .map_err(|error| ExportError::retry(format!("no thread for the heartbeat: {error}")))?;
        Ok(Self {
            counts,
            stop: Mutex::new(Some(stop)),
        })
    }

    pub fn stop(&self) {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        drop(stop.take());
    }

    /// How many were answered, how many were not, and the processor time in seconds.
    pub fn counts(&self) -> (u64, u64, f64) {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let cpu_s = load(&self.counts.cpu_ns) as f64 / 1e9;
        (load(&self.counts.sent), load(&self.counts.failed), cpu_s)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::{Duration, Instant};

    use lem_testkit::{FakeServer, Response};

    use super::super::Remote;
    use super::Heartbeat;
    use crate::WandbConfig;

    #[test]
    fn it_beats_counts_what_it_costs_and_stops() {
        let server = FakeServer::start(|request| match request.text().as_str() {
            "{}" => Response::text(200, "{\"stopped\": true}"),
            _ => Response::new(400),
        });
        let config = WandbConfig {
            base_url: Some(server.url()),
            ..WandbConfig::default()
        };
        let remote = Remote {
            entity: "e".into(),
            project: "p".into(),
            run: "r".into(),
        };
        let heart = Heartbeat::start(&config, &remote, Duration::from_millis(5)).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while heart.counts().0 < 3 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        let (sent, failed, cpu_s) = heart.counts();
        assert!(sent >= 3 && failed == 0 && cpu_s > 0.0, "{heart:?}");
        assert_eq!(server.requests()[0].path, "/files/e/p/r/file_stream");
        heart.stop();
        std::thread::sleep(Duration::from_millis(100));
        let count = server.request_count();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(server.request_count(), count);
    }
}
