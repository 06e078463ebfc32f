//! Temperatures, and how often the machine was held back: taken at the start and at the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::host::ControlGroups;
use super::{Fact, Root};
use crate::meter::gpu::{Gpus, Reading};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Thermal {
    /// One a GPU, or why there is none.
    pub gpus: Fact<Vec<Temperature>>,
    /// Processors and zones of the board.
    pub zones: Vec<Temperature>,
    /// How often the processors were slowed down for heat since the machine started.
    pub cpu_throttle_count: Fact<u64>,
    /// Seconds for which the control group's limit held its tasks back.
    pub cgroup_throttled_seconds: Fact<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Temperature {
    /// `gpu0`, `coretemp Package id 0`, `acpitz`, …
    pub name: String,
    pub celsius: Fact<f64>,
}

pub(super) fn collect(root: &Root, gpus: &Gpus) -> Thermal {
    let gpus = match gpus {
        Ok(backend) => Fact::Value(
            backend
                .gpus()
                .iter()
                .enumerate()
                .map(|(position, gpu)| Temperature {
                    name: format!("gpu{}", gpu.index),
                    celsius: backend.read(position, Reading::Temperature).into(),
                })
                .collect(),
        ),
        Err(reason) => Fact::absent(reason),
    };
    let mut zones = processors(root);
    zones.extend(thermal_zones(root));
    Thermal {
        gpus,
        zones,
        cpu_throttle_count: throttle_count(root).into(),
        cgroup_throttled_seconds: ControlGroups::read(root).throttled_s(root).into(),
    }
}

/// The first sensor of a processor's chip is that of the package.
fn processors(root: &Root) -> Vec<Temperature> {
    const FOLDER: &str = "sys/class/hwmon";
    let mut found = Vec::new();
    for chip in root.names(FOLDER) {
        let folder = format!("{FOLDER}/{chip}");
        let name = root.read(format!("{folder}/name")).unwrap_or_default();
        if !matches!(name.as_str(), "coretemp" | "k10temp" | "zenpower") {
            continue;
        }
        let label = root
            .read(format!("{folder}/temp1_label"))
            .unwrap_or_default();
        found.push(Temperature {
            name: format!("{name} {label}").trim().to_owned(),
            celsius: celsius(root, &format!("{folder}/temp1_input")),
        });
    }
    found
}

fn thermal_zones(root: &Root) -> Vec<Temperature> {
    const FOLDER: &str = "sys/class/thermal";
    root.names(FOLDER)
        .into_iter()
        .filter(|zone| zone.starts_with("thermal_zone"))
        .map(|zone| Temperature {
            name: root
                .read(format!("{FOLDER}/{zone}/type"))
                .unwrap_or(zone.clone()),
            celsius: celsius(root, &format!("{FOLDER}/{zone}/temp")),
        })
        .collect()
}

fn celsius(root: &Root, path: &str) -> Fact<f64> {
    let thousandths = root.read(path).and_then(|text| {
        text.parse::<i64>()
            .map_err(|_| format!("/{path} holds {text:?}, not a whole number"))
    });
    thousandths.map(|t| t as f64 * 1e-3).into()
}

fn throttle_count(root: &Root) -> Result<u64, String> {
    const FOLDER: &str = "sys/devices/system/cpu";
    let counts = |file: &str| {
        root.names(FOLDER)
            .into_iter()
            .filter(|name| name.starts_with("cpu"))
            .filter_map(|cpu| {
                let path = format!("{FOLDER}/{cpu}/thermal_throttle/{file}");
                root.read_u64(path).ok()
            })
            .reduce(u64::max)
    };
    // Each thread counts its core, and each its package: the largest is what happened.
    let package = counts("package_throttle_count");
    package
        .max(counts("core_throttle_count"))
        .ok_or_else(|| "the kernel does not count thermal throttling here".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use super::super::testing::tree;
    use super::*;
    use crate::meter::gpu::fake::FakeGpus;

    #[test]
    fn temperatures_and_throttling_are_gathered() {
        let (_dir, root) = tree(&[
            ("sys/class/hwmon/hwmon2/name", "coretemp"),
            ("sys/class/hwmon/hwmon2/temp1_label", "Package id 0"),
            ("sys/class/hwmon/hwmon2/temp1_input", "61000"),
            ("sys/class/thermal/thermal_zone0/type", "acpitz"),
            ("sys/class/thermal/thermal_zone0/temp", "-5500"),
            ("sys/class/thermal/thermal_zone1/type", "broken"),
            (
                "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count",
                "3",
            ),
            (
                "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count",
                "7",
            ),
        ]);
        let thermal = collect(&root, &Ok(Arc::new(FakeGpus::h100(1))));
        assert_eq!(thermal.gpus.value().unwrap()[0].celsius, Fact::Value(41.0));
        let zones: Vec<_> = thermal
            .zones
            .iter()
            .map(|z| (z.name.as_str(), z.celsius.value().copied()))
            .collect();
        assert_eq!(
            zones,
            [
                ("coretemp Package id 0", Some(61.0)),
                ("acpitz", Some(-5.5)),
                ("broken", None)
            ]
        );
        assert_eq!(thermal.cpu_throttle_count, Fact::Value(7));
        assert!(thermal.cgroup_throttled_seconds.value().is_none());
    }
}
