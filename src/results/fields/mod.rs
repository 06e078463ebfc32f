//! The fields of a result by dotted path, and the metrics among them by title and unit.
//!
//! A result is flattened while it is read, without building it: a thousand files of some
//! hundred kilobytes each never stand in memory together. A quantity stands under its own
//! path (`total_energy_j`), its parts below (`total_energy_j.uncertainty.expanded`).

mod flatten;
mod metrics;
mod names;
mod table;

pub use flatten::{flatten, left_out, of_value};
pub use metrics::{Metric, Shape, metrics, of_catalogue};
pub(crate) use metrics::{at, number};
pub use names::{Known, Resolved};
