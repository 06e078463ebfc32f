//! The meter over a [`GpuBackend`].
//!
//! One source a GPU, and in it every column that the GPU supports. The quick ones are read at
//! each tick; the others (on an H100 the energy counter costs 4 ms, a throttle time 0.8 ms) at
//! the edges of a window and every few seconds between. A row has values only in the columns
//! that were read for it, so the source's columns are sparse: a reader of one column skips the
//! rows in which it is empty.

use std::sync::Arc;

use lem_record::{How, Stamp};

use super::select::select;
use super::{Gpu, GpuBackend, GpuError, Gpus, Reading, THROTTLES};
use crate::meter::found::{Absent, Found, column};
use crate::meter::{Component, Meter, SampleSink, Sensor, Source, SourceColumn};

/// Gain error of the boards' power sensors: ±5 % of the reading (Yang, Adámek, Armour, SC'24,
/// arXiv 2312.02741), the vendor's own tolerance.
const GAIN_RELATIVE: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rhythm {
    Tick,
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
    let mut board = Board {
        position,
        values: Vec::new(),
        row: Vec::new(),
    };
    let mut add = |column: SourceColumn, rhythm, value| {
        columns.push(column);
        board.values.push((rhythm, value));
    };
    let plain = |metric: &str, more: &[(&str, &str)]| column(metric, &id, Component::Gpu, more);

    let power = power(backend, position, gpu);
    let (method, sensor) = match power {
        Ok((reading, method, sensor)) => {
            add(plain("sample.power", &[]), Rhythm::Tick, Value::Of(reading));
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

/// The power reading of the shortest window that the GPU has.
fn power(
    backend: &dyn GpuBackend,
    position: usize,
    gpu: &Gpu,
) -> Result<(Reading, String, Sensor), GpuError> {
    let counter = match backend.read(position, Reading::Energy) {
        Ok(_) => "; energy counter at the edges",
        Err(_) => "",
    };
    let sensor = Sensor {
        update_s: Some(0.1),
        gain_relative: Some(GAIN_RELATIVE),
        ..Sensor::default()
    };
    if backend.read(position, Reading::PowerInstant).is_ok() {
        let method =
            format!("NVML instantaneous power (field 186), a short window in each 100 ms{counter}");
        let sensor = Sensor {
            window_s: gpu.instant_window_s,
            ..sensor
        };
        return Ok((Reading::PowerInstant, method, sensor));
    }
    backend.read(position, Reading::PowerAverage)?;
    let method = match gpu.average_window_s {
        Some(window_s) => format!("NVML power usage, averaged over {window_s} s{counter}"),
        None => format!("NVML power usage{counter}"),
    };
    let sensor = Sensor {
        window_s: gpu.average_window_s,
        // The mean of a window is that of its middle.
        lag_s: gpu.average_window_s.map(|window_s| window_s / 2.0),
        ..sensor
    };
    Ok((Reading::PowerAverage, method, sensor))
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
                Rhythm::Tick | Rhythm::Edge => before,
            };
            if board.row.iter().any(Option::is_some) {
                out.row(source, t_ns, &board.row);
            }
            if let Some(error) = error {
                out.missed(source, &error.to_string());
            }
        }
    }
}

impl Board {
    /// Reads the columns of this rhythm into the row; the first error, where there is one.
    fn fill(&mut self, backend: &dyn GpuBackend, rhythm: Rhythm) -> Option<GpuError> {
        let mut first_error = None;
        let mut bits = None;
        for (slot, (own, value)) in self.row.iter_mut().zip(&self.values) {
            *slot = None;
            if *own != rhythm {
                continue;
            }
            let read = match value {
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

    fn read(&mut self, out: &mut dyn SampleSink) {
        self.read_rhythm(Rhythm::Tick, out);
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
        let [tick, edge, energy] = rows.values.as_slice() else {
            panic!("{rows:?}")
        };
        assert_eq!(at(tick, "sample.power"), Some(300.0));
        assert_eq!(at(tick, "sample.energy"), None);
        assert_eq!(at(edge, "sample.power"), None);
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
        assert_eq!(rows.missed.len(), 3);
        assert!(rows.missed[0].1.contains("fallen off the bus"));
        fake.set(Reading::PowerInstant, Ok(90.0));
        meter.read(&mut rows);
        assert_eq!(
            rows.values[0].iter().flatten().count(),
            1,
            "one column is back"
        );
        assert_eq!(rows.missed.len(), 4, "and the others are still missed");
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
