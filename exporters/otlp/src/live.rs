//! Present values, sent while the run is measured: on a thread of its own, because the
//! user asked for it, and counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lem_record::{Attributes, Board, How, Live as Shown, RunContext, Stamp};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::encode::{Envelopes, Item, Request, Scope, requests_of};
use crate::wire::{Line, Refusal, Wire};
use crate::{OtlpConfig, Signal};

/// It stops when dropped.
#[derive(Debug)]
pub(crate) struct Live {
    stop: watch::Sender<bool>,
    told: Arc<Told>,
}

#[derive(Debug, Default)]
struct Told {
    requests: AtomicU64,
    failed: AtomicU64,
    cpu_ns: AtomicU64,
    last_error: Mutex<Option<String>>,
}

impl Live {
    /// Nothing where the metrics go nowhere, or the thread cannot be made.
    pub fn start(
        sink: &'static str,
        config: &Arc<OtlpConfig>,
        run: &RunContext,
        board: &Arc<Board>,
        wires: &[Wire],
    ) -> Option<Self> {
        let wire = wires.iter().find(|w| w.signal == Signal::Metrics)?.clone();
        let (stop, stopped) = watch::channel(false);
        let told = Arc::new(Told::default());
        let pulse = Pulse {
            config: Arc::clone(config),
            run: run.clone(),
            board: Arc::clone(board),
            told: Arc::clone(&told),
            seen: HashMap::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        std::thread::Builder::new()
            .name("lem-otlp-live".to_owned())
            .spawn(move || runtime.block_on(pulse.run(sink, &wire, stopped)))
            .ok()?;
        Some(Self { stop, told })
    }

    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub fn details(&self) -> Value {
        let told = &self.told;
        let error = told.last_error.lock();
        json!({
            "requests": told.requests.load(Ordering::Relaxed),
            "failed": told.failed.load(Ordering::Relaxed),
            "cpu_s": told.cpu_ns.load(Ordering::Relaxed) as f64 / 1e9,
            "last_error": *error.unwrap_or_else(PoisonError::into_inner),
        })
    }
}

struct Pulse {
    config: Arc<OtlpConfig>,
    run: RunContext,
    board: Arc<Board>,
    told: Arc<Told>,
    /// The time of each sampled value that was sent last.
    seen: HashMap<(String, Attributes), u64>,
}

impl Pulse {
    async fn run(mut self, sink: &'static str, wire: &Wire, mut stopped: watch::Receiver<bool>) {
        let line = wire.open();
        let wrapped = Envelopes::new(&self.scope());
        let own = Attributes::from([("lem.sink".to_owned(), sink.to_owned())]);
        let series = |id: &str| self.board.series(id, &own, How::Measured);
        let (requests, cpu) = (series("export.live_requests"), series("export.live_cpu"));
        let every = Duration::from_secs_f64(self.config.live_interval_s);
        let mut ticks = interval_at(Instant::now() + every, every);
        // a late batch is sent once, not made up for
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // also where the sender is gone
                _ = stopped.changed() => break,
                _ = ticks.tick() => {}
            }
            let Some(request) = self.request() else {
                continue;
            };
            tokio::select! {
                biased;
                _ = stopped.changed() => break,
                () = self.send(&line, &wrapped, &request) => {}
            }
            self.count(&requests, &cpu);
        }
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            run_id: &self.run.run_id,
            started: &self.run.started,
            started_at: self.run.started_at,
            config: &self.config,
        }
    }

    /// What is shown. A sampled value keeps its own time and is sent once; of the rest
    /// it is true now.
    fn request(&mut self) -> Option<Request> {
        let now = Stamp::mono_ns();
        let mut items: Vec<Item> = Vec::new();
        for present in self.board.now() {
            let sampled = present.metric.starts_with("sample.");
            if sampled {
                let key = (present.metric.clone(), present.attributes.clone());
                if self.seen.insert(key, present.t_ns) == Some(present.t_ns) {
                    continue;
                }
            }
            let at = (!sampled).then_some(now);
            items.extend(crate::encode::present(&self.scope(), &present, at));
        }
        requests_of(Signal::Metrics, items)
    }

    async fn send(&self, line: &Line, wrapped: &Envelopes, request: &Request) {
        let limit = Duration::from_secs_f64(self.config.live_timeout_s);
        let body = request.encode(wrapped);
        let failed = match timeout(limit, line.send(&body)).await {
            Ok(Ok(_)) => return,
            Ok(Err(Refusal::TooLarge(why) | Refusal::Invalid(why))) => why,
            Ok(Err(Refusal::Error(error))) => error.to_string(),
            Err(_) => format!("no answer within {} s", limit.as_secs_f64()),
        };
        // the values come again with the records, or newer ones with the next batch
        self.told.failed.fetch_add(1, Ordering::Relaxed);
        let mut last = self.told.last_error.lock();
        let last = last.as_deref_mut();
        if let Ok(last) = last {
            *last = Some(failed);
        }
    }

    fn count(&self, requests: &Shown, cpu: &Shown) {
        let now = Stamp::mono_ns();
        let sent = self.told.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let time = clock_gettime(ClockId::ThreadCPUTime);
        let cpu_ns = time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs();
        self.told.cpu_ns.store(cpu_ns, Ordering::Relaxed);
        requests.set(sent as f64, now);
        cpu.set(cpu_ns as f64 / 1e9, now);
    }
}
