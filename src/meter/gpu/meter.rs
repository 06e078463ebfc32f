//! The meter over a [`GpuBackend`].
//!
//! One source a GPU, and in it every column that the GPU supports. The quick ones are read at
//! each tick; the others (on an H100 the energy counter costs 4 ms, a throttle time 0.8 ms) at
//! the edges of a window and every few seconds between. A row has values only in the columns
//! that were read for it, so the source's columns are sparse: a reader of one column skips the
//! rows in which it is empty.

use std::sync::Arc;

use lem_record::{How, Stamp};

use super::ring::{self, Ring};
use super::select::select;
use super::{Activity, Gpu, GpuBackend, GpuError, Gpus, Reading, Smear, THROTTLES};
use crate::meter::found::{Absent, Found, column};
use crate::meter::{Component, Meter, SampleSink, Sensor, Source, SourceColumn};

/// Gain error of the boards' power sensors: ±5 % of the reading (Yang, Adámek, Armour, SC'24,
/// arXiv 2312.02741), the vendor's own tolerance.
const GAIN_RELATIVE: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rhythm {
    Tick,
    /// Once a second, at a tick.
    Second,
    Edge,
    /// In a row of its own: the call is slow, and its time is that of its middle.
    EdgeAlone,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    /// The column, a reading.
    Of(Reading),
    /// The column, a bit of the throttle reasons: 0 or 1.
    Throttle(u64),
    /// The column, one of the unit activities since the last second.
    Activity(fn(&Activity) -> f64),
    /// The column, filled from the driver's ring, with the samples' own times.
    Ring,
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    metric: &'static str,
    /// Attributes besides those of the GPU.
    more: &'static [(&'static str, &'static str)],
    rhythm: Rhythm,
    reading: Reading,
}

const fn wanted(
    metric: &'static str,
    rhythm: Rhythm,
    reading: Reading,
    more: &'static [(&'static str, &'static str)],
) -> Wanted {
    Wanted {
        metric,
        more,
        rhythm,
        reading,
    }
}

const REASON: &str = "lem.throttle.reason";

/// Besides power and the throttle reasons.
const WANTED: &[Wanted] = &[
    wanted("sample.energy", Rhythm::EdgeAlone, Reading::Energy, &[]),
    wanted(
        "sample.memory_power",
        Rhythm::Tick,
        Reading::PowerMemory,
        &[],
    ),
    wanted(
        "sample.performance_state",
        Rhythm::Second,
        Reading::PerformanceState,
        &[],
    ),
    wanted(
        "sample.gpu_utilization",
        Rhythm::Tick,
        Reading::Utilization,
        &[],
    ),
    wanted(
        "sample.gpu_memory_used",
        Rhythm::Tick,
        Reading::MemoryUsed,
        &[],
    ),
    wanted(
        "sample.gpu_memory_limit",
        Rhythm::Edge,
        Reading::MemoryTotal,
        &[],
    ),
    wanted(
        "sample.temperature",
        Rhythm::Tick,
        Reading::Temperature,
        &[],
    ),
    wanted(
        "sample.clock",
        Rhythm::Tick,
        Reading::ClockSm,
        &[("lem.clock", "sm")],
    ),
    wanted(
        "sample.clock",
        Rhythm::Edge,
        Reading::ClockMemory,
        &[("lem.clock", "memory")],
    ),
    wanted("sample.power_limit", Rhythm::Edge, Reading::PowerLimit, &[]),
    wanted(
        "throttle.time",
        Rhythm::Edge,
        Reading::ThrottleTimePower,
        &[(REASON, "power_cap")],
    ),
    wanted(
        "throttle.time",
        Rhythm::Edge,
        Reading::ThrottleTimeThermal,
        &[(REASON, "thermal")],
    ),
];

type Share = fn(&Activity) -> f64;

/// The activity of a GPU's units, where it has the counters.
const ACTIVITIES: &[(&str, Share)] = &[
    ("sample.sm_activity", |activity| activity.sm),
    ("sample.tensor_activity", |activity| activity.tensor),
    ("sample.dram_activity", |activity| activity.dram),
];

/// Sources for the GPUs that are visible and wanted.
pub(in crate::meter) fn find(gpus: &Gpus, visible: Option<&str>, wanted: &[u32]) -> Found {
    let mut found = Found::default();
    let backend = match gpus {
        Ok(backend) => backend,
        Err(reason) => {
            found.absent.push(Absent::new(
                Component::Gpu,
                "NVIDIA GPUs",
                reason,
                "none is needed where there is no NVIDIA GPU; else install its driver, and in a \
                 container hand the GPU through (`--gpus all`)",
            ));
            return found;
        }
    };
    let selection = select(backend.gpus(), visible, wanted);
    for unknown in selection.unknown {
        found.absent.push(Absent::new(
            Component::Gpu,
            format!("GPU {unknown}"),
            format!(
                "there is no such GPU among the {} of this machine",
                backend.gpus().len()
            ),
            "look at `nvidia-smi -L`, and correct `gpus` or CUDA_VISIBLE_DEVICES",
        ));
    }
    if selection.chosen.is_empty() {
        found.absent.push(Absent::new(
            Component::Gpu,
            "NVIDIA GPUs",
            match backend.gpus() {
                [] => "the driver shows none",
                _ => "none is chosen by `gpus` and CUDA_VISIBLE_DEVICES",
            },
            "look at `nvidia-smi -L`, and at `gpus` and CUDA_VISIBLE_DEVICES",
        ));
    }
    let mut meter = GpuMeter {
        backend: Arc::clone(backend),
        sources: Vec::new(),
        boards: Vec::new(),
    };
    for position in selection.chosen {
        if let Some(gpu) = backend.gpus().get(position) {
            match board(&**backend, position, gpu, &mut found.absent) {
                Some((source, board)) => {
                    meter.sources.push(source);
                    meter.boards.push(board);
                }
                None => continue,
            }
        }
    }
    if !meter.sources.is_empty() {
        found.meter = Some(Box::new(meter));
    }
    found
}

/// A source with the columns that answer now.
fn board(
    backend: &dyn GpuBackend,
    position: usize,
    gpu: &Gpu,
    absent: &mut Vec<Absent>,
) -> Option<(Source, Board)> {
    let id = format!("gpu{}", gpu.index);
    let mut miss = |what: String, reason: String, remedy: &str| {
        absent.push(Absent::new(Component::Gpu, what, reason, remedy));
    };
    if gpu.mig {
        miss(
            id,
            "it is cut into instances (MIG), and power and energy exist for the whole GPU only: \
             they cannot be attributed to this run"
                .into(),
            "measure on a GPU without MIG (`nvidia-smi -i N -mig 0` as root, when it is idle)",
        );
        return None;
    }
    let mut columns = Vec::new();
    let mut ring = None;
    let mut board = Board {
        position,
        values: Vec::new(),
        row: Vec::new(),
        ring: None,
        last_second_ns: 0,
    };
    let mut add = |column: SourceColumn, rhythm, value| {
        columns.push(column);
        board.values.push((rhythm, value));
    };
    let plain = |metric: &str, more: &[(&str, &str)]| column(metric, &id, Component::Gpu, more);

    let power = power(backend, position, gpu);
    let (method, sensor) = match power {
        Ok(Power {
            from,
            method,
            sensor,
        }) => {
            match from {
                From::Field(reading) => {
                    add(plain("sample.power", &[]), Rhythm::Tick, Value::Of(reading));
                }
                From::Ring { update_ns } => {
                    ring = Some(Ring::new(update_ns));
                    add(plain("sample.power", &[]), Rhythm::Tick, Value::Ring);
                    for (metric, reading) in FIELDS_BESIDE_THE_RING {
                        if backend.read(position, *reading).is_ok() {
                            add(plain(metric, &[]), Rhythm::Tick, Value::Of(*reading));
                        }
                    }
                }
            }
            (method, sensor)
        }
        Err(error) => {
            miss(
                format!("power of {id}"),
                error.to_string(),
                "on a Jetson its rails are read through hwmon instead; on a vGPU, measure on the host",
            );
            ("NVML, without power".to_owned(), Sensor::default())
        }
    };
    let mut unsupported = Vec::new();
    for wanted in WANTED {
        match backend.read(position, wanted.reading) {
            Ok(_) => add(
                plain(wanted.metric, wanted.more),
                wanted.rhythm,
                Value::Of(wanted.reading),
            ),
            Err(error) => unsupported.push(format!("{} ({error})", wanted.metric)),
        }
    }
    match backend.throttle_bits(position) {
        Ok(_) => {
            for (reason, bit) in THROTTLES {
                let more = [(REASON, *reason)];
                add(
                    plain("sample.throttled", &more),
                    Rhythm::Tick,
                    Value::Throttle(*bit),
                );
            }
        }
        Err(error) => unsupported.push(format!("sample.throttled ({error})")),
    }
    match backend.activity(position) {
        Ok(_) => {
            for (metric, share) in ACTIVITIES {
                add(plain(metric, &[]), Rhythm::Second, Value::Activity(*share));
            }
        }
        Err(error) => unsupported.push(format!("activity of its units ({error})")),
    }
    if !unsupported.is_empty() {
        miss(
            format!("some readings of {id}"),
            unsupported.join(", "),
            "none: this GPU, its driver or its virtual machine does not tell them",
        );
    }
    if columns.is_empty() {
        return None;
    }
    board.row = vec![None; columns.len()];
    board.ring = ring;
    let source = Source {
        id,
        component: Component::Gpu,
        name: gpu.name.clone(),
        meter: "nvml".into(),
        how: How::Measured,
        method,
        device: Some(gpu.uuid.clone()),
        columns,
        sensor,
    };
    Some((source, board))
}

/// Fields that stand beside the ring, to be compared with it.
const FIELDS_BESIDE_THE_RING: &[(&str, Reading)] = &[
    ("sample.power_instant", Reading::PowerInstant),
    ("sample.power_average", Reading::PowerAverage),
];

/// Where a GPU's power is read from.
struct Power {
    from: From,
    method: String,
    sensor: Sensor,
}

enum From {
    Ring { update_ns: u64 },
    Field(Reading),
}

/// A ring that is not finer than the fields is not worth its delay.
const RING_AT_LEAST_NS: u64 = 60_000_000;

/// The power reading of the shortest window that the GPU has.
fn power(backend: &dyn GpuBackend, position: usize, gpu: &Gpu) -> Result<Power, GpuError> {
    let counter = match backend.read(position, Reading::Energy) {
        Ok(_) => "; energy counter at the edges",
        Err(_) => "",
    };
    let calibrated = match &gpu.calibrated {
        Ok(day) => format!("; lag and window of this board calibrated on {day}"),
        Err(_) => String::new(),
    };
    let ring = backend.power_samples(position, 0);
    let update_ns = ring.ok().as_deref().and_then(ring::update_ns);
    if let Some(update_ns) = update_ns.filter(|update_ns| *update_ns <= RING_AT_LEAST_NS) {
        let update_s = update_ns as f64 * 1e-9;
        return Ok(Power {
            from: From::Ring { update_ns },
            method: format!(
                "NVML sample ring of the driver, a sample in {:.0} ms{counter}{calibrated}",
                update_s * 1e3
            ),
            sensor: Sensor {
                window_s: gpu.ring.window_s.or(Some(update_s)),
                update_s: Some(update_s),
                ..sensor_of(gpu.ring)
            },
        });
    }
    let no_ring = "; the driver keeps no finer samples, so that short phases are not told apart";
    if backend.read(position, Reading::PowerInstant).is_ok() {
        return Ok(Power {
            from: From::Field(Reading::PowerInstant),
            method: format!(
                "NVML instantaneous power (field 186), a short window in each 100 ms{counter}{no_ring}{calibrated}"
            ),
            sensor: sensor_of(gpu.instant),
        });
    }
    backend.read(position, Reading::PowerAverage)?;
    let method = match gpu.average.window_s {
        Some(window_s) => format!(
            "NVML power usage, averaged over {} s{counter}{no_ring}{calibrated}",
            (window_s * 1e3).round() / 1e3
        ),
        None => format!("NVML power usage{counter}{no_ring}{calibrated}"),
    };
    Ok(Power {
        from: From::Field(Reading::PowerAverage),
        method,
        sensor: sensor_of(gpu.average),
    })
}

/// A field of NVML is renewed each 100 ms.
fn sensor_of(smear: Smear) -> Sensor {
    Sensor {
        window_s: smear.window_s,
        update_s: Some(0.1),
        lag_s: smear.lag_s,
        kernel: smear.kernel,
        gain_relative: Some(GAIN_RELATIVE),
        resolution_j: None,
    }
}

struct GpuMeter {
    backend: Arc<dyn GpuBackend>,
    sources: Vec<Source>,
    boards: Vec<Board>,
}

struct Board {
    /// Among the backend's GPUs.
    position: usize,
    /// One a column.
    values: Vec<(Rhythm, Value)>,
    row: Vec<Option<f64>>,
    ring: Option<Ring>,
    last_second_ns: u64,
}

impl GpuMeter {
    fn read_rhythm(&mut self, rhythm: Rhythm, out: &mut dyn SampleSink) {
        for (source, board) in self.boards.iter_mut().enumerate() {
            if !board.values.iter().any(|(r, _)| *r == rhythm) {
                continue;
            }
            let before = Stamp::mono_ns();
            let error = board.fill(&*self.backend, rhythm);
            let t_ns = match rhythm {
                Rhythm::EdgeAlone => before + Stamp::mono_ns().saturating_sub(before) / 2,
                Rhythm::Tick | Rhythm::Second | Rhythm::Edge => before,
            };
            if board.row.iter().any(Option::is_some) {
                out.row(source, t_ns, &board.row);
            }
            if let Some(error) = error {
                out.missed(source, &error.to_string());
            }
        }
    }

    /// What is due once a second.
    fn read_seconds(&mut self, out: &mut dyn SampleSink) {
        let now_ns = Stamp::mono_ns();
        let due = |board: &Board| now_ns.saturating_sub(board.last_second_ns) >= ring::EVERY_NS;
        if self.boards.iter().any(due) {
            for board in &mut self.boards {
                board.last_second_ns = now_ns;
            }
            self.read_rhythm(Rhythm::Second, out);
        }
    }

    /// Asks the rings: those that are due, or all.
    fn read_rings(&mut self, all: bool, out: &mut dyn SampleSink) {
        for (source, board) in self.boards.iter_mut().enumerate() {
            let due = |ring: &Ring| all || ring.is_due(Stamp::mono_ns());
            if board.ring.as_ref().is_some_and(due) {
                board.ask_ring(&*self.backend, source, out);
            }
        }
    }
}

impl Board {
    fn ask_ring(&mut self, backend: &dyn GpuBackend, source: usize, out: &mut dyn SampleSink) {
        let Some(ring) = &mut self.ring else { return };
        let Some(at) = self
            .values
            .iter()
            .position(|(_, v)| matches!(v, Value::Ring))
        else {
            return;
        };
        let now = Stamp::now();
        match backend.power_samples(self.position, ring.since_us(now)) {
            Ok(samples) => {
                let mut lost = Vec::new();
                self.row.fill(None);
                let row = &mut self.row;
                ring.stitch(
                    now,
                    &samples,
                    |t_ns, watts| {
                        if let Some(slot) = row.get_mut(at) {
                            *slot = Some(watts);
                        }
                        out.row(source, t_ns, row);
                    },
                    |why| lost.push(why),
                );
                for why in lost {
                    out.missed(source, why);
                }
            }
            Err(error) => out.missed(source, &error.to_string()),
        }
    }

    /// Reads the columns of this rhythm into the row; the first error, where there is one.
    fn fill(&mut self, backend: &dyn GpuBackend, rhythm: Rhythm) -> Option<GpuError> {
        let mut first_error = None;
        let mut bits = None;
        let mut activity = None;
        for (slot, (own, value)) in self.row.iter_mut().zip(&self.values) {
            *slot = None;
            if *own != rhythm {
                continue;
            }
            let read = match value {
                Value::Ring => continue,
                Value::Activity(share) => {
                    let read = activity
                        .get_or_insert_with(|| backend.activity(self.position))
                        .clone();
                    match read {
                        Ok(Some(activity)) => Ok(share(&activity)),
                        // The first one of a run: there is nothing to compare with yet.
                        Ok(None) => continue,
                        Err(error) => Err(error),
                    }
                }
                Value::Of(reading) => backend.read(self.position, *reading),
                Value::Throttle(bit) => bits
                    .get_or_insert_with(|| backend.throttle_bits(self.position))
                    .clone()
                    .map(|bits| f64::from(u8::from(bits & bit != 0))),
            };
            match read {
                Ok(value) => *slot = Some(value),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error
    }
}

impl Meter for GpuMeter {
    fn name(&self) -> &'static str {
        "nvml"
    }

    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn begin(&mut self) {
        let now = Stamp::now();
        for board in &mut self.boards {
            if let Some(ring) = &mut board.ring {
                ring.begin(now);
            }
        }
    }

    fn read(&mut self, out: &mut dyn SampleSink) {
        self.read_rhythm(Rhythm::Tick, out);
        self.read_seconds(out);
        self.read_rings(false, out);
    }

    /// The ring tells of an instant some 20 ms later, and its samples lag besides.
    fn settle(&mut self, end_ns: u64, out: &mut dyn SampleSink) {
        let longest_lag = self
            .sources
            .iter()
            .filter_map(|s| s.sensor.lag_s)
            .fold(0.0, f64::max);
        let lag_ns = (longest_lag.clamp(0.0, 0.1) * 1e9) as u64;
        let wanted = end_ns.saturating_add(lag_ns);
        let reached = |board: &Board| board.ring.as_ref().is_none_or(|ring| ring.reaches(wanted));
        loop {
            self.read_rings(true, out);
            let late = Stamp::mono_ns() >= end_ns.saturating_add(ring::SETTLE_NS);
            if late || self.boards.iter().all(reached) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_nanos(ring::LOOK_NS));
        }
    }

    fn read_edges(&mut self, out: &mut dyn SampleSink) {
        self.read_rhythm(Rhythm::Edge, out);
        self.read_rhythm(Rhythm::EdgeAlone, out);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::fake::FakeGpus;
    use super::*;
    use crate::meter::testing::Rows;

    fn find_in(fake: &Arc<FakeGpus>, visible: Option<&str>, wanted: &[u32]) -> Found {
        let backend: Arc<dyn GpuBackend> = Arc::clone(fake) as _;
        find(&Ok(backend), visible, wanted)
    }

    fn position(source: &Source, metric: &str) -> usize {
        source
            .columns
            .iter()
            .position(|c| c.metric == metric)
            .unwrap()
    }

    #[test]
    fn each_gpu_is_a_source_and_its_columns_are_of_the_catalogue() {
        let found = find_in(&Arc::new(FakeGpus::h100(2)), None, &[]);
        assert!(found.absent.is_empty(), "{:?}", found.absent);
        let meter = found.meter.unwrap();
        let ids: Vec<_> = meter.sources().iter().map(|s| s.id.as_str()).collect();
        assert_eq!(ids, ["gpu0", "gpu1"]);
        let source = &meter.sources()[1];
        assert_eq!(source.device.as_deref(), Some("GPU-1c0ffee"));
        assert_eq!(source.sensor.window_s, Some(0.025));
        assert!(source.method.contains("field 186"));
        let mut seen = std::collections::BTreeSet::new();
        for column in &source.columns {
            let def = lem_record::catalogue::find(&column.metric).unwrap();
            for name in column.attributes.keys() {
                assert!(def.attributes.contains(&name.as_str()), "{column:?}");
            }
            assert_eq!(column.attributes["hw.id"], "gpu1");
            assert!(seen.insert((column.metric.clone(), column.attributes.clone())));
        }
        let throttled = |c: &&SourceColumn| c.metric == "sample.throttled";
        assert_eq!(
            source.columns.iter().filter(throttled).count(),
            THROTTLES.len()
        );
    }

    #[test]
    fn quick_readings_come_at_ticks_and_slow_ones_at_edges() {
        let mut meter = find_in(&Arc::new(FakeGpus::h100(1)), None, &[])
            .meter
            .unwrap();
        let source = meter.sources()[0].clone();
        let at = |row: &[Option<f64>], metric| row[position(&source, metric)];
        let mut rows = Rows::default();
        meter.read(&mut rows);
        meter.read_edges(&mut rows);
        assert!(rows.missed.is_empty() && rows.t_ns.is_sorted());
        let [tick, second, edge, energy] = rows.values.as_slice() else {
            panic!("{rows:?}")
        };
        assert_eq!(at(tick, "sample.power"), Some(300.0));
        assert_eq!(at(tick, "sample.energy"), None);
        assert_eq!(at(edge, "sample.power"), None);
        assert_eq!(at(second, "sample.dram_activity"), Some(0.125));
        assert_eq!(second.iter().flatten().count(), 4);
        assert_eq!(at(tick, "sample.temperature"), Some(41.0));
        assert_eq!(
            at(tick, "sample.throttled"),
            Some(1.0),
            "power_cap is the first"
        );
        assert_eq!(tick.iter().flatten().filter(|v| **v == 1.0).count(), 1);
        assert_eq!(at(edge, "sample.power_limit"), Some(700.0));
        assert_eq!(at(edge, "throttle.time"), Some(5.0));
        assert_eq!(at(energy, "sample.energy"), Some(1e6));
        assert_eq!(energy.iter().flatten().count(), 1);
    }

    #[test]
    fn where_the_driver_keeps_samples_power_comes_from_its_ring() {
        let fake = Arc::new(FakeGpus::h100(1));
        // 20 ms apart up to now, as the driver would tell them.
        let ring = |since: u64| {
            let now_us = u64::try_from(Stamp::now().unix_ns).unwrap() / 1000;
            let newest = now_us / 20_000 * 20_000;
            let times = (0..119).rev().map(|back| newest - back * 20_000);
            Ok(times
                .filter(|us| *us > since)
                .map(|us| (us, 400.0))
                .collect())
        };
        *fake.ring.lock().unwrap() = Box::new(ring);
        let mut meter = find_in(&fake, None, &[]).meter.unwrap();
        let source = meter.sources()[0].clone();
        assert_eq!(source.sensor.update_s, Some(0.02));
        assert_eq!(source.sensor.lag_s, Some(0.015));
        assert!(source.method.contains("sample ring"), "{}", source.method);
        let mut rows = Rows::default();
        let begin = Stamp::mono_ns();
        meter.begin();
        meter.read_edges(&mut rows);
        meter.read(&mut rows);
        std::thread::sleep(std::time::Duration::from_millis(60));
        let end = Stamp::mono_ns();
        meter.settle(end, &mut rows);
        assert!(rows.missed.is_empty(), "{:?}", rows.missed);
        let power = position(&source, "sample.power");
        let ring: Vec<u64> = (rows.t_ns.iter().zip(&rows.values))
            .filter_map(|(t, row)| row[power].map(|_| *t))
            .collect();
        assert!(ring.windows(2).all(|pair| pair[0] < pair[1]), "once each");
        assert!(ring[0] < begin && begin - ring[0] < 150_000_000);
        assert!(*ring.last().unwrap() >= end + 15_000_000);
        let at = |metric| {
            rows.values
                .iter()
                .find_map(|row| row[position(&source, metric)])
        };
        assert_eq!(at("sample.power_instant"), Some(300.0));
        assert_eq!(at("sample.power_average"), Some(250.0));
        assert_eq!(at("sample.memory_power"), Some(51.0));
        assert_eq!(at("sample.tensor_activity"), Some(0.25));
    }

    #[test]
    fn a_ring_that_falls_silent_is_missed_and_goes_on_later() {
        let fake = Arc::new(FakeGpus::h100(1));
        let now_us = || u64::try_from(Stamp::now().unix_ns).unwrap() / 1000;
        let samples = move |since: u64| -> Vec<(u64, f64)> {
            let newest = now_us() / 20_000 * 20_000;
            let times = (0..119).rev().map(|back| newest - back * 20_000);
            times
                .filter(|us| *us > since)
                .map(|us| (us, 400.0))
                .collect()
        };
        *fake.ring.lock().unwrap() = Box::new(move |since| Ok(samples(since)));
        let mut meter = find_in(&fake, None, &[]).meter.unwrap();
        *fake.ring.lock().unwrap() = Box::new(|_| Err(GpuError::Lost));
        let mut rows = Rows::default();
        meter.begin();
        meter.settle(Stamp::mono_ns(), &mut rows);
        assert!(rows.values.is_empty());
        assert!(rows.missed[0].1.contains("fallen off the bus"));
        *fake.ring.lock().unwrap() = Box::new(move |since| Ok(samples(since)));
        meter.settle(Stamp::mono_ns(), &mut rows);
        assert!(!rows.values.is_empty());
    }

    #[test]
    fn without_instant_power_the_average_is_read_and_its_window_told() {
        let fake = FakeGpus::h100(1);
        fake.set(Reading::PowerInstant, Err(GpuError::NotSupported));
        let mut meter = find_in(&Arc::new(fake), None, &[]).meter.unwrap();
        let sensor = meter.sources()[0].sensor;
        assert_eq!((sensor.window_s, sensor.lag_s), (Some(1.0), Some(0.5)));
        let mut rows = Rows::default();
        meter.read(&mut rows);
        assert_eq!(rows.values[0][0], Some(250.0));
    }

    #[test]
    fn what_a_gpu_does_not_tell_is_no_column_and_has_a_reason() {
        let fake = FakeGpus::h100(1);
        for what in [
            Reading::PowerInstant,
            Reading::PowerAverage,
            Reading::Energy,
        ] {
            fake.set(what, Err(GpuError::NotSupported));
        }
        let found = find_in(&Arc::new(fake), None, &[]);
        let source = &found.meter.as_ref().unwrap().sources()[0];
        assert!(source.columns.iter().all(|c| c.metric != "sample.power"));
        assert!(
            found.absent[0].what.contains("power of gpu0"),
            "{:?}",
            found.absent
        );
        assert!(
            found.absent[1]
                .reason
                .contains("sample.energy (this GPU does not support it)")
        );
    }

    #[test]
    fn a_gpu_that_falls_off_the_bus_is_missed_and_may_come_back() {
        let fake = Arc::new(FakeGpus::h100(1));
        let mut meter = find_in(&fake, None, &[]).meter.unwrap();
        fake.set_all(&GpuError::Lost);
        let mut rows = Rows::default();
        meter.read(&mut rows);
        meter.read_edges(&mut rows);
        assert!(rows.values.is_empty());
        assert_eq!(rows.missed.len(), 4, "tick, second, edge and counter");
        assert!(rows.missed[0].1.contains("fallen off the bus"));
        fake.set(Reading::PowerInstant, Ok(90.0));
        meter.read(&mut rows);
        assert_eq!(
            rows.values[0].iter().flatten().count(),
            1,
            "one column is back"
        );
        assert_eq!(rows.missed.len(), 5, "and the others are still missed");
    }

    #[test]
    fn a_gpu_in_instances_is_refused() {
        let mut fake = FakeGpus::h100(2);
        fake.gpus[0].mig = true;
        let found = find_in(&Arc::new(fake), None, &[]);
        assert_eq!(found.meter.unwrap().sources().len(), 1);
        assert!(found.absent[0].reason.contains("MIG"));
    }

    #[test]
    fn no_driver_no_gpu_and_no_such_gpu_have_reasons() {
        let none = find(&Err("there is no libnvidia-ml.so.1".into()), None, &[]);
        assert!(none.meter.is_none());
        assert!(none.absent[0].reason.contains("libnvidia-ml"));
        let empty = find_in(&Arc::new(FakeGpus::h100(0)), None, &[]);
        assert!(empty.absent[0].reason.contains("shows none"));
        let wrong = find_in(&Arc::new(FakeGpus::h100(1)), None, &[5]);
        assert!(wrong.meter.is_none());
        assert!(
            wrong.absent[0].what.contains("5 (gpus)"),
            "{:?}",
            wrong.absent
        );
    }
}
