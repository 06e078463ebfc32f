//! `openmetrics` and `textfile`: a run as a file that Prometheus' own tools read.

mod config;
mod openmetrics;
mod replace;
mod textfile;

pub use config::{OpenMetricsConfig, TextfileConfig};
pub use openmetrics::{OpenMetricsExporter, OpenMetricsFile};
pub use textfile::{Textfile, TextfileExporter};
