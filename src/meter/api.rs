//! What a meter is.

use lem_record::{Attributes, How};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Kernel;

/// Reads one family of sensors. Lives on the sampler's thread.
pub trait Meter: Send {
    /// `nvml`, `rapl`, `hwmon`, `modelled`, `process`.
    fn name(&self) -> &'static str;

    /// Every source that this meter reads; fixed for the meter's life.
    fn sources(&self) -> &[Source];

    /// Reads all sources now. A sensor that keeps its own samples may push several
    /// rows, each with its own time. A source that could not be read pushes no row
    /// and says why: that is a missed sample, not the end.
    fn read(&mut self, out: &mut dyn SampleSink);

    /// Reads what is too expensive for the sampler's rhythm (an energy counter that
    /// takes milliseconds): called at the edges of a window, and at most once a
    /// second between. By default nothing.
    fn read_edges(&mut self, _out: &mut dyn SampleSink) {}

    /// A window begins; the first readings come next. By default nothing.
    fn begin(&mut self) {}

    /// A window, or a segment of it, has ended at this monotonic time, and everything was
    /// read. A sensor that keeps its own samples and tells them late may wait for those up
    /// to that time here, 200 ms at most. By default nothing.
    fn settle(&mut self, _end_ns: u64, _out: &mut dyn SampleSink) {}
}

pub trait SampleSink {
    /// One row of a source: a value a column in the source's order; `None` for one that is missing.
    fn row(&mut self, source: usize, t_ns: u64, values: &[Option<f64>]);
    fn missed(&mut self, source: usize, why: &str);
}

/// One thing that is read: a GPU, a processor package, the memory, this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `gpu0`, `cpu0`, `memory0`, `process`: `hw.id`, and a word of flat keys.
    pub id: String,
    pub component: Component,
    /// As people know it: `NVIDIA H100 80GB HBM3`, `package-0`.
    pub name: String,
    /// `nvml`, `rapl`, …
    pub meter: String,
    pub how: How,
    /// Formula, or sensor and field.
    pub method: String,
    /// UUID or path, to find the sensor again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    pub columns: Vec<SourceColumn>,
    #[serde(default)]
    pub sensor: Sensor,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourceColumn {
    /// Catalogue id: `sample.power`, `sample.energy`, …
    pub metric: String,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// Overrides the source's, where one column differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<How>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    Gpu,
    Cpu,
    Memory,
    /// A whole module or board, where only that can be read.
    Module,
    /// Not a power source: state of the machine or of the process.
    State,
}

/// What is known of a power sensor. Absent: not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sensor {
    /// Time over which one reading is averaged, seconds.
    pub window_s: Option<f64>,
    /// Time between two new readings, seconds.
    pub update_s: Option<f64>,
    /// How far a reading lags behind the truth, seconds.
    pub lag_s: Option<f64>,
    /// What it makes of a step of power, where it was calibrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Kernel>,
    /// Gain error as a fraction of the reading, as the half-width of a rectangular distribution.
    pub gain_relative: Option<f64>,
    /// Smallest step of the energy counter, joules.
    pub resolution_j: Option<f64>,
}
