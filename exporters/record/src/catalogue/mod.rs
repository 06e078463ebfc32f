//! Every metric of lem: the only source of every name.
//!
//! One row gives the id, unit and kind; the flat key (MLflow and W&B), the OTel
//! name and the Prometheus name follow from it by rule ([`MetricDef::key`],
//! [`MetricDef::otel_name`], [`MetricDef::prometheus_name`]).

mod names;
mod points;
mod table;

pub use names::prometheus_name;
pub use table::METRICS;

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Gauge,
    Counter,
    /// Adds up over sources, goes up and down.
    UpDown,
    Histogram,
}

/// A UCUM unit code, as OTel wants it: `s`, `J`, `By`, `1`, `{token}/s`; empty for none.
pub type Unit = &'static str;

/// One end of a metric's confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    Low,
    High,
}

impl Bound {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "ci_low",
            Self::High => "ci_high",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MetricDef {
    pub id: &'static str,
    pub unit: Unit,
    pub kind: Kind,
    /// The flat key before the unit's word; `{…}` stands for an attribute's value, `{q}` for a quantile's name.
    pub key_stem: &'static str,
    /// The unit's word in the flat key; empty for none.
    pub key_unit: &'static str,
    pub otel: &'static str,
    /// Attributes that are the same in every point of this metric.
    pub fixed: &'static [(&'static str, &'static str)],
    /// Attributes that a point may carry besides.
    pub attributes: &'static [&'static str],
    pub help: &'static str,
}

/// The row of an id.
pub fn find(id: &str) -> Option<&'static MetricDef> {
    METRICS.iter().find(|def| def.id == id)
}
