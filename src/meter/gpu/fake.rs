//! GPUs that do what a test says.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Mutex;

use super::{Activity, Gpu, GpuBackend, GpuDriver, GpuError, GpuFacts, Reading, Smear};
use crate::environment::Fact;

pub(crate) fn gpu(index: u32) -> Gpu {
    Gpu {
        index,
        name: "NVIDIA H100 80GB HBM3".into(),
        uuid: format!("GPU-{index}c0ffee"),
        mig: false,
        ring: Smear {
            lag_s: Some(0.015),
            ..Smear::default()
        },
        instant: Smear {
            lag_s: None,
            ..Smear::mean_of(0.025)
        },
        average: Smear::mean_of(1.0),
        calibrated: Err("it was never calibrated".into()),
    }
}

/// A number for each reading; what is not there is not supported.
pub(crate) struct FakeGpus {
    pub gpus: Vec<Gpu>,
    pub answers: Mutex<HashMap<Reading, Result<f64, GpuError>>>,
    pub throttles: Mutex<Result<u64, GpuError>>,
    /// Answers the question for power samples; by default there is no ring.
    pub ring: Mutex<Ring>,
    pub activity: Mutex<Result<Option<Activity>, GpuError>>,
    pub processes: Mutex<Vec<u32>>,
}

type Ring = Box<dyn FnMut(u64) -> Result<Vec<(u64, f64)>, GpuError> + Send>;

impl FakeGpus {
    pub fn h100(count: u32) -> Self {
        let answers = [
            (Reading::PowerInstant, 300.0),
            (Reading::PowerAverage, 250.0),
            (Reading::PowerMemory, 51.0),
            (Reading::PerformanceState, 0.0),
            (Reading::Energy, 1_000_000.0),
            (Reading::Utilization, 0.75),
            (Reading::MemoryUsed, 4e9),
            (Reading::MemoryTotal, 8e10),
            (Reading::Temperature, 41.0),
            (Reading::ClockSm, 1.98e9),
            (Reading::ClockMemory, 2.619e9),
            (Reading::PowerLimit, 700.0),
            (Reading::ThrottleTimePower, 5.0),
            (Reading::ThrottleTimeThermal, 0.0),
        ];
        Self {
            gpus: (0..count).map(gpu).collect(),
            answers: Mutex::new(answers.map(|(what, value)| (what, Ok(value))).into()),
            throttles: Mutex::new(Ok(0x04)),
            ring: Mutex::new(Box::new(|_| Err(GpuError::NotSupported))),
            processes: Mutex::new(vec![std::process::id()]),
            activity: Mutex::new(Ok(Some(Activity {
                sm: 0.5,
                tensor: 0.25,
                dram: 0.125,
            }))),
        }
    }

    pub fn set(&self, what: Reading, answer: Result<f64, GpuError>) {
        self.answers.lock().unwrap().insert(what, answer);
    }

    pub fn set_all(&self, error: &GpuError) {
        for answer in self.answers.lock().unwrap().values_mut() {
            *answer = Err(error.clone());
        }
        *self.throttles.lock().unwrap() = Err(error.clone());
        *self.activity.lock().unwrap() = Err(error.clone());
    }
}

impl GpuBackend for FakeGpus {
    fn driver(&self) -> GpuDriver {
        GpuDriver {
            driver: Fact::Value("580.65.06".into()),
            cuda: Fact::Value("13.0".into()),
            nvml: Fact::absent("not asked"),
        }
    }

    fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }

    fn read(&self, _gpu: usize, what: Reading) -> Result<f64, GpuError> {
        let answers = self.answers.lock().unwrap();
        answers
            .get(&what)
            .cloned()
            .unwrap_or(Err(GpuError::NotSupported))
    }

    fn power_samples(&self, _gpu: usize, since_us: u64) -> Result<Vec<(u64, f64)>, GpuError> {
        (self.ring.lock().unwrap())(since_us)
    }

    fn activity(&self, _gpu: usize) -> Result<Option<Activity>, GpuError> {
        self.activity.lock().unwrap().clone()
    }

    fn processes(&self, _gpu: usize) -> Result<Vec<u32>, GpuError> {
        Ok(self.processes.lock().unwrap().clone())
    }

    fn throttle_bits(&self, _gpu: usize) -> Result<u64, GpuError> {
        self.throttles.lock().unwrap().clone()
    }

    fn facts(&self, gpu: usize) -> GpuFacts {
        let known = &self.gpus[gpu];
        let text = |value: &str| Fact::Value(value.to_owned());
        let read = |what| Fact::from(self.read(gpu, what));
        GpuFacts {
            index: known.index,
            name: known.name.clone(),
            uuid: known.uuid.clone(),
            architecture: text("Hopper"),
            compute_capability: text("9.0"),
            memory_bytes: Fact::Value(80_000_000_000),
            temperature_celsius: read(Reading::Temperature),
            power_limit_watts: read(Reading::PowerLimit),
            power_limit_default_watts: Fact::Value(700.0),
            power_limit_min_watts: Fact::Value(200.0),
            power_limit_max_watts: Fact::Value(700.0),
            persistence: Fact::Value(true),
            ecc: Fact::Value(true),
            mig: Fact::Value(known.mig),
            performance_state: text("P0"),
            compute_processes: Fact::Value(1),
            clock_sm_max_hertz: Fact::Value(1_980_000_000),
            clock_memory_max_hertz: Fact::Value(2_619_000_000),
            pci_bus: text("00000000:00:05.0"),
            vbios: Fact::absent("not asked"),
        }
    }
}
