//! Drives the square wave and watches the readings while it goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lem_record::Stamp;
use rand::Rng;

use super::fit::{Read, renewed};
use super::load::{Load, NoLoad};
use crate::meter::gpu::{GpuBackend, GpuError, Reading};

/// A power reading of a board, by its name in the calibration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Ring,
    Instant,
    Average,
}

impl Field {
    pub const ALL: [Self; 3] = [Self::Ring, Self::Instant, Self::Average];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::Instant => "instant",
            Self::Average => "average",
        }
    }

    /// The longest lag and window that are looked for, seconds.
    pub const fn longest_s(self) -> f64 {
        match self {
            Self::Ring => 0.1,
            Self::Instant => 0.3,
            Self::Average => 2.0,
        }
    }
}

/// The load's times and what was read; seconds from the first moment.
#[derive(Clone, Debug, Default)]
pub struct Wave {
    pub busy: Vec<(f64, f64)>,
    pub ring: Vec<Read>,
    pub instant: Vec<Read>,
    pub average: Vec<Read>,
}

impl Wave {
    pub fn readings(&self, field: Field) -> Vec<Read> {
        match field {
            Field::Ring => self.ring.clone(),
            Field::Instant => renewed(&self.instant),
            Field::Average => renewed(&self.average),
        }
    }
}

/// Polled so often that a field's renewal is seen to 2 ms, where a call takes microseconds.
const POLL: Duration = Duration::from_millis(2);
const RING_POLL_NS: u64 = 500_000_000;

/// Pulses and pauses of random length for about `seconds`, so that no reading's rhythm
/// stays in step with them.
pub fn record(
    backend: &dyn GpuBackend,
    gpu: usize,
    load: &mut dyn Load,
    seconds: f64,
) -> Result<Wave, NoLoad> {
    let start = Stamp::now();
    let done = AtomicBool::new(false);
    let mut busy = Vec::new();
    let mut failure = None;
    let mut wave = std::thread::scope(|scope| {
        let watch = scope.spawn(|| watch(backend, gpu, start, &done));
        let mut rng = rand::rng();
        while failure.is_none() && since(start, Stamp::mono_ns()) < seconds {
            std::thread::sleep(Duration::from_millis(rng.random_range(250..750)));
            match load.pulse(Duration::from_millis(rng.random_range(250..750))) {
                Ok((from, to)) => busy.push((since(start, from), since(start, to))),
                Err(error) => failure = Some(error),
            }
        }
        // What is late of the last pulse is waited for.
        std::thread::sleep(Duration::from_millis(1500));
        done.store(true, Ordering::Relaxed);
        watch.join().unwrap_or_default()
    });
    match failure {
        Some(error) => Err(error),
        None => {
            wave.busy = busy;
            Ok(wave)
        }
    }
}

fn since(start: Stamp, t_ns: u64) -> f64 {
    (t_ns as f64 - start.mono_ns as f64) * 1e-9
}

fn watch(backend: &dyn GpuBackend, gpu: usize, start: Stamp, done: &AtomicBool) -> Wave {
    let mut wave = Wave::default();
    let mut last_us = u64::try_from(start.unix_ns / 1000).unwrap_or(0);
    let mut last_ring_ns = 0;
    let mut ring = |wave: &mut Wave| -> Result<(), GpuError> {
        let now = Stamp::now();
        for (us, watts) in backend.power_samples(gpu, last_us)? {
            let ago = (now.unix_ns as f64 - us as f64 * 1e3) * 1e-9;
            wave.ring.push((since(start, now.mono_ns) - ago, watts));
            last_us = last_us.max(us);
        }
        Ok(())
    };
    while !done.load(Ordering::Relaxed) {
        let now_ns = Stamp::mono_ns();
        let t = since(start, now_ns);
        for (reading, kept) in [
            (Reading::PowerInstant, &mut wave.instant),
            (Reading::PowerAverage, &mut wave.average),
        ] {
            kept.extend(backend.read(gpu, reading).ok().map(|watts| (t, watts)));
        }
        if now_ns.saturating_sub(last_ring_ns) > RING_POLL_NS {
            last_ring_ns = now_ns;
            let _ = ring(&mut wave); // no ring is no readings, and told as such
        }
        std::thread::sleep(POLL);
    }
    let _ = ring(&mut wave);
    wave.ring.sort_by(|a, b| a.0.total_cmp(&b.0));
    wave
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::calibrate::fit;
    use crate::meter::gpu::fake::FakeGpus;

    type Pulses = Arc<Mutex<Vec<(u64, Option<u64>)>>>;

    struct Fake(Pulses);

    impl Load for Fake {
        fn pulse(&mut self, length: Duration) -> Result<(u64, u64), NoLoad> {
            let begin = Stamp::mono_ns();
            self.0.lock().unwrap().push((begin, None));
            std::thread::sleep(length);
            let end = Stamp::mono_ns();
            self.0.lock().unwrap().last_mut().unwrap().1 = Some(end);
            Ok((begin, end))
        }
    }

    /// A board whose ring follows the load 20 ms late, as a driver would tell it.
    fn board(pulses: &Pulses) -> FakeGpus {
        let gpus = FakeGpus::h100(1);
        let pulses = Arc::clone(pulses);
        *gpus.ring.lock().unwrap() = Box::new(move |since_us| {
            let now = Stamp::now();
            let pulses = pulses.lock().unwrap();
            let offset = now.unix_ns - now.mono_ns as i64;
            let busy = |t: u64| {
                let within = |(a, b): &(u64, Option<u64>)| *a <= t && b.is_none_or(|b| t < b);
                pulses.iter().any(within)
            };
            let step = 20_000_000;
            let newest = now.mono_ns / step;
            let samples = (newest.saturating_sub(118)..=newest).map(|i| {
                let t = i * step;
                let us = (t as i64 + offset) as u64 / 1000;
                (us, if busy(t - 20_000_000) { 600.0 } else { 100.0 })
            });
            Ok(samples.filter(|(us, _)| *us > since_us).collect())
        });
        gpus
    }

    #[test]
    fn the_lag_of_a_board_is_found_while_it_is_driven() {
        let pulses = Pulses::default();
        let wave = record(&board(&pulses), 0, &mut Fake(Arc::clone(&pulses)), 5.0).unwrap();
        assert!(wave.busy.len() >= 3, "{:?}", wave.busy);
        let readings = wave.readings(Field::Ring);
        assert!(
            readings.windows(2).all(|p| p[0].0 < p[1].0),
            "each sample once"
        );
        let found = fit(&readings, &wave.busy, Field::Ring.longest_s()).unwrap();
        assert!((found.lag_s - 0.02).abs() < 0.012, "{found:?}");
        assert!((found.idle_watts - 100.0).abs() < 10.0 && (found.busy_watts - 600.0).abs() < 10.0);
        // A field that never moves tells nothing.
        assert!(wave.readings(Field::Instant).is_empty());
    }

    #[test]
    fn a_load_that_fails_ends_it() {
        struct Fails;
        impl Load for Fails {
            fn pulse(&mut self, _: Duration) -> Result<(u64, u64), NoLoad> {
                Err(NoLoad("the GPU's memory is full".into()))
            }
        }
        let error = record(&FakeGpus::h100(1), 0, &mut Fails, 1.0).unwrap_err();
        assert!(error.to_string().contains("full"));
    }
}
