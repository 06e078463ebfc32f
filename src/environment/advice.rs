//! What would let this machine be measured better, each with the commands for it.
//!
//! What cannot be measured at all, the meters say themselves ([`crate::meter::Absent`]);
//! this is about what can be, and is disturbed, limited or hidden. Pure.

use lem_record::How;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Environment, Fact};
use crate::meter::gpu::GpuFacts;
use crate::meter::{Component, Inventory};

/// More tasks than this share of the processors disturb a measurement.
const BUSY: f64 = 0.25;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Advice {
    /// Of what: `gpu0`, `cpu`, `container`, …
    pub about: String,
    /// How it is, and what that does to a measurement.
    pub finding: String,
    pub remedy: String,
}

impl Advice {
    fn new(
        about: impl Into<String>,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            about: about.into(),
            finding: finding.into(),
            remedy: remedy.into(),
        }
    }
}

pub fn advise(environment: &Environment, inventory: &Inventory) -> Vec<Advice> {
    let mut all = Vec::new();
    let measured = |component: Component| {
        inventory
            .sources
            .iter()
            .any(|s| s.component == component && s.how == How::Measured && s.gives_energy())
    };
    let board = measured(Component::Module);
    if !board && !measured(Component::Cpu) {
        hidden_processor(environment, &mut all);
    }
    if !board && !measured(Component::Gpu) {
        hidden_gpu(environment, &mut all);
    }
    if let Fact::Value(gpus) = &environment.gpus {
        for gpu in gpus {
            graphics(gpu, &mut all);
        }
    }
    processor(environment, &mut all);
    if environment.lem.profile != "release" {
        all.push(Advice::new(
            "lem",
            format!(
                "this is a {} build: the embedded engine is slower than it should be, and so are its joules a token",
                environment.lem.profile
            ),
            "measure with a release build (cargo build --release)",
        ));
    }
    all
}

/// No energy counter of the processor: where the layers hide it, they can be opened.
fn hidden_processor(environment: &Environment, all: &mut Vec<Advice>) {
    if environment.virtual_machine.present {
        all.push(Advice::new(
            "virtual machine",
            "the host's energy counters (RAPL) do not reach its guests: processor and memory are modelled, and a model is for comparing runs on this machine only",
            "measure on the host, or on a bare-metal instance; the GPU's own sensors do work in a guest that has the whole GPU",
        ));
    } else if environment.container.present {
        let docker = "docker run -v /sys/class/powercap:/sys/class/powercap:ro --security-opt systempaths=unconfined …, as root (Docker masks the energy counters)";
        let remedy = match environment.container.kind.as_deref() {
            Some("kubernetes" | "kubepods") => "mount the host's /sys/class/powercap and /sys/devices/virtual/powercap (hostPath, read-only) and set procMount: Unmasked, or run lem monitor on the node".to_owned(),
            Some("podman" | "libpod") => "podman run -v /sys/class/powercap:/sys/class/powercap:ro --security-opt unmask=/sys/devices/virtual/powercap …, as root".to_owned(),
            _ => docker.to_owned(),
        };
        all.push(Advice::new(
            "container",
            "the container hides the energy counters of the processor, if the machine has any",
            remedy,
        ));
    }
}

/// In a container a GPU has to be handed in; without one no advice is due.
fn hidden_gpu(environment: &Environment, all: &mut Vec<Advice>) {
    if !environment.container.present {
        return;
    }
    let remedy = match environment.container.kind.as_deref() {
        Some("kubernetes" | "kubepods") => {
            "ask for it: resources.limits: {nvidia.com/gpu: 1}, with NVIDIA's device plugin on the node"
        }
        Some("podman" | "libpod") => {
            "podman run --device nvidia.com/gpu=all …, with the NVIDIA Container Toolkit on the host; for AMD --device /dev/kfd --device /dev/dri"
        }
        _ => {
            "docker run --gpus all …, with the NVIDIA Container Toolkit on the host; for AMD --device /dev/kfd --device /dev/dri"
        }
    };
    all.push(Advice::new(
        "container",
        "no GPU is seen here; if the machine has one, it was not handed to the container",
        remedy,
    ));
}

fn graphics(gpu: &GpuFacts, all: &mut Vec<Advice>) {
    let id = format!("gpu{}", gpu.index);
    let index = gpu.index;
    if gpu.persistence.value() == Some(&false) {
        all.push(Advice::new(
            &id,
            "persistence mode is off: the driver starts anew with every program, which takes seconds and moves the idle power",
            format!("sudo nvidia-smi -i {index} -pm 1, or run nvidia-persistenced"),
        ));
    }
    if let (Some(now), Some(default)) = (
        gpu.power_limit_watts.value(),
        gpu.power_limit_default_watts.value(),
    ) && (now - default).abs() > 0.5
    {
        all.push(Advice::new(
            &id,
            format!("its power limit is {now:.0} W, not the default of {default:.0} W: speed and joules are those of the limit"),
            format!("report the limit with the numbers (the result has it), or sudo nvidia-smi -i {index} -pl {default:.0}"),
        ));
    }
    if let Some(others) = gpu.compute_processes.value().filter(|n| **n > 0) {
        all.push(Advice::new(
            &id,
            format!(
                "{others} process{} on it: joules of others count as the run's",
                match others {
                    1 => " is",
                    _ => "es are",
                }
            ),
            format!("nvidia-smi -i {index} names them; end them, and keep others out with sudo nvidia-smi -i {index} -c EXCLUSIVE_PROCESS"),
        ));
    }
}

fn processor(environment: &Environment, all: &mut Vec<Advice>) {
    let cpu = &environment.cpu;
    let host = &environment.host;
    if let Some(governor) = cpu.governor.value().filter(|g| *g != "performance") {
        all.push(Advice::new(
            "cpu",
            format!(
                "the governor is {governor}: the clock follows the load, so repeats scatter more"
            ),
            "sudo cpupower frequency-set -g performance",
        ));
    }
    let threads = cpu.threads.value().copied().unwrap_or(0);
    if let (Some(limit), true) = (host.cpu_limit.value(), threads > 0)
        && *limit < f64::from(threads)
    {
        all.push(Advice::new(
            "cpu",
            format!("the control group lets lem use {limit} of {threads} processors, while power is that of all of them"),
            "lift the limit while measuring (docker run without --cpus), or leave the other processors idle",
        ));
    }
    if let Some(load) = host.load_average.value()
        && *load > BUSY * f64::from(threads.max(1))
    {
        all.push(Advice::new(
            "host",
            format!("{load:.1} tasks were at work here over the last minute: their joules count as the run's"),
            "end other work before measuring; top names it",
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::tree;
    use super::super::{Inputs, collect_in};
    use super::{Advice, advise};
    use crate::config::Config;
    use crate::meter::detect_in;
    use crate::meter::gpu::Gpus;
    use crate::meter::gpu::fake::FakeGpus;

    fn advice(files: &[(&str, &str)], gpus: &Gpus, vm: Option<&str>) -> Vec<Advice> {
        let (_dir, root) = tree(files);
        let mut environment = collect_in(&root, gpus, vm, &Inputs::default());
        environment.lem.profile = "release".into();
        let detected = detect_in(&root, gpus, &Config::default(), None);
        advise(&environment, &detected.inventory())
    }

    fn about(all: &[Advice]) -> Vec<&str> {
        all.iter().map(|a| a.about.as_str()).collect()
    }

    const SOUND: &[(&str, &str)] = &[
        (
            "proc/cpuinfo",
            "processor : 0\nmodel name : Xeon\nphysical id : 0\ncore id : 0\n",
        ),
        ("proc/loadavg", "0.01 0.02 0.03 1/100 7\n"),
        ("sys/class/powercap/intel-rapl:0/name", "package-0"),
        ("sys/class/powercap/intel-rapl:0/energy_uj", "5"),
        (
            "sys/class/powercap/intel-rapl:0/max_energy_range_uj",
            "262143328850",
        ),
        (
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "performance",
        ),
    ];

    #[test]
    fn a_sound_machine_gets_no_advice() {
        let none: Gpus = Err("there is no driver".into());
        assert_eq!(advice(SOUND, &none, None), []);
    }

    #[test]
    fn layers_that_hide_sensors_are_opened_by_their_own_flags() {
        let none: Gpus = Err("there is no driver".into());
        let docker = advice(&[(".dockerenv", "")], &none, None);
        assert_eq!(about(&docker), ["container", "container"]);
        assert!(docker[0].remedy.contains("/sys/class/powercap"));
        assert!(docker[1].remedy.contains("--gpus all"));
        let podman = advice(&[("run/.containerenv", "")], &none, None);
        assert!(podman[1].remedy.contains("podman run --device"));
        // A guest cannot be given what its host keeps.
        let guest = advice(&[(".dockerenv", "")], &none, Some("KVMKVMKVM"));
        assert_eq!(about(&guest), ["virtual machine", "container"]);
    }

    #[test]
    fn what_disturbs_is_told_with_a_command() {
        let mut files = SOUND.to_vec();
        files.retain(|(file, _)| !file.ends_with("governor") && *file != "proc/loadavg");
        files.push(("proc/loadavg", "3.5 2 1 1/100 7\n"));
        files.push((
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
            "powersave",
        ));
        let all = advice(&files, &Ok(Arc::new(FakeGpus::h100(1))), None);
        // The fake board has persistence on and one process on it.
        assert_eq!(about(&all), ["gpu0", "cpu", "host"]);
        assert!(all[0].remedy.contains("nvidia-smi -i 0"));
        assert!(all[1].remedy.contains("cpupower"));
        assert!(all[2].finding.contains("3.5 tasks"));
    }
}
