//! NVIDIA's management library, loaded when lem runs: a machine without it is not an error.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use nvml_wrapper::GpmSample;
use nvml_wrapper::Nvml;
use nvml_wrapper::device::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, PerformancePolicy, Sampling, TemperatureSensor};
use nvml_wrapper::enums::device::{DeviceArchitecture, SampleValue};
use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::gpm_metrics_get;
use nvml_wrapper::structs::device::FieldId;

use super::{Activity, Gpu, GpuBackend, GpuDriver, GpuError, GpuFacts, Gpus, Reading, Smear};
use crate::calibrate;
use crate::environment::Fact;

const LIBRARY: &str = "libnvidia-ml.so.1";

/// NVML_FI_DEV_POWER_AVERAGE, milliwatts; takes a scope.
const POWER_AVERAGE: u32 = 185;
/// NVML_FI_DEV_POWER_INSTANT, milliwatts.
const POWER_INSTANT: u32 = 186;
/// NVML_POWER_SCOPE_MEMORY.
const SCOPE_MEMORY: u32 = 2;

/// One for the process, for its life: the library's own state is global too. A driver that is
/// not there may come, so that is not remembered.
static NVML: Mutex<Option<&'static Nvml>> = Mutex::new(None);

fn library() -> Result<&'static Nvml, String> {
    let mut known = NVML.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(nvml) = *known {
        return Ok(nvml);
    }
    let nvml = Nvml::builder()
        .lib_path(OsStr::new(LIBRARY))
        .init()
        .map_err(|error| why_not(&error))?;
    let nvml: &'static Nvml = Box::leak(Box::new(nvml));
    *known = Some(nvml);
    Ok(nvml)
}

/// Lets the library forget the driver and find it anew: after a restart of the driver nothing
/// else brings its GPUs back. Backends of before answer with errors from here on.
pub(super) fn restart() {
    let known = NVML.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(nvml) = *known else { return };
    let library = nvml.lib();
    if let (Ok(shutdown), Ok(init)) = (&library.nvmlShutdown, &library.nvmlInit_v2) {
        // SAFETY: the library is loaded for the life of the process, both functions take
        // nothing, may be called from any thread, and answer with a code. A call with a handle
        // of before answers with an error.
        // Where the driver is not back yet, opening tells why, and the next try starts it.
        let _ = unsafe { (shutdown(), init()) };
    }
}

pub(super) fn open(calibrations: Option<&Path>) -> Gpus {
    let nvml = library()?;
    let count = nvml
        .device_count()
        .map_err(|error| format!("the NVIDIA driver does not tell its GPUs: {error}"))?;
    let mut backend = NvmlGpus {
        nvml,
        devices: Vec::new(),
        gpus: Vec::new(),
        gpm: Vec::new(),
    };
    for index in 0..count {
        // One that is lost already, or that this user may not open, is not among them.
        if let Ok(device) = nvml.device_by_index(index) {
            let mut gpu = identify(index, &device);
            if let Some(folder) = calibrations {
                let driver = nvml.sys_driver_version().unwrap_or_default();
                gpu.calibrate(calibrate::load(folder, &gpu.uuid, &driver));
            }
            backend.gpus.push(gpu);
            backend.devices.push(device);
            backend.gpm.push(Mutex::new(None));
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
    let known = |is: bool, smear: Smear| if is { smear } else { Smear::default() };
    // Both windows from arXiv 2312.02741 (SC'24), which looked at boards up to Hopper.
    let averages = matches!(
        architecture,
        Some(DeviceArchitecture::Ampere | DeviceArchitecture::Ada | DeviceArchitecture::Hopper)
    ) && !ga100;
    let hopper = matches!(architecture, Some(DeviceArchitecture::Hopper));
    let instant = known(
        ga100 || hopper,
        Smear {
            lag_s: None, // its delay is not in the paper
            ..Smear::mean_of(0.025)
        },
    );
    // Seen on one H100 with square waves and with phases of known energy: 10 to 20 ms.
    let ring = Smear {
        lag_s: hopper.then_some(0.015),
        ..Smear::default()
    };
    Gpu {
        index,
        uuid: device.uuid().unwrap_or_else(|_| format!("index {index}")),
        mig: device.mig_mode().is_ok_and(|mode| mode.current != 0),
        ring,
        instant,
        average: known(averages, Smear::mean_of(1.0)),
        calibrated: Err("nobody looked for a calibration".into()),
        name,
    }
}

struct NvmlGpus {
    nvml: &'static Nvml,
    devices: Vec<Device<'static>>,
    gpus: Vec<Gpu>,
    /// The last sample of the activity counters of each GPU.
    gpm: Vec<Mutex<Option<GpmSample<'static>>>>,
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
            Reading::PowerMemory => scoped_field(device, POWER_AVERAGE, SCOPE_MEMORY)? * 1e-3,
            Reading::PerformanceState => f64::from(device.performance_state()?.as_c()),
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

    fn power_samples(&self, gpu: usize, since_us: u64) -> Result<Vec<(u64, f64)>, GpuError> {
        let samples = match self.device(gpu)?.samples(Sampling::Power, since_us) {
            Ok(samples) => samples,
            // There is nothing newer.
            Err(NvmlError::NotFound) => Vec::new(),
            Err(error) => return Err(error.into()),
        };
        let watts = |sample: &nvml_wrapper::struct_wrappers::device::Sample| {
            (sample.timestamp, number(&sample.value) * 1e-3)
        };
        Ok(samples.iter().map(watts).collect())
    }

    fn activity(&self, gpu: usize) -> Result<Option<Activity>, GpuError> {
        let device = self.device(gpu)?;
        let last = self.gpm.get(gpu).ok_or(GpuError::NotSupported)?;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none() && !device.gpm_support()? {
            return Err(GpuError::NotSupported);
        }
        let now = device.gpm_sample()?;
        let Some(before) = last.replace(now) else {
            return Ok(None);
        };
        let Some(now) = last.as_ref() else {
            return Ok(None);
        };
        let wanted = [
            GpmMetricId::SmUtil,
            GpmMetricId::AnyTensorUtil,
            GpmMetricId::DramBwUtil,
        ];
        let mut shares = [0.0; 3];
        let results = gpm_metrics_get(self.nvml, &before, now, &wanted)?;
        for (share, result) in shares.iter_mut().zip(results) {
            *share = result?.value * 0.01;
        }
        let [sm, tensor, dram] = shares;
        Ok(Some(Activity { sm, tensor, dram }))
    }

    fn processes(&self, gpu: usize) -> Result<Vec<u32>, GpuError> {
        let processes = self.device(gpu)?.running_compute_processes()?;
        Ok(processes.iter().map(|process| process.pid).collect())
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
    Ok(number(&sample.value?))
}

/// A field of one scope: the wrapper's call knows none.
fn scoped_field(device: &Device<'static>, id: u32, scope: u32) -> Result<f64, GpuError> {
    let lib = device.nvml().lib();
    let call = lib
        .nvmlDeviceGetFieldValues
        .as_ref()
        .map_err(|_| GpuError::NotSupported)?;
    // SAFETY: all zeroes is a valid value of this plain C structure of numbers.
    let mut value: nvml_wrapper_sys::bindings::nvmlFieldValue_t = unsafe { std::mem::zeroed() };
    value.fieldId = id;
    value.scopeId = scope;
    // SAFETY: the handle belongs to a device of this library, which is never shut down, and
    // the library writes the one structure that it is given.
    let status = unsafe { call(device.handle(), 1, &mut value) };
    nvml_wrapper::error::nvml_try(status)?;
    nvml_wrapper::error::nvml_try(value.nvmlReturn)?;
    if value.valueType
        != nvml_wrapper_sys::bindings::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT
    {
        return Err(GpuError::NotSupported);
    }
    // SAFETY: the library says that this member of the union is the one that it wrote.
    Ok(f64::from(unsafe { value.value.uiVal }))
}

fn number(value: &SampleValue) -> f64 {
    match value {
        SampleValue::F64(value) => *value,
        SampleValue::U32(value) => f64::from(*value),
        SampleValue::U64(value) => *value as f64,
        SampleValue::I64(value) => *value as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where there is no driver the reason is told; where there is one, it answers.
    #[test]
    fn the_real_library_answers_or_says_why_not() {
        match open(None) {
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
