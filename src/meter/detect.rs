//! What this machine can measure, what is modelled, and what is absent and why.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::found::{Absent, Found, Ids};
use super::gpu::{self, Gpus};
use super::load::LoadFile;
use super::{Component, Meter, Source, hwmon, modelled, process, rapl};
use crate::config::{Backend, Config};
use crate::environment::Root;

/// The meters of this machine.
pub struct Detected {
    pub meters: Vec<Box<dyn Meter>>,
    pub absent: Vec<Absent>,
}

/// The same without the sensors themselves: for people and for the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Inventory {
    pub sources: Vec<Source>,
    pub absent: Vec<Absent>,
}

impl Detected {
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.meters.iter().flat_map(|meter| meter.sources())
    }

    pub fn inventory(&self) -> Inventory {
        Inventory {
            sources: self.sources().cloned().collect(),
            absent: self.absent.clone(),
        }
    }

    fn take(&mut self, found: Found) {
        self.meters.extend(found.meter);
        self.absent.extend(found.absent);
    }

    /// Components whose power or energy a source gives.
    fn components(&self) -> Vec<Component> {
        self.sources()
            .filter(|source| source.gives_energy())
            .map(|source| source.component)
            .collect()
    }
}

impl fmt::Debug for Detected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inventory().fmt(f)
    }
}

impl Source {
    /// It is a source of power or energy, not only of state.
    pub fn gives_energy(&self) -> bool {
        self.columns
            .iter()
            .any(|c| matches!(c.metric.as_str(), "sample.power" | "sample.energy"))
    }
}

/// What of this process's surroundings the meters depend on.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The value of CUDA_VISIBLE_DEVICES.
    pub visible_gpus: Option<String>,
    /// The folder with what `lem calibrate` found of the boards here.
    pub calibrations: Option<PathBuf>,
}

impl Outside {
    fn gpus(&self) -> Gpus {
        gpu::open(self.calibrations.as_deref())
    }
}

/// Looks at this machine.
pub fn detect(config: &Config, outside: &Outside) -> Detected {
    let visible = outside.visible_gpus.as_deref();
    detect_in(&Root::system(), &outside.gpus(), config, visible)
}

/// As [`detect`], for a command: this process is none of its own.
pub fn detect_for_command(config: &Config, outside: &Outside) -> Detected {
    let visible = outside.visible_gpus.as_deref();
    detect_whose(&Root::system(), &outside.gpus(), config, visible, false)
}

/// As [`detect`], for a run: GPUs that its engine does not use are left alone, unless
/// `gpus` names them. An idle card's joules are none of the run's.
pub fn detect_for_run(config: &Config, outside: &Outside) -> Detected {
    let on_processor = match config.backend {
        Backend::Candle => true,
        Backend::Torch => config.torch.device.as_deref() == Some("cpu"),
        _ => false,
    };
    if !config.gpus.is_empty() || !on_processor {
        return detect(config, outside);
    }
    let unused = "the engine runs on the processor and uses no GPU".to_owned();
    let visible = outside.visible_gpus.as_deref();
    let mut detected = detect_in(&Root::system(), &Err(unused), config, visible);
    let gpus = |absent: &&mut Absent| absent.component == Component::Gpu;
    for absent in detected.absent.iter_mut().filter(gpus) {
        absent.remedy = "list GPUs in `gpus` to measure them all the same".to_owned();
    }
    detected
}

/// Looks at the machine whose files lie under `root`.
///
/// Each component is measured by one family of sensors: those that come first leave nothing
/// for the later ones to count again. What no sensor measures is modelled, if the
/// configuration lets it.
pub fn detect_in(
    root: &Root,
    gpus: &Gpus,
    config: &Config,
    visible_gpus: Option<&str>,
) -> Detected {
    detect_whose(root, gpus, config, visible_gpus, true)
}

/// `own_memory`: this process's memory is what is measured.
fn detect_whose(
    root: &Root,
    gpus: &Gpus,
    config: &Config,
    visible_gpus: Option<&str>,
    own_memory: bool,
) -> Detected {
    let mut detected = Detected {
        meters: Vec::new(),
        absent: Vec::new(),
    };
    let mut ids = Ids::default();
    if let Ok(backend) = gpus {
        let highest = backend.gpus().iter().map(|gpu| gpu.index + 1).max();
        ids.reserve(Component::Gpu, highest.unwrap_or(0));
    }
    detected.take(gpu::find(gpus, visible_gpus, &config.gpus));
    detected.take(rapl::find(root, &mut ids));
    // GPUs of several vendors lie side by side; processors and memory are the same ones.
    let mut measured = detected.components();
    measured.retain(|component| *component != Component::Gpu);
    detected.take(hwmon::find(root, &measured, &mut ids));

    let load = LoadFile::open(root);
    let measured = detected.components();
    // A module is the whole board: there is nothing left to model.
    let left = |component| !measured.contains(&component) && !measured.contains(&Component::Module);
    let wanted = modelled::Wanted {
        cpu: left(Component::Cpu),
        memory: left(Component::Memory) && !memory_is_in_cpu(&detected),
        interval_s: f64::from(config.measurement.interval_ms) * 1e-3,
    };
    if config.power_model.enabled {
        detected.take(modelled::find(
            root,
            &config.power_model,
            &wanted,
            &load,
            &mut ids,
        ));
    } else {
        for (component, is_left, what) in [
            (Component::Cpu, wanted.cpu, "power of the processor"),
            (Component::Memory, wanted.memory, "power of the memory"),
        ] {
            if is_left {
                detected.absent.push(Absent::new(
                    component,
                    what,
                    "no sensor measures it, and the configuration forbids to model it",
                    "set power_model.enabled to true",
                ));
            }
        }
    }
    detected.take(process::find(root, &load, own_memory));
    detected
}

/// The Grace socket's sensor has the memory in it.
fn memory_is_in_cpu(detected: &Detected) -> bool {
    detected
        .sources()
        .any(|s| s.component == Component::Cpu && s.method.contains("with its memory"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use lem_record::How;

    use super::super::gpu::fake::FakeGpus;
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn bare(root: &Path) {
        write(
            root,
            &[
                ("proc/stat", "cpu 1 2 3 4 5 6 7\n"),
                ("proc/cpuinfo", "processor: 0\nmodel name: AMD EPYC\n"),
                ("proc/meminfo", "MemTotal: 1000000 kB\n"),
                ("proc/self/status", "VmRSS: 1 kB\n"),
            ],
        );
    }

    fn no_gpus() -> Gpus {
        Err("there is no driver".into())
    }

    fn told(detected: &Detected) -> Vec<(String, String, How)> {
        detected
            .sources()
            .map(|s| (s.id.clone(), s.meter.clone(), s.how))
            .collect()
    }

    fn own(parts: &[(&str, &str, How)]) -> Vec<(String, String, How)> {
        parts
            .iter()
            .map(|(a, b, c)| ((*a).into(), (*b).into(), *c))
            .collect()
    }

    #[test]
    fn without_sensors_processor_and_memory_are_modelled_and_gpus_absent() {
        let dir = tempfile::tempdir().unwrap();
        bare(dir.path());
        let detected = detect_in(&Root::at(dir.path()), &no_gpus(), &Config::default(), None);
        assert_eq!(
            told(&detected),
            own(&[
                ("cpu0", "modelled", How::Modelled),
                ("memory0", "modelled", How::Modelled),
                ("process", "process", How::Measured),
            ])
        );
        assert!(
            detected
                .absent
                .iter()
                .any(|a| a.component == Component::Gpu)
        );
        assert!(
            detected
                .absent
                .iter()
                .all(|a| !a.reason.is_empty() && !a.remedy.is_empty())
        );
    }

    #[test]
    fn a_measured_component_is_neither_modelled_nor_measured_twice() {
        let dir = tempfile::tempdir().unwrap();
        bare(dir.path());
        write(
            dir.path(),
            &[
                ("sys/class/powercap/intel-rapl:0/name", "package-0"),
                ("sys/class/powercap/intel-rapl:0/energy_uj", "5"),
                (
                    "sys/class/powercap/intel-rapl:0/max_energy_range_uj",
                    "99999999999",
                ),
                ("sys/class/hwmon/hwmon0/name", "zenpower"),
                ("sys/class/hwmon/hwmon0/power1_label", "SVI2_P_Core"),
                ("sys/class/hwmon/hwmon0/power1_input", "5"),
                ("sys/class/hwmon/hwmon1/name", "amdgpu"),
                ("sys/class/hwmon/hwmon1/power1_input", "5"),
                ("sys/class/hwmon/hwmon1/power1_cap", "5"),
            ],
        );
        let gpus: Gpus = Ok(Arc::new(FakeGpus::h100(2)));
        let detected = detect_in(&Root::at(dir.path()), &gpus, &Config::default(), Some("1"));
        assert_eq!(
            told(&detected),
            own(&[
                ("gpu1", "nvml", How::Measured),
                ("cpu0", "rapl", How::Measured),
                ("gpu2", "hwmon", How::Measured),
                ("memory0", "modelled", How::Modelled),
                ("process", "process", How::Measured),
            ])
        );
    }

    #[test]
    fn a_board_that_is_measured_as_a_whole_leaves_nothing_to_model() {
        let dir = tempfile::tempdir().unwrap();
        bare(dir.path());
        write(
            dir.path(),
            &[
                ("sys/class/hwmon/hwmon0/name", "ina3221"),
                ("sys/class/hwmon/hwmon0/in1_label", "VDD_IN"),
                ("sys/class/hwmon/hwmon0/in1_input", "5000"),
                ("sys/class/hwmon/hwmon0/curr1_input", "1000"),
            ],
        );
        let detected = detect_in(&Root::at(dir.path()), &no_gpus(), &Config::default(), None);
        let components: Vec<_> = detected.sources().map(|s| s.component).collect();
        assert_eq!(components, [Component::Module, Component::State]);
    }

    #[test]
    fn what_may_not_be_modelled_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        bare(dir.path());
        let mut config = Config::default();
        config.power_model.enabled = false;
        let detected = detect_in(&Root::at(dir.path()), &no_gpus(), &config, None);
        assert_eq!(detected.sources().count(), 1);
        for component in [Component::Cpu, Component::Memory] {
            let remedy = |a: &Absent| a.component == component && a.remedy.contains("power_model");
            assert!(detected.absent.iter().any(remedy));
        }
    }

    #[test]
    fn an_empty_machine_has_reasons_for_everything_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let detected = detect_in(&Root::at(dir.path()), &no_gpus(), &Config::default(), None);
        // The processor's model needs nothing but its constant.
        assert_eq!(told(&detected), own(&[("cpu0", "modelled", How::Modelled)]));
        let lacking: Vec<_> = detected.absent.iter().map(|a| a.component).collect();
        assert!(lacking.contains(&Component::Memory) && lacking.contains(&Component::State));
    }

    /// This machine, whatever it is: the run that every user makes.
    #[test]
    fn this_machine_is_sampled_from_edge_to_edge() {
        let detected = detect(&Config::default(), &Outside::default());
        let inventory = detected.inventory();
        let ids: BTreeSet<_> = inventory.sources.iter().map(|s| &s.id).collect();
        assert_eq!(ids.len(), inventory.sources.len(), "ids are given once");
        let interval = std::time::Duration::from_millis(20);
        let mut sampler = crate::meter::Sampler::start(detected.meters, interval).unwrap();
        sampler.begin_window();
        let start = lem_record::Stamp::mono_ns();
        std::thread::sleep(std::time::Duration::from_millis(150));
        let end = lem_record::Stamp::mono_ns();
        let window = sampler.end_window();
        assert_eq!(
            window.samples.len(),
            inventory.sources.len(),
            "{:?}",
            window.stats
        );
        for samples in &window.samples {
            samples.check().unwrap();
            assert!(samples.t_ns[0] <= start && *samples.t_ns.last().unwrap() >= end);
        }
        for source in inventory.sources.iter().filter(|s| s.gives_energy()) {
            let samples = window
                .samples
                .iter()
                .find(|s| s.source == source.id)
                .unwrap();
            let values = samples.columns[0].values.iter().flatten();
            assert!(values.clone().count() > 0, "{source:?}");
            assert!(values.clone().all(|v| *v >= 0.0), "{source:?}");
        }
        assert!(window.stats.dropped.is_empty());
    }
}
