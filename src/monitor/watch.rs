//! Keeping the meters alive.

use std::sync::Arc;
use std::time::Duration;

use lem_record::{Board, How, Live, Stamp};
use rustix::time::{ClockId, clock_gettime};

use super::Ledger;
use crate::meter::{Detected, Sampler, Source};

/// Where sensors come from: this machine, or a test.
pub trait Meters {
    /// Looks for them. `again`: some were lost, so a driver may have to be opened anew.
    fn detect(&mut self, again: bool) -> Detected;

    /// Whether there are sensors by now that the last look did not find. Cheap.
    fn appeared(&self, known: &[Source]) -> bool;
}

/// Lost sensors are looked for again after this, then after twice as long, and so on.
const FIRST_LOOK: Duration = Duration::from_secs(10);
const LAST_LOOK: Duration = Duration::from_secs(300);
/// What the sampler keeps is thrown away as often.
const EMPTIED_EVERY: Duration = Duration::from_secs(60);
/// A machine that was asleep for less was not.
const SLEPT: Duration = Duration::from_secs(1);
/// The old sampler's thread lets go of its sensors within this.
const LET_GO: Duration = Duration::from_millis(200);

/// Reads the meters, and finds them again.
pub struct Watch<M> {
    meters: M,
    interval: Duration,
    ledger: Ledger,
    cpu: Arc<Live>,
    sampling: Option<Sampling>,
    asleep: Duration,
    emptied_ns: u64,
    /// When to look again, where something is lost, and how long to wait the next time.
    look: Option<u64>,
    wait: Duration,
}

struct Sampling {
    sampler: Sampler,
    board: Board,
    sources: Vec<Source>,
    /// A meter hung or panicked.
    broken: bool,
}

impl<M: Meters> Watch<M> {
    pub fn new(meters: M, interval: Duration, board: Arc<Board>) -> Self {
        Self {
            meters,
            interval,
            cpu: board.series("monitor.cpu", &Default::default(), How::Measured),
            ledger: Ledger::new(board, interval),
            sampling: None,
            asleep: asleep(),
            emptied_ns: Stamp::mono_ns(),
            look: None,
            wait: FIRST_LOOK,
        }
    }

    /// Looks for the sensors and begins to read them. Gives what was found, and why not more.
    pub fn start(&mut self, again: bool) -> std::io::Result<Detected> {
        if self.sampling.take().is_some() {
            std::thread::sleep(LET_GO);
        }
        self.ledger.gap();
        let mut detected = self.meters.detect(again);
        let sources: Vec<Source> = detected.sources().cloned().collect();
        let mut sampler = Sampler::start(std::mem::take(&mut detected.meters), self.interval)?;
        let board = Board::default();
        sampler.show(&board);
        sampler.begin_window();
        self.emptied_ns = Stamp::mono_ns();
        self.sampling = Some(Sampling {
            sampler,
            board,
            sources,
            broken: false,
        });
        Ok(detected)
    }

    pub fn sources(&self) -> &[Source] {
        self.sampling.as_ref().map_or(&[], |s| s.sources.as_slice())
    }

    /// Once an interval. Says what is worth telling.
    pub fn tick(&mut self, now_ns: u64) -> Vec<String> {
        let mut told = Vec::new();
        let slept = asleep().saturating_sub(self.asleep);
        self.asleep += slept;
        if slept >= SLEPT {
            told.push(format!(
                "The machine slept for {:.0} s: no energy is counted for that",
                slept.as_secs_f64()
            ));
            // Counters may have begun anew.
            self.again(&mut told);
        }
        if let Some(sampling) = &self.sampling {
            self.ledger.take(&sampling.board.now(), now_ns);
        }
        self.cpu.set(cpu_seconds(), now_ns);
        if now_ns.saturating_sub(self.emptied_ns) >= ns(EMPTIED_EVERY) {
            self.empty(now_ns, &mut told);
        }
        self.mend(now_ns, &mut told);
        told
    }

    /// Throws away what the sampler keeps, and hears of meters that it gave up.
    fn empty(&mut self, now_ns: u64, told: &mut Vec<String>) {
        self.emptied_ns = now_ns;
        let Some(sampling) = &mut self.sampling else {
            return;
        };
        let stats = sampling.sampler.take_segment().stats;
        if sampling.broken {
            return;
        }
        for meter in &stats.dropped {
            told.push(format!(
                "warning: the {} meter is read no more: {}",
                meter.meter, meter.reason
            ));
        }
        if let Some(failure) = &stats.failure {
            told.push(format!("warning: the sampler has ended: {failure}"));
        }
        sampling.broken = !stats.dropped.is_empty() || stats.failure.is_some();
    }

    /// Looks again for what is lost, less and less often.
    fn mend(&mut self, now_ns: u64, told: &mut Vec<String>) {
        let lost = self.ledger.lost().join(", ");
        let broken = self.sampling.as_ref().is_none_or(|s| s.broken);
        let wanting = broken || !lost.is_empty() || self.meters.appeared(self.sources());
        if !wanting {
            if self.look.take().is_some() {
                told.push("All sensors are read again".to_owned());
            }
            self.wait = FIRST_LOOK;
            return;
        }
        match self.look {
            None => {
                if !lost.is_empty() {
                    told.push(format!(
                        "warning: {lost} gives no readings any more; lem looks for it again"
                    ));
                }
                self.look = Some(now_ns.saturating_add(ns(self.wait)));
            }
            Some(at) if now_ns >= at => {
                self.again(told);
                self.wait = (self.wait * 2).min(LAST_LOOK);
                self.look = Some(now_ns.saturating_add(ns(self.wait)));
            }
            Some(_) => {}
        }
    }

    fn again(&mut self, told: &mut Vec<String>) {
        if let Err(error) = self.start(true) {
            told.push(format!(
                "warning: the sampler's thread cannot be started: {error}"
            ));
        }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How long this machine has slept since it was started.
fn asleep() -> Duration {
    let read = |clock| {
        let t = clock_gettime(clock);
        Duration::new(
            t.tv_sec.unsigned_abs(),
            u32::try_from(t.tv_nsec).unwrap_or(0),
        )
    };
    // In this order the difference is never negative but by a jump of its own.
    let awake = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(awake)
}

/// Processor time of this process, seconds.
pub fn cpu_seconds() -> f64 {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::meter::{Component, Meter, SampleSink, Sensor, SourceColumn};

    /// A GPU that can be pulled out, and one whose driver hangs in a panic.
    #[derive(Clone, Default)]
    struct Slot {
        gone: Arc<AtomicBool>,
        panics: Arc<AtomicBool>,
        looks: Arc<AtomicU32>,
        late: Arc<AtomicBool>,
    }

    struct Card {
        slot: Slot,
        source: Vec<Source>,
        joules: f64,
    }

    fn source() -> Source {
        let column = |metric: &str| SourceColumn {
            metric: metric.into(),
            attributes: lem_record::Attributes::from([("hw.id".into(), "gpu0".into())]),
            how: None,
        };
        Source {
            id: "gpu0".into(),
            component: Component::Gpu,
            name: "card".into(),
            meter: "test".into(),
            how: How::Measured,
            method: "made up".into(),
            device: None,
            columns: vec![column("sample.power"), column("sample.energy")],
            sensor: Sensor::default(),
        }
    }

    impl Meter for Card {
        fn name(&self) -> &'static str {
            "test"
        }

        fn sources(&self) -> &[Source] {
            &self.source
        }

        fn read(&mut self, out: &mut dyn SampleSink) {
            assert!(!self.slot.panics.load(Ordering::Relaxed), "the driver");
            if self.slot.gone.load(Ordering::Relaxed) {
                return out.missed(0, "fallen off the bus");
            }
            self.joules += 2.0;
            out.row(0, Stamp::mono_ns(), &[Some(200.0), Some(self.joules)]);
        }
    }

    impl Meters for Slot {
        fn detect(&mut self, _again: bool) -> Detected {
            self.looks.fetch_add(1, Ordering::Relaxed);
            let there = !self.gone.load(Ordering::Relaxed) && !self.late.load(Ordering::Relaxed);
            let card: Box<dyn Meter> = Box::new(Card {
                slot: self.clone(),
                source: vec![source()],
                joules: 0.0,
            });
            Detected {
                meters: there.then_some(card).into_iter().collect(),
                absent: Vec::new(),
            }
        }

        fn appeared(&self, known: &[Source]) -> bool {
            known.is_empty() && !self.late.load(Ordering::Relaxed)
        }
    }

    /// Time is what the test says, as far as the watch goes: the readings are of now.
    struct Bench {
        slot: Slot,
        watch: Watch<Slot>,
        board: Arc<Board>,
        ahead_ns: u64,
    }

    impl Bench {
        fn new(slot: Slot) -> Self {
            let board = Arc::<Board>::default();
            let interval = Duration::from_millis(5);
            let mut watch = Watch::new(slot.clone(), interval, Arc::clone(&board));
            watch.start(false).unwrap();
            Self {
                slot,
                watch,
                board,
                ahead_ns: 0,
            }
        }

        fn tick(&mut self) -> String {
            std::thread::sleep(Duration::from_millis(30));
            self.watch.tick(Stamp::mono_ns() + self.ahead_ns).join("\n")
        }

        fn later(&mut self, seconds: u64) -> String {
            self.ahead_ns += seconds * 1_000_000_000;
            let told = self.tick();
            self.ahead_ns -= seconds * 1_000_000_000;
            told
        }

        fn value(&self, metric: &str) -> Option<f64> {
            let now = self.board.now();
            now.iter().find(|p| p.metric == metric).map(|p| p.value)
        }
    }

    #[test]
    fn a_card_that_vanishes_is_not_shown_and_one_that_comes_back_goes_on() {
        let mut bench = Bench::new(Slot::default());
        assert_eq!(bench.tick(), "");
        let before = bench.tick();
        assert_eq!(before, "");
        let joules = bench.value("sample.energy").unwrap();
        assert!(joules > 0.0 && bench.value("sample.power") == Some(200.0));

        bench.slot.gone.store(true, Ordering::Relaxed);
        let told = bench.later(20);
        assert!(told.contains("gpu0 gives no readings"), "{told}");
        assert_eq!(bench.value("sample.power"), None);
        // After ten seconds more it looks, and does not find it.
        assert_eq!(bench.later(40), "");
        assert_eq!(bench.slot.looks.load(Ordering::Relaxed), 2);
        assert_eq!(bench.later(45), "", "not at every tick");
        assert_eq!(bench.slot.looks.load(Ordering::Relaxed), 2);

        bench.slot.gone.store(false, Ordering::Relaxed);
        bench.later(90);
        assert_eq!(bench.slot.looks.load(Ordering::Relaxed), 3);
        let told = bench.tick();
        assert!(told.contains("All sensors are read again"), "{told}");
        assert_eq!(bench.value("sample.power"), Some(200.0));
        bench.tick();
        assert!(
            bench.value("sample.energy").unwrap() > joules,
            "it never goes back"
        );
    }

    #[test]
    fn a_meter_that_breaks_is_opened_again() {
        let mut bench = Bench::new(Slot::default());
        bench.tick();
        bench.slot.panics.store(true, Ordering::Relaxed);
        bench.tick();
        let told = bench.later(61);
        assert!(told.contains("the test meter is read no more"), "{told}");
        bench.slot.panics.store(false, Ordering::Relaxed);
        bench.later(75);
        let told = bench.tick() + &bench.tick();
        assert!(told.contains("All sensors are read again"), "{told}");
        assert_eq!(bench.value("sample.power"), Some(200.0));
    }

    #[test]
    fn a_driver_that_is_loaded_later_is_found() {
        let slot = Slot::default();
        slot.late.store(true, Ordering::Relaxed);
        let mut bench = Bench::new(slot);
        bench.tick();
        assert_eq!(bench.value("sample.power"), None);
        bench.slot.late.store(false, Ordering::Relaxed);
        bench.tick();
        bench.later(15);
        bench.tick();
        assert_eq!(bench.value("sample.power"), Some(200.0));
    }
}
