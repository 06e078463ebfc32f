use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Carbon: grams of CO2-equivalent = kWh × PUE × intensity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Carbon {
    /// Country whose yearly mean is the grid's intensity: a code of ISO 3166-1 (`DE`, `USA`).
    /// Left out: the world's average of 2019, 475 g/kWh.
    pub zone: Option<String>,
    /// Grid intensity, grams of CO2-equivalent a kWh, in place of the zone's: of a region, an
    /// hour, a contract.
    #[schemars(range(min = 0.0, max = 5_000.0))]
    pub intensity_g_per_kwh: Option<f64>,
    /// Where the intensity comes from, for the record.
    pub source: Option<String>,
    /// Power usage effectiveness of the building.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub pue: f64,
}

impl Default for Carbon {
    fn default() -> Self {
        Self {
            zone: None,
            intensity_g_per_kwh: None,
            source: None,
            pue: 1.0,
        }
    }
}

/// Prices; nothing is computed where none is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cost {
    /// Price of electricity, US dollars a kWh.
    #[schemars(range(min = 0.0, max = 1_000.0))]
    pub usd_per_kwh: Option<f64>,
    /// Price of one GPU, US dollars an hour.
    #[schemars(range(min = 0.0, max = 100_000.0))]
    pub usd_per_gpu_hour: Option<f64>,
}

/// The model that stands in for a missing power sensor. Its joules are labelled `modelled`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PowerModel {
    /// Model the components that no sensor measures.
    pub enabled: bool,
    /// Thermal design power of the processors together, watts. Left out: a table by processor name,
    /// else 85 W a socket.
    #[schemars(range(min = 0.1, max = 10_000.0))]
    pub cpu_tdp_w: Option<f64>,
    /// Memory modules. Left out: estimated from the amount of memory.
    #[schemars(range(min = 1, max = 1_024))]
    pub memory_modules: Option<u32>,
}

impl Default for PowerModel {
    fn default() -> Self {
        Self {
            enabled: true,
            cpu_tdp_w: None,
            memory_modules: None,
        }
    }
}
