use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How it is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Measurement {
    /// How often sensors are polled, milliseconds.
    #[schemars(range(min = 1, max = 60_000))]
    pub interval_ms: u32,
    pub warmup: Warmup,
    pub baseline: Baseline,
    /// A cycle longer than this is written to disk in segments of this length, seconds.
    #[schemars(range(min = 1.0, max = 86_400.0))]
    pub segment_s: f64,
    /// Wait between two cycles, seconds.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub pause_s: f64,
    /// How the energy of prefill is told from that of decode.
    pub phase_method: PhaseMethod,
    /// How long the extra rounds of `looped` and `slope` are repeated, seconds.
    #[schemars(range(min = 0.5, max = 3_600.0))]
    pub loop_s: f64,
    pub until: Until,
    pub cool_down: CoolDown,
}

/// More cycles than `num_cycles`, until a number is known well enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Until {
    /// The metric, by its id (`energy.per_output_token`, see docs/metrics.md). Without one
    /// `num_cycles` are measured and no more.
    pub metric: Option<String>,
    /// Enough when half of its 95 % interval over cycles is at most this share of it.
    #[schemars(range(min = 0.0001, max = 1.0))]
    pub relative_half_width: f64,
    /// Most cycles; `num_cycles` are the fewest.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_cycles: u32,
}

impl Default for Until {
    fn default() -> Self {
        Self {
            metric: None,
            relative_half_width: 0.01,
            max_cycles: 50,
        }
    }
}

/// A wait before each cycle, so that all start equally warm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CoolDown {
    /// Wait before each cycle until every device whose temperature is read is as warm as at
    /// the start of the first. `measurement.pause_s` is the fixed wait instead.
    pub enabled: bool,
    /// As warm means: at most so much warmer, degrees.
    #[schemars(range(min = 0.5, max = 50.0))]
    pub tolerance_c: f64,
    /// Longest wait before a cycle, seconds; what is still warmer then is told.
    #[schemars(range(min = 1.0, max = 3_600.0))]
    pub max_wait_s: f64,
}

impl Default for CoolDown {
    fn default() -> Self {
        Self {
            enabled: false,
            tolerance_c: 2.0,
            max_wait_s: 120.0,
        }
    }
}

/// An estimator of the phases' energies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PhaseMethod {
    /// Windows where a sensor resolves the phases, else extra rounds. Where a power sensor is
    /// measured and the engine is in this process, rounds of prefill alone are measured after
    /// the cycles in any case, and both are compared.
    #[default]
    Auto,
    /// The power samples within each phase.
    Windows,
    /// Prefill alone (one output token) in extra rounds after the cycles; decode is the rest.
    Looped,
    /// Extra rounds of at least four output lengths: the intercept is prefill, the slope decode.
    Slope,
}

impl PhaseMethod {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Windows => "windows",
            Self::Looped => "looped",
            Self::Slope => "slope",
        }
    }
}

impl Default for Measurement {
    fn default() -> Self {
        Self {
            interval_ms: 100,
            warmup: Warmup::default(),
            baseline: Baseline::default(),
            segment_s: 60.0,
            pause_s: 0.0,
            phase_method: PhaseMethod::Auto,
            loop_s: 8.0,
            until: Until::default(),
            cool_down: CoolDown::default(),
        }
    }
}

/// Unmeasured work before the first cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Warmup {
    /// Fewest warm-up rounds (a batch each).
    #[schemars(range(min = 0, max = 10_000))]
    pub min_rounds: u32,
    /// Most warm-up rounds; equal to `min_rounds`, exactly so many.
    #[schemars(range(min = 0, max = 10_000))]
    pub max_rounds: u32,
    /// Steady when the last rounds' times per token spread less than this (coefficient of
    /// variation) and show no trend.
    #[schemars(range(min = 0.0001, max = 1.0))]
    pub tolerance: f64,
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            min_rounds: 2,
            max_rounds: 10,
            tolerance: 0.05,
        }
    }
}

/// The idle baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Baseline {
    /// Measure the idle power before the model is loaded, with it loaded, and after the run
    /// (`--measure-baseline`).
    pub enabled: bool,
    /// How long each is observed, seconds. 30 for a good one, 60 to publish.
    #[schemars(range(min = 0.5, max = 3_600.0))]
    pub duration_s: f64,
    /// Time that is let pass before observing, seconds.
    #[schemars(range(min = 0.0, max = 3_600.0))]
    pub settle_s: f64,
    /// Where it is not measured: one that was measured on this board at most so many hours ago
    /// is used, with its age told and its uncertainty enlarged; 0 uses none.
    #[schemars(range(min = 0.0, max = 8_760.0))]
    pub max_age_h: f64,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            enabled: false,
            duration_s: 30.0,
            settle_s: 5.0,
            max_age_h: 24.0,
        }
    }
}
