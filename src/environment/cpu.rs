//! The processors.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fact, Root};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cpu {
    pub model: Fact<String>,
    pub sockets: Fact<u32>,
    /// Physical cores of all sockets.
    pub cores: Fact<u32>,
    /// Logical processors.
    pub threads: Fact<u32>,
    pub microcode: Fact<String>,
    /// Frequency driver (`intel_pstate`, `amd-pstate-epp`, …).
    pub frequency_driver: Fact<String>,
    pub governor: Fact<String>,
    /// Energy-performance preference.
    pub energy_preference: Fact<String>,
    /// Lowest frequency that the governor may choose, hertz.
    pub frequency_min_hz: Fact<u64>,
    /// Highest frequency that the governor may choose, hertz.
    pub frequency_max_hz: Fact<u64>,
    /// Frequencies above the nominal one are allowed.
    pub turbo: Fact<bool>,
    /// Several threads share a core.
    pub smt: Fact<bool>,
}

/// What `/proc/cpuinfo` says of the processors together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuInfo {
    pub model: Option<String>,
    pub sockets: Option<u32>,
    pub cores: Option<u32>,
    pub threads: u32,
    pub microcode: Option<String>,
    /// The processor says that a hypervisor runs it.
    pub hypervisor: bool,
}

impl CpuInfo {
    pub fn parse(text: &str) -> Self {
        let mut info = Self::default();
        let mut sockets = BTreeSet::new();
        let mut cores = BTreeSet::new();
        let mut socket = None;
        for line in text.lines() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match key.trim() {
                "processor" => {
                    info.threads += 1;
                    socket = None;
                }
                "model name" | "cpu model" | "Model" if !value.is_empty() => {
                    info.model.get_or_insert_with(|| value.to_owned());
                }
                "microcode" => {
                    info.microcode.get_or_insert_with(|| value.to_owned());
                }
                "physical id" => {
                    socket = value.parse::<u32>().ok();
                    sockets.extend(socket);
                }
                "core id" => {
                    if let (Some(socket), Ok(core)) = (socket, value.parse::<u32>()) {
                        cores.insert((socket, core));
                    }
                }
                "flags" => {
                    info.hypervisor |= value.split_ascii_whitespace().any(|f| f == "hypervisor");
                }
                _ => {}
            }
        }
        let count = |n: usize| u32::try_from(n).ok().filter(|n| *n > 0);
        info.sockets = count(sockets.len());
        info.cores = count(cores.len());
        info
    }

    pub fn read(root: &Root) -> Result<Self, String> {
        root.read("proc/cpuinfo").map(|text| Self::parse(&text))
    }
}

const CPU: &str = "sys/devices/system/cpu";

pub(super) fn collect(root: &Root) -> Cpu {
    let info = CpuInfo::read(root);
    let told = |what: &str| format!("/proc/cpuinfo does not tell the {what}");
    let of = |what: &str, get: fn(&CpuInfo) -> Option<u32>| match &info {
        Ok(info) => Fact::from_option(get(info), &told(what)),
        Err(reason) => Fact::absent(reason),
    };
    let text = |what: &str, get: fn(&CpuInfo) -> Option<&String>| match &info {
        Ok(info) => Fact::from_option(get(info).cloned(), &told(what)),
        Err(reason) => Fact::absent(reason),
    };
    let policy = policy(root);
    let frequency = |file: &str| -> Fact<String> {
        match &policy {
            Ok(policy) => root.read(format!("{policy}/{file}")).into(),
            Err(reason) => Fact::absent(reason),
        }
    };
    let hertz = |file: &str| -> Fact<u64> {
        match &policy {
            Ok(policy) => root
                .read_u64(format!("{policy}/{file}"))
                .map(|khz| khz.saturating_mul(1_000))
                .into(),
            Err(reason) => Fact::absent(reason),
        }
    };
    Cpu {
        model: match text("model", |i| i.model.as_ref()) {
            // Arm names its boards elsewhere.
            Fact::Absent { reason } => root
                .read("proc/device-tree/model")
                .map(|model| model.trim_end_matches('\0').to_owned())
                .map_or_else(|_| Fact::Absent { reason }, Fact::Value),
            known => known,
        },
        sockets: of("sockets", |i| i.sockets),
        cores: of("cores", |i| i.cores),
        threads: of("threads", |i| Some(i.threads).filter(|n| *n > 0)),
        microcode: text("microcode", |i| i.microcode.as_ref()),
        frequency_driver: frequency("scaling_driver"),
        governor: frequency("scaling_governor"),
        energy_preference: frequency("energy_performance_preference"),
        frequency_min_hz: hertz("scaling_min_freq"),
        frequency_max_hz: hertz("scaling_max_freq"),
        turbo: turbo(root),
        smt: match root.read(format!("{CPU}/smt/active")) {
            Ok(active) => Fact::Value(active == "1"),
            Err(reason) => Fact::absent(reason),
        },
    }
}

/// The first processor's policy stands for all: they are set together.
fn policy(root: &Root) -> Result<String, String> {
    let folder = format!("{CPU}/cpu0/cpufreq");
    if root.exists(&folder) {
        return Ok(folder);
    }
    Err(format!(
        "there is no {}: the kernel does not set the frequency here (a virtual machine leaves \
         that to its host)",
        root.shown(folder)
    ))
}

fn turbo(root: &Root) -> Fact<bool> {
    if let Ok(no_turbo) = root.read(format!("{CPU}/intel_pstate/no_turbo")) {
        return Fact::Value(no_turbo == "0");
    }
    match root.read(format!("{CPU}/cpufreq/boost")) {
        Ok(boost) => Fact::Value(boost == "1"),
        Err(_) => {
            Fact::absent("the kernel has neither intel_pstate/no_turbo nor cpufreq/boost here")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::CpuInfo;

    #[test]
    fn sockets_cores_and_threads_are_counted() {
        let mut text = String::new();
        for (processor, socket, core) in [(0, 0, 0), (1, 0, 0), (2, 0, 4), (3, 1, 0), (4, 1, 0)] {
            text += &format!(
                "processor\t: {processor}\nmodel name\t: Intel(R) Xeon(R) Platinum 8480+\n\
                 physical id\t: {socket}\ncore id\t\t: {core}\nmicrocode\t: 0x2b000590\n\
                 flags\t\t: fpu vme hypervisor\n\n"
            );
        }
        let info = CpuInfo::parse(&text);
        assert_eq!(
            info.model.as_deref(),
            Some("Intel(R) Xeon(R) Platinum 8480+")
        );
        assert_eq!(
            (info.sockets, info.cores, info.threads),
            (Some(2), Some(3), 5)
        );
        assert_eq!(info.microcode.as_deref(), Some("0x2b000590"));
        assert!(info.hypervisor);
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        assert_eq!(CpuInfo::parse(""), CpuInfo::default());
        let arm = CpuInfo::parse("processor\t: 0\nBogoMIPS\t: 50\nCPU part\t: 0xd4f\n");
        assert_eq!((arm.threads, arm.sockets, arm.model), (1, None, None));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(processor|physical id|core id|flags|[ -~]|:|\n|\t){0,200}") {
            let info = CpuInfo::parse(&text);
            prop_assert!(info.threads as usize <= text.len());
        }
    }
}
