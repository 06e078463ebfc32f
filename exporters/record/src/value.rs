use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a number was obtained. Every energy, power, FLOP and quality number says so.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// Read from a sensor or a clock.
    Measured,
    /// A formula stands in for a sensor.
    Modelled,
    /// Computed from the model's architecture.
    Estimated,
    /// Told by the engine.
    Reported,
    /// Given by the user.
    Supplied,
}

impl How {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Modelled => "modelled",
            Self::Estimated => "estimated",
            Self::Reported => "reported",
            Self::Supplied => "supplied",
        }
    }
}

/// An expanded uncertainty U = k·u, with the systematic and statistical
/// standard uncertainties it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Uncertainty {
    /// U, in the unit of the value.
    pub expanded: f64,
    /// The coverage factor: 2 unless told.
    pub k: f64,
    /// Standard uncertainty that is common to all runs on one sensor (gain); absent where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systematic: Option<f64>,
    /// Standard uncertainty that repetition shrinks; absent where unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistical: Option<f64>,
}

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interval {
    /// Its lower end, in the unit of the value.
    pub low: f64,
    /// Its upper end, in the unit of the value.
    pub high: f64,
    /// Confidence level, from 0 to 1.
    pub level: f64,
}

/// A number with its story, as the result file shows energy, power, FLOPs and quality.
///
/// `value` is absent exactly where `reason` says why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantity {
    /// The number, in the unit of the field that it stands in.
    pub value: Option<f64>,
    /// How it was obtained.
    pub how: Option<How>,
    /// How far it may be off, by what is known of sensors, sampling and scatter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty: Option<Uncertainty>,
    /// Over the cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// The formula or estimator, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Why there is no value, or why the value is to be distrusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Quantity {
    pub fn new(value: f64, how: How) -> Self {
        Self {
            value: Some(value),
            how: Some(how),
            ..Self::default()
        }
    }

    pub fn absent(reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::default()
        }
    }

    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }
}

/// A distribution: what a sink needs to draw it either as buckets or as quantiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bounds of the buckets; the last bucket, above them all, is implied.
    pub bounds: Vec<f64>,
    /// One count a bucket: `bounds.len() + 1` of them, not cumulative.
    pub counts: Vec<u64>,
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Percentiles by linear interpolation, as numpy computes them, of the raw values.
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

impl Histogram {
    /// The four summaries that flat sinks log, with the `{q}` of their keys.
    pub const fn summaries(&self) -> [(&'static str, f64); 4] {
        [
            ("mean", self.mean),
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
        ]
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricValue {
    Number(f64),
    Histogram(Box<Histogram>),
    /// Not obtained, with the reason.
    Absent(String),
}
