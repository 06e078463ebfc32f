//! Layers between lem and the machine: container and virtual machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CpuInfo, Root};

/// Whether there is a layer, of which kind, and what shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Layer {
    pub present: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The sign that was seen; where there is none, what was looked at.
    pub evidence: String,
}

impl Layer {
    fn seen(kind: &str, evidence: impl Into<String>) -> Self {
        Self {
            present: true,
            kind: Some(kind.to_owned()),
            evidence: evidence.into(),
        }
    }

    fn unseen(looked_at: &str) -> Self {
        Self {
            present: false,
            kind: None,
            evidence: format!("no sign of one in {looked_at}"),
        }
    }
}

pub(super) fn container(root: &Root, kubernetes: bool) -> Layer {
    if kubernetes {
        return Layer::seen("kubernetes", "KUBERNETES_SERVICE_HOST is set");
    }
    for (file, kind) in [(".dockerenv", "docker"), ("run/.containerenv", "podman")] {
        if root.exists(file) {
            return Layer::seen(kind, format!("there is /{file}"));
        }
    }
    if let Ok(kind) = root.read("run/systemd/container")
        && !kind.is_empty()
    {
        return Layer::seen(&kind, "/run/systemd/container names it");
    }
    for file in ["proc/1/cgroup", "proc/self/cgroup"] {
        let text = root.read(file).unwrap_or_default();
        let known = ["kubepods", "docker", "libpod", "containerd", "lxc"];
        if let Some(kind) = known.iter().find(|kind| text.contains(**kind)) {
            return Layer::seen(kind, format!("/{file} names it"));
        }
    }
    Layer::unseen("/.dockerenv, /run/.containerenv, /run/systemd/container and the control groups")
}

/// `cpuid` is the vendor that the processor's hypervisor leaf names.
pub(super) fn virtual_machine(root: &Root, cpuid: Option<&str>) -> Layer {
    if let Some(vendor) = cpuid {
        let kind = VENDORS
            .iter()
            .find(|(signature, _)| vendor.starts_with(signature))
            .map_or(vendor, |(_, kind)| kind);
        return Layer::seen(kind, "the processor's hypervisor leaf (CPUID 0x40000000)");
    }
    if let Ok(kind) = root.read("sys/hypervisor/type") {
        return Layer::seen(&kind, "/sys/hypervisor/type");
    }
    for file in ["product_name", "sys_vendor"] {
        let path = format!("sys/class/dmi/id/{file}");
        let text = root.read(&path).unwrap_or_default();
        if let Some((_, kind)) = FIRMWARE.iter().find(|(sign, _)| text.contains(sign)) {
            return Layer::seen(kind, format!("the firmware calls itself \"{text}\""));
        }
    }
    if root.exists("proc/device-tree/hypervisor") {
        return Layer::seen("unknown", "the device tree has a hypervisor");
    }
    if CpuInfo::read(root).is_ok_and(|info| info.hypervisor) {
        return Layer::seen("unknown", "/proc/cpuinfo has the flag `hypervisor`");
    }
    Layer::unseen("CPUID, /sys/hypervisor, the firmware's names and /proc/cpuinfo")
}

/// Signatures of hypervisors in CPUID.
const VENDORS: &[(&str, &str)] = &[
    ("KVMKVMKVM", "kvm"),
    ("Linux KVM Hv", "kvm"),
    ("TCGTCGTCGTCG", "qemu"),
    ("Microsoft Hv", "hyper-v"),
    ("VMwareVMware", "vmware"),
    ("XenVMMXenVMM", "xen"),
    ("VBoxVBoxVBox", "virtualbox"),
    ("bhyve bhyve", "bhyve"),
    ("ACRNACRNACRN", "acrn"),
    (" prl hyperv", "parallels"),
];

const FIRMWARE: &[(&str, &str)] = &[
    ("KVM", "kvm"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("Virtual Machine", "hyper-v"),
    ("HVM domU", "xen"),
    ("Google Compute Engine", "kvm"),
];

/// The vendor of the hypervisor, where the processor says that it runs under one.
#[cfg(target_arch = "x86_64")]
pub(super) fn cpuid_vendor() -> Option<String> {
    use core::arch::x86_64::__cpuid;
    const HYPERVISOR_BIT: u32 = 1 << 31;
    if __cpuid(1).ecx & HYPERVISOR_BIT == 0 {
        return None;
    }
    let leaf = __cpuid(0x4000_0000);
    let bytes: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx]
        .iter()
        .flat_map(|register| register.to_le_bytes())
        .filter(|byte| byte.is_ascii_graphic() || *byte == b' ')
        .collect();
    let vendor = String::from_utf8_lossy(&bytes).into_owned();
    Some(if vendor.trim().is_empty() {
        "unknown".into()
    } else {
        vendor
    })
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn cpuid_vendor() -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::tree;
    use super::*;

    fn kind(layer: Layer) -> Option<String> {
        assert_eq!(layer.present, layer.kind.is_some());
        assert!(!layer.evidence.is_empty());
        layer.kind
    }

    #[test]
    fn containers_are_told_by_their_signs() {
        for (file, text, expected) in [
            (".dockerenv", "", "docker"),
            ("run/.containerenv", "", "podman"),
            ("run/systemd/container", "lxc\n", "lxc"),
            (
                "proc/1/cgroup",
                "0::/kubepods/besteffort/pod1\n",
                "kubepods",
            ),
        ] {
            let (_dir, root) = tree(&[(file, text)]);
            assert_eq!(kind(container(&root, false)).as_deref(), Some(expected));
        }
        let (_dir, root) = tree(&[("proc/1/cgroup", "0::/init.scope\n")]);
        assert_eq!(kind(container(&root, false)), None);
        assert_eq!(kind(container(&root, true)).as_deref(), Some("kubernetes"));
    }

    #[test]
    fn virtual_machines_are_told_by_their_signs() {
        let (_dir, root) = tree(&[]);
        assert_eq!(kind(virtual_machine(&root, None)), None);
        assert_eq!(
            kind(virtual_machine(&root, Some("KVMKVMKVM"))).as_deref(),
            Some("kvm")
        );
        assert_eq!(
            kind(virtual_machine(&root, Some("Newcomer"))).as_deref(),
            Some("Newcomer")
        );
        let (_dir, root) = tree(&[("sys/class/dmi/id/product_name", "Virtual Machine\n")]);
        assert_eq!(
            kind(virtual_machine(&root, None)).as_deref(),
            Some("hyper-v")
        );
        let (_dir, root) = tree(&[("proc/cpuinfo", "flags : fpu hypervisor\n")]);
        assert_eq!(
            kind(virtual_machine(&root, None)).as_deref(),
            Some("unknown")
        );
    }

    #[test]
    fn the_real_processor_agrees_with_the_kernel() {
        let flag = CpuInfo::read(&Root::system()).is_ok_and(|info| info.hypervisor);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(cpuid_vendor().is_some(), flag);
        }
    }
}
