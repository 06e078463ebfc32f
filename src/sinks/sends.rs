//! What each sink is sent of a run, for those who ask before.

use serde::Serialize;

/// A part of a run, as people tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The resolved configuration, without secrets; facts of the machine; tags.
    Parameters,
    /// The run's numbers, with intervals.
    Metrics,
    /// Each cycle's numbers.
    CycleMetrics,
    /// What the sensors said, over time.
    Series,
    /// What is true at the moment, while the run goes on.
    Live,
    /// Cycles, requests and other rows.
    Tables,
    /// Cycles, phases and requests as intervals of time.
    Spans,
    /// Warnings and milestones.
    Warnings,
    /// `result.json`, the configuration, the series in full.
    Artifacts,
    /// Everything that was recorded.
    Records,
}

use Kind::{
    Artifacts, CycleMetrics, Live, Metrics, Parameters, Records, Series, Spans, Tables, Warnings,
};

const SENDS: &[(&str, &[Kind])] = &[
    (
        "mlflow",
        &[
            Parameters,
            Metrics,
            CycleMetrics,
            Series,
            Tables,
            Warnings,
            Artifacts,
        ],
    ),
    (
        "wandb",
        &[
            Parameters,
            Metrics,
            CycleMetrics,
            Series,
            Tables,
            Warnings,
            Artifacts,
        ],
    ),
    ("prometheus", &[Metrics, CycleMetrics, Live]),
    ("pushgateway", &[Metrics]),
    ("remote-write", &[Metrics, CycleMetrics, Series]),
    ("openmetrics", &[Metrics, CycleMetrics, Series]),
    ("textfile", &[Metrics]),
    ("mlflow-traces", &[Spans]),
    ("otlp", &[Metrics, CycleMetrics, Series, Spans, Warnings]),
    (
        "files",
        &[
            Parameters,
            Metrics,
            CycleMetrics,
            Series,
            Tables,
            Spans,
            Warnings,
            Artifacts,
            Records,
        ],
    ),
];

/// What the named sink is sent.
pub fn sends(sink: &str) -> &'static [Kind] {
    let row = SENDS.iter().find(|(name, _)| *name == sink);
    row.map_or(&[], |(_, kinds)| kinds)
}

#[cfg(test)]
mod tests {
    use super::super::{ABSENT, built};
    use super::sends;

    #[test]
    fn it_is_told_of_every_sink() {
        for sink in built().iter().chain(ABSENT) {
            assert!(!sends(sink).is_empty(), "{sink} has no row in SENDS");
        }
    }
}
