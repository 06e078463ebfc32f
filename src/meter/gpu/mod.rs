//! GPUs behind a trait, so that faults can be scripted; NVML is the one that is real.

#[cfg(test)]
pub(crate) mod fake;
mod meter;
mod neighbours;
#[cfg(feature = "nvml")]
mod nvml;
mod ring;
mod select;

use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::meter::find;
pub use self::neighbours::{Neighbour, neighbours};
pub(crate) use self::select::select;
use crate::calibrate::{Calibration, Field};
use crate::environment::Fact;
use crate::meter::Kernel;

/// The GPUs of this machine, or why there are none.
pub type Gpus = Result<Arc<dyn GpuBackend>, String>;

/// A driver of GPUs. Calls are cheap, but for the energy counter.
pub trait GpuBackend: Send + Sync {
    fn driver(&self) -> GpuDriver;

    /// In the order of their indices.
    fn gpus(&self) -> &[Gpu];

    /// One number of one GPU. `gpu` counts in [`GpuBackend::gpus`].
    fn read(&self, gpu: usize, what: Reading) -> Result<f64, GpuError>;

    /// The driver's own power samples after an epoch time: microseconds, watts. In any order.
    fn power_samples(&self, gpu: usize, since_us: u64) -> Result<Vec<(u64, f64)>, GpuError>;

    /// What the units did since the last call for this GPU; `None` at the first. Calls are at
    /// least 100 ms apart.
    fn activity(&self, gpu: usize) -> Result<Option<Activity>, GpuError>;

    /// Processes that compute on the GPU, this one among them: their ids.
    fn processes(&self, gpu: usize) -> Result<Vec<u32>, GpuError>;

    /// Why the clocks are held down now: bits of [`THROTTLES`].
    fn throttle_bits(&self, gpu: usize) -> Result<u64, GpuError>;

    /// What is worth recording of the GPU besides readings.
    fn facts(&self, gpu: usize) -> GpuFacts;
}

/// What a GPU is found by, and what is known of its sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// As `nvidia-smi` counts.
    pub index: u32,
    pub name: String,
    pub uuid: String,
    /// It is cut into instances, and its power is that of all of them.
    pub mig: bool,
    /// Of a sample of the driver's ring.
    pub ring: Smear,
    /// Of [`Reading::PowerInstant`].
    pub instant: Smear,
    /// Of [`Reading::PowerAverage`].
    pub average: Smear,
    /// The day on which this board was calibrated, or why what is known is of its kind alone.
    pub calibrated: Result<String, String>,
}

/// How a power reading shows the truth; absent: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Smear {
    /// Time that a reading is averaged over, seconds.
    pub window_s: Option<f64>,
    /// How far a reading lags, seconds.
    pub lag_s: Option<f64>,
    /// All of it, where it was calibrated.
    pub kernel: Option<Kernel>,
}

impl Smear {
    /// The mean of a window is that of its middle.
    pub const fn mean_of(window_s: f64) -> Self {
        Self {
            window_s: Some(window_s),
            lag_s: Some(window_s / 2.0),
            kernel: None,
        }
    }
}

impl Gpu {
    /// What was found on the board itself goes before what is known of its kind.
    pub fn calibrate(&mut self, found: Result<Calibration, String>) {
        self.calibrated = found.map(|calibration| {
            for (field, smear) in [
                (Field::Ring, &mut self.ring),
                (Field::Instant, &mut self.instant),
                (Field::Average, &mut self.average),
            ] {
                if let Some(fit) = calibration.fields.get(field.as_str()) {
                    *smear = Smear {
                        window_s: Some(fit.window_s),
                        lag_s: Some(fit.lag_s),
                        kernel: Some(fit.kernel),
                    };
                }
            }
            let day = calibration.made_at.get(..10);
            day.unwrap_or(&calibration.made_at).to_owned()
        });
    }
}

/// Shares of a time, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activity {
    /// In which an SM had work, averaged over all.
    pub sm: f64,
    /// In which the tensor units computed.
    pub tensor: f64,
    /// Of the memory bandwidth.
    pub dram: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading {
    /// Watts of a short time (NVML field 186).
    PowerInstant,
    /// Watts, averaged as the architecture does (NVML `power_usage`).
    PowerAverage,
    /// Watts of the memory alone, averaged as the architecture does (NVML field 185, scope memory).
    PowerMemory,
    /// Joules since the driver was loaded.
    Energy,
    /// Share of time in which a kernel ran, 0 to 1.
    Utilization,
    /// Bytes.
    MemoryUsed,
    /// Bytes.
    MemoryTotal,
    /// Degrees Celsius.
    Temperature,
    /// Hertz.
    ClockSm,
    /// Hertz.
    ClockMemory,
    /// 0 at full speed, up to 15.
    PerformanceState,
    /// Watts: the limit in force.
    PowerLimit,
    /// Seconds for which the power limit held the clocks down.
    ThrottleTimePower,
    /// Seconds for which the temperature held the clocks down.
    ThrottleTimeThermal,
}

/// Why clocks are held down: the value of `lem.throttle.reason`, and NVML's bit.
pub const THROTTLES: &[(&str, u64)] = &[
    ("power_cap", 0x04),
    ("hw_slowdown", 0x08),
    ("sw_thermal", 0x20),
    ("hw_thermal", 0x40),
    ("power_brake", 0x80),
];

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// Never here.
    #[error("this GPU does not support it")]
    NotSupported,
    #[error("the user may not read it")]
    NoPermission,
    #[error("the GPU has fallen off the bus")]
    Lost,
    #[error("{0}")]
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuDriver {
    /// `580.65.06`
    pub driver: Fact<String>,
    /// Newest CUDA version that the driver runs: `13.0`.
    pub cuda: Fact<String>,
    pub nvml: Fact<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuFacts {
    pub index: u32,
    pub name: String,
    pub uuid: String,
    pub architecture: Fact<String>,
    /// `9.0`
    pub compute_capability: Fact<String>,
    pub memory_bytes: Fact<u64>,
    pub temperature_celsius: Fact<f64>,
    /// The limit in force, watts.
    pub power_limit_watts: Fact<f64>,
    pub power_limit_default_watts: Fact<f64>,
    pub power_limit_min_watts: Fact<f64>,
    pub power_limit_max_watts: Fact<f64>,
    pub persistence: Fact<bool>,
    pub ecc: Fact<bool>,
    pub mig: Fact<bool>,
    /// `P0` is full speed.
    pub performance_state: Fact<String>,
    /// Processes that compute on it, this one included.
    pub compute_processes: Fact<u32>,
    pub clock_sm_max_hertz: Fact<u64>,
    pub clock_memory_max_hertz: Fact<u64>,
    pub pci_bus: Fact<String>,
    pub vbios: Fact<String>,
}

/// Finds the driver anew, after GPUs were lost; see [`open`].
pub fn restart() {
    #[cfg(feature = "nvml")]
    nvml::restart();
}

/// The GPUs that a driver shows.
///
/// `calibrations` is the folder with what `lem calibrate` found, where there is one.
#[cfg(feature = "nvml")]
pub fn open(calibrations: Option<&Path>) -> Gpus {
    nvml::open(calibrations)
}

#[cfg(not(feature = "nvml"))]
pub fn open(_calibrations: Option<&Path>) -> Gpus {
    Err("this lem was built without the feature `nvml`".into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use super::*;
    use crate::calibrate::{FORMAT, Fit};
    use crate::meter::Shape;

    #[test]
    fn what_was_found_on_the_board_goes_before_what_is_known_of_its_kind() {
        let fit = Fit {
            kernel: Kernel {
                shape: Shape::LowPass,
                delay_s: 0.004,
                width_s: 0.013,
            },
            lag_s: 0.017,
            u_lag_s: Some(0.001),
            window_s: 0.045,
            u_window_s: None,
            update_s: 0.02,
            idle_watts: 120.0,
            busy_watts: 380.0,
            explained: 0.99,
        };
        let mut gpu = fake::gpu(0);
        let (instant, average) = (gpu.instant, gpu.average);
        gpu.calibrate(Ok(Calibration {
            format: FORMAT,
            uuid: gpu.uuid.clone(),
            name: gpu.name.clone(),
            driver: "580".into(),
            made_at: "2026-11-24T20:00:00Z".into(),
            fields: BTreeMap::from([("ring".into(), fit)]),
        }));
        assert_eq!(gpu.ring.window_s, Some(0.045));
        assert_eq!(gpu.ring.lag_s, Some(0.017));
        assert_eq!((gpu.instant, gpu.average), (instant, average));
        assert_eq!(gpu.calibrated, Ok("2026-11-24".into()));
        gpu.calibrate(Err("it was never calibrated".into()));
        assert_eq!(
            gpu.ring.window_s,
            Some(0.045),
            "a failed look changes nothing"
        );
    }
}
