//! From records to series, and from series to text. Pure: the same records give the
//! same series, so that what is sent again is the same.
//!
//! Names are what the OpenTelemetry-to-Prometheus translation makes of the catalogue's
//! OTel names; attributes become labels (`hw.id` is `hw_id`); `job` is `lem` and
//! `instance` the run's id, as the translation makes them of `service.name` and
//! `service.instance.id`. How an energy, power, FLOP or quality number was obtained is
//! the label `lem_how` (attribute `lem.how`); a number of one cycle has the label
//! `lem_cycle` (`lem.cycle`), and that of the whole run has not. An interval's ends are
//! metrics of their own (`_ci_low_`, `_ci_high_`). What is absent is not shown.

mod family;
mod labels;
mod record;
mod series;
mod text;

pub use family::{Family, FamilyKind};
pub use labels::{Labels, label_name, labels};
pub use record::{Encoded, early_info, encode, present, record, target, unix_ms};
pub use series::{Point, Sample, Series, Value, le, merge};
pub use text::{Format, Times, end, number, text, write};

/// The job of every run, as `service.name` is.
pub const JOB: &str = "lem";
