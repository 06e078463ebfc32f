//! What machine this is, for the record of a run and for `lem env`.
//!
//! Everything is read from files below a [`Root`], from the GPUs' driver, the processor
//! and `git`; nothing from variables of the environment: those come in as [`Inputs`].
//! What is not there is a [`Fact::Absent`] with its reason.

mod advice;
mod build;
mod ci;
mod cpu;
mod fact;
mod git;
mod host;
mod layers;
mod render;
mod root;
#[cfg(test)]
pub(crate) mod testing;
mod thermal;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use advice::{Advice, advise};
pub use build::Build;
pub use ci::ci;
pub use cpu::{Cpu, CpuInfo};
pub use fact::Fact;
pub use git::Git;
pub use host::Host;
pub(crate) use host::memory_bytes;
pub use layers::Layer;
pub use render::{render, render_gpus};
pub use root::{Root, why};
pub use thermal::{Temperature, Thermal};

use crate::meter::gpu::{self, GpuDriver, GpuFacts, Gpus};

/// What the caller knows: variables of the environment, and the configuration's folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// USER, else LOGNAME.
    pub user: Option<&'a str>,
    /// TZ.
    pub time_zone: Option<&'a str>,
    /// KUBERNETES_SERVICE_HOST is set.
    pub kubernetes: bool,
    /// CUDA_VISIBLE_DEVICES.
    pub visible_gpus: Option<&'a str>,
    /// The folder of the configuration: its commit is recorded.
    pub config_folder: Option<&'a Path>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    pub lem: Build,
    pub host: Host,
    pub cpu: Cpu,
    pub container: Layer,
    pub virtual_machine: Layer,
    pub gpu_driver: Fact<GpuDriver>,
    /// All GPUs of the machine, used or not.
    pub gpus: Fact<Vec<GpuFacts>>,
    /// CUDA_VISIBLE_DEVICES.
    pub visible_gpus: Fact<String>,
    /// The repository that the configuration lies in.
    pub config_git: Fact<Git>,
    /// When this was collected: at the start of the run.
    pub thermal: Thermal,
}

/// Looks at this machine.
pub fn collect(inputs: &Inputs<'_>) -> Environment {
    let vendor = layers::cpuid_vendor();
    collect_in(&Root::system(), &gpu::open(None), vendor.as_deref(), inputs)
}

/// Temperatures and throttling now: for the end of the run, beside [`Environment::thermal`].
pub fn thermal() -> Thermal {
    thermal::collect(&Root::system(), &gpu::open(None))
}

fn collect_in(
    root: &Root,
    gpus: &Gpus,
    cpuid_vendor: Option<&str>,
    inputs: &Inputs<'_>,
) -> Environment {
    let gpu_driver = match gpus {
        Ok(backend) => Fact::Value(backend.driver()),
        Err(reason) => Fact::absent(reason),
    };
    let facts = match gpus {
        Ok(backend) => {
            let all = 0..backend.gpus().len();
            Fact::Value(all.map(|position| backend.facts(position)).collect())
        }
        Err(reason) => Fact::absent(reason),
    };
    Environment {
        lem: build::collect(),
        host: host::collect(root, inputs),
        cpu: cpu::collect(root),
        container: layers::container(root, inputs.kubernetes),
        virtual_machine: layers::virtual_machine(root, cpuid_vendor),
        gpu_driver,
        gpus: facts,
        visible_gpus: Fact::from_option(
            inputs.visible_gpus.map(str::to_owned),
            "CUDA_VISIBLE_DEVICES is not set: all are visible",
        ),
        config_git: match inputs.config_folder {
            Some(folder) => git::collect(folder),
            None => Fact::absent("there is no configuration"),
        },
        thermal: thermal::collect(root, gpus),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn this_machine_is_described_and_reads_back() {
        let environment = collect(&Inputs {
            config_folder: Some(Path::new(env!("CARGO_MANIFEST_DIR"))),
            ..Inputs::default()
        });
        assert!(environment.cpu.threads.value().is_some_and(|n| *n > 0));
        assert!(
            environment
                .host
                .memory_bytes
                .value()
                .is_some_and(|n| *n > 1 << 20)
        );
        assert!(environment.host.kernel.starts_with("Linux "));
        assert!(
            environment
                .lem
                .rustc
                .value()
                .is_some_and(|v| v.starts_with("rustc "))
        );
        let json = serde_json::to_string(&environment).unwrap();
        let again: Environment = serde_json::from_str(&json).unwrap();
        assert_eq!(again, environment);
    }

    #[test]
    fn where_nothing_is_known_every_reason_is_told() {
        let (_dir, root) = testing::tree(&[]);
        let gpus: Gpus = Err("there is no driver".into());
        let environment = collect_in(&root, &gpus, None, &Inputs::default());
        fn reasons(value: &serde_json::Value, found: &mut Vec<String>) {
            match value {
                serde_json::Value::Null => panic!("a null tells no reason"),
                serde_json::Value::Object(map) => {
                    if let Some(reason) = map.get("reason") {
                        found.push(reason.as_str().unwrap().to_owned());
                    }
                    map.values().for_each(|v| reasons(v, found));
                }
                serde_json::Value::Array(list) => list.iter().for_each(|v| reasons(v, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        reasons(&serde_json::to_value(&environment).unwrap(), &mut found);
        assert!(found.len() > 20, "{found:#?}");
        assert!(found.iter().all(|reason| reason.len() > 10), "{found:#?}");
    }
}
