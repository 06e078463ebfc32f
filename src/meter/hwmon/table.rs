//! The drivers that are known, and what their labels mean.

use crate::meter::Component::{self, Cpu, Gpu, Memory, Module};

/// What a driver's files hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantity {
    /// `powerN_input`, else `powerN_average`: microwatts.
    Power,
    /// `energyN_input`: microjoules, counted up.
    Energy,
    /// `inN_input` (millivolts) times `currN_input` (milliamperes).
    VoltsTimesAmps,
}

#[derive(Debug)]
pub(super) struct Driver {
    /// As in the file `name`.
    pub name: &'static str,
    pub quantity: Quantity,
    /// Label to component; a trailing `*` stands for anything, no label is the empty one.
    /// A label that is not listed is left alone: it may be part of another.
    pub labels: &'static [(&'static str, Component)],
    /// Only the first label of the list that is there: the others contain it.
    pub first_only: bool,
    /// A file without which the sensor means something else, and what it means then.
    pub needs: Option<(&'static str, &'static str)>,
    /// What the number is, for the method.
    pub note: &'static str,
}

const PLAIN: Driver = Driver {
    name: "",
    quantity: Quantity::Power,
    labels: &[],
    first_only: false,
    needs: None,
    note: "",
};

/// Sources: the kernel's `Documentation/hwmon` and drivers, and the vendors' manuals of the boards.
pub(super) const DRIVERS: &[Driver] = &[
    Driver {
        name: "amdgpu",
        labels: &[("*", Gpu)],
        needs: Some((
            "power1_cap",
            "the sensor of an integrated GPU covers the whole processor",
        )),
        note: "power of the card as its firmware estimates it",
        ..PLAIN
    },
    Driver {
        name: "i915",
        quantity: Quantity::Energy,
        labels: &[("", Gpu)],
        note: "energy counter of the card",
        ..PLAIN
    },
    Driver {
        name: "xe",
        quantity: Quantity::Energy,
        labels: &[("card", Gpu), ("pkg", Gpu), ("", Gpu)],
        first_only: true,
        note: "energy counter of the card, else of its package",
        ..PLAIN
    },
    Driver {
        name: "ina3221",
        quantity: Quantity::VoltsTimesAmps,
        // NVIDIA Jetson. The board's input contains all rails: `without_totals`.
        labels: &[
            ("VDD_GPU_SOC", Gpu),
            ("VDD_SYS_GPU", Gpu),
            ("GPU", Gpu),
            ("VDD_CPU_CV", Cpu),
            ("VDD_SYS_CPU", Cpu),
            ("CPU", Cpu),
            ("VDDQ_VDD2_1V8AO", Memory),
            ("VDD_SYS_DDR", Memory),
            ("VDDRQ", Memory),
            ("VDD_IN", Module),
            ("POM_5V_IN", Module),
        ],
        note: "voltage times current of a rail of the board",
        ..PLAIN
    },
    Driver {
        name: "amd_energy",
        quantity: Quantity::Energy,
        labels: &[("Esocket*", Cpu)],
        note: "energy counter of the socket",
        ..PLAIN
    },
    Driver {
        name: "zenpower",
        labels: &[("SVI2_P_Core", Cpu), ("SVI2_P_SoC", Cpu)],
        note: "power of a supply rail of the processor",
        ..PLAIN
    },
    Driver {
        name: "apm_xgene",
        labels: &[("CPU power", Cpu)],
        note: "power of the cores as the firmware tells it",
        ..PLAIN
    },
    Driver {
        name: "power_meter",
        // NVIDIA Grace; other machines label the whole chassis, which is no component.
        labels: &[("Grace Power Socket*", Cpu)],
        note: "power of the Grace socket with its memory, averaged by the firmware",
        ..PLAIN
    },
];

pub(super) fn matches(pattern: &str, label: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => label.starts_with(start),
        None => pattern == label,
    }
}
