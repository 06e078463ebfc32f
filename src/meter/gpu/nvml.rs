//! NVIDIA's management library, loaded when lem runs: a machine without it is not an error.

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use nvml_wrapper::Nvml;
use nvml_wrapper::device::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, PerformancePolicy, TemperatureSensor};
use nvml_wrapper::enums::device::{DeviceArchitecture, SampleValue};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;

use super::{Gpu, GpuBackend, GpuDriver, GpuError, GpuFacts, Gpus, Reading};
use crate::environment::Fact;

const LIBRARY: &str = "libnvidia-ml.so.1";

/// NVML_FI_DEV_POWER_INSTANT, milliwatts.
const POWER_INSTANT: u32 = 186;

/// One for the process, for its life: the library's own state is global too.
static NVML: OnceLock<Result<Nvml, String>> = OnceLock::new();

pub(super) fn open() -> Gpus {
    let nvml = NVML
        .get_or_init(|| {
            Nvml::builder()
                .lib_path(OsStr::new(LIBRARY))
                .init()
                .map_err(|error| why_not(&error))
        })
        .as_ref()
        .map_err(String::clone)?;
    let count = nvml
        .device_count()
        .map_err(|error| format!("the NVIDIA driver does not tell its GPUs: {error}"))?;
    let mut backend = NvmlGpus {
        nvml,
        devices: Vec::new(),
        gpus: Vec::new(),
    };
    for index in 0..count {
        // One that is lost already, or that this user may not open, is not among them.
        if let Ok(device) = nvml.device_by_index(index) {
            backend.gpus.push(identify(index, &device));
            backend.devices.push(device);
        }
    }
    Ok(Arc::new(backend))
}

fn why_not(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
            format!("there is no {LIBRARY}: the NVIDIA driver is not installed here")
        }
        NvmlError::DriverNotLoaded => "the NVIDIA driver is installed but not loaded".into(),
        NvmlError::LibRmVersionMismatch => {
            "the NVIDIA library and the loaded driver are of different versions: restart the \
             machine, or load the new driver"
                .into()
        }
        NvmlError::NoPermission => "this user may not open the NVIDIA driver's devices".into(),
        other => format!("the NVIDIA library does not start: {other}"),
    }
}

fn identify(index: u32, device: &Device<'static>) -> Gpu {
    let name = device.name().unwrap_or_else(|_| "NVIDIA GPU".into());
    // GA100 is Ampere by name, but its plain reading is not the mean of a second.
    let ga100 = name
        .split([' ', '-'])
        .any(|word| matches!(word, "A100" | "A30" | "A800"));
    let architecture = device.architecture().ok();
    // Both from arXiv 2312.02741 (SC'24), which looked at boards up to Hopper.
    let average_window_s =
        match architecture {
            Some(
                DeviceArchitecture::Ampere | DeviceArchitecture::Ada | DeviceArchitecture::Hopper,
            ) if !ga100 => Some(1.0),
            _ => None,
        };
    let hopper = matches!(architecture, Some(DeviceArchitecture::Hopper));
    Gpu {
        index,
        uuid: device.uuid().unwrap_or_else(|_| format!("index {index}")),
        mig: device.mig_mode().is_ok_and(|mode| mode.current != 0),
        average_window_s,
        instant_window_s: (ga100 || hopper).then_some(0.025),
        name,
    }
}

struct NvmlGpus {
    nvml: &'static Nvml,
    devices: Vec<Device<'static>>,
    gpus: Vec<Gpu>,
}

impl NvmlGpus {
    fn device(&self, gpu: usize) -> Result<&Device<'static>, GpuError> {
        self.devices
            .get(gpu)
            .ok_or_else(|| GpuError::Other(format!("there is no GPU {gpu}")))
    }
}

impl From<NvmlError> for GpuError {
    fn from(error: NvmlError) -> Self {
        match error {
            // An older driver lacks the function, another GPU the reading.
            NvmlError::NotSupported
            | NvmlError::FunctionNotFound
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::InvalidArg => Self::NotSupported,
            NvmlError::NoPermission => Self::NoPermission,
            NvmlError::GpuLost => Self::Lost,
            other => Self::Other(other.to_string()),
        }
    }
}

impl GpuBackend for NvmlGpus {
    fn driver(&self) -> GpuDriver {
        let cuda = self.nvml.sys_cuda_driver_version().map(|version| {
            // 13020 is 13.2.
            format!("{}.{}", version / 1000, version % 1000 / 10)
        });
        GpuDriver {
            driver: self.nvml.sys_driver_version().into(),
            cuda: cuda.into(),
            nvml: self.nvml.sys_nvml_version().into(),
        }
    }

    fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }

    fn read(&self, gpu: usize, what: Reading) -> Result<f64, GpuError> {
        let device = self.device(gpu)?;
        let throttled = |policy| -> Result<f64, GpuError> {
            Ok(device.violation_status(policy)?.violation_time as f64 * 1e-9)
        };
        Ok(match what {
            Reading::PowerInstant => field(device, POWER_INSTANT)? * 1e-3,
            Reading::PowerAverage => f64::from(device.power_usage()?) * 1e-3,
            Reading::Energy => device.total_energy_consumption()? as f64 * 1e-3,
            Reading::Utilization => f64::from(device.utilization_rates()?.gpu) * 0.01,
            Reading::MemoryUsed => device.memory_info()?.used as f64,
            Reading::MemoryTotal => device.memory_info()?.total as f64,
            Reading::Temperature => f64::from(device.temperature(TemperatureSensor::Gpu)?),
            Reading::ClockSm => hertz(device.clock_info(Clock::SM)?),
            Reading::ClockMemory => hertz(device.clock_info(Clock::Memory)?),
            Reading::PowerLimit => f64::from(device.enforced_power_limit()?) * 1e-3,
            Reading::ThrottleTimePower => throttled(PerformancePolicy::Power)?,
            Reading::ThrottleTimeThermal => throttled(PerformancePolicy::Thermal)?,
        })
    }

    fn throttle_bits(&self, gpu: usize) -> Result<u64, GpuError> {
        Ok(self.device(gpu)?.current_throttle_reasons()?.bits())
    }

    fn facts(&self, gpu: usize) -> GpuFacts {
        let known = self.gpus.get(gpu);
        let device = self.device(gpu);
        /// One answer of the device, or why there is none.
        fn ask<T>(
            device: &Result<&Device<'static>, GpuError>,
            question: impl FnOnce(&Device<'static>) -> Result<T, NvmlError>,
        ) -> Fact<T> {
            device
                .clone()
                .and_then(|device| question(device).map_err(GpuError::from))
                .into()
        }
        let watts = |milliwatts: u32| f64::from(milliwatts) * 1e-3;
        let limits = |pick: fn(u32, u32) -> u32| {
            ask(&device, |d| {
                let range = d.power_management_limit_constraints()?;
                Ok(watts(pick(range.min_limit, range.max_limit)))
            })
        };
        let max_clock = |clock| {
            ask(&device, |d| {
                Ok(u64::from(d.max_clock_info(clock)?) * 1_000_000)
            })
        };
        GpuFacts {
            index: known.map_or(0, |gpu| gpu.index),
            name: known.map(|gpu| gpu.name.clone()).unwrap_or_default(),
            uuid: known.map(|gpu| gpu.uuid.clone()).unwrap_or_default(),
            architecture: ask(&device, |d| Ok(format!("{:?}", d.architecture()?))),
            compute_capability: ask(&device, |d| {
                let version = d.cuda_compute_capability()?;
                Ok(format!("{}.{}", version.major, version.minor))
            }),
            memory_bytes: ask(&device, |d| Ok(d.memory_info()?.total)),
            temperature_celsius: self.read(gpu, Reading::Temperature).into(),
            power_limit_watts: self.read(gpu, Reading::PowerLimit).into(),
            power_limit_default_watts: ask(&device, |d| {
                Ok(watts(d.power_management_limit_default()?))
            }),
            power_limit_min_watts: limits(|min, _| min),
            power_limit_max_watts: limits(|_, max| max),
            persistence: ask(&device, |d| d.is_in_persistent_mode()),
            ecc: ask(&device, |d| Ok(d.is_ecc_enabled()?.currently_enabled)),
            mig: ask(&device, |d| Ok(d.mig_mode()?.current != 0)),
            performance_state: ask(&device, |d| {
                Ok(format!("P{}", d.performance_state()?.as_c()))
            }),
            compute_processes: ask(&device, |d| d.running_compute_processes_count()),
            clock_sm_max_hertz: max_clock(Clock::SM),
            clock_memory_max_hertz: max_clock(Clock::Memory),
            pci_bus: ask(&device, |d| Ok(d.pci_info()?.bus_id)),
            vbios: ask(&device, |d| d.vbios_version()),
        }
    }
}

fn hertz(megahertz: u32) -> f64 {
    f64::from(megahertz) * 1e6
}

fn field(device: &Device<'static>, id: u32) -> Result<f64, GpuError> {
    let values = device.field_values_for(&[FieldId(id)])?;
    let sample = values.into_iter().next().ok_or(GpuError::NotSupported)??;
    Ok(match sample.value? {
        SampleValue::F64(value) => value,
        SampleValue::U32(value) => f64::from(value),
        SampleValue::U64(value) => value as f64,
        SampleValue::I64(value) => value as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where there is no driver the reason is told; where there is one, it answers.
    #[test]
    fn the_real_library_answers_or_says_why_not() {
        match open() {
            Err(reason) => assert!(reason.contains("NVIDIA"), "{reason}"),
            Ok(backend) => {
                for (position, gpu) in backend.gpus().iter().enumerate() {
                    assert!(!gpu.name.is_empty() && !gpu.uuid.is_empty());
                    assert_eq!(backend.facts(position).index, gpu.index);
                }
            }
        }
    }

    #[test]
    fn faults_of_the_library_are_told_apart() {
        assert_eq!(GpuError::from(NvmlError::GpuLost), GpuError::Lost);
        assert_eq!(
            GpuError::from(NvmlError::NotSupported),
            GpuError::NotSupported
        );
        assert!(why_not(&NvmlError::LibRmVersionMismatch).contains("different versions"));
    }
}
