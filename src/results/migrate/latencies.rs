//! Latencies: raw values, or version 2's own summary of them.

use super::super::Distribution;
use super::facts::NOT_TOLD;
use super::notes::*;
use super::old::Old;

#[derive(Clone)]
pub(super) enum Latencies {
    /// Milliseconds, in no order.
    Raw(Vec<f64>),
    /// Version 2's own summary.
    Summary(Distribution),
    Absent(String),
}

/// Raw values: those below 0 are none.
fn raw(old: &Old<'_>, path: &str) -> Vec<f64> {
    let mut values = old.numbers();
    let all = values.len();
    values.retain(|ms| *ms >= 0.0);
    if values.len() < all {
        let what = format!("{} of {all} values are below 0", all - values.len());
        old.notes().push(path, LATENCY_IMPOSSIBLE, what);
    }
    if !values.is_empty() {
        let what = format!("from {}", old.path().replace("legacy.", ""));
        old.notes().push(path, LATENCY_ANEW, what);
    }
    values
}

pub(super) fn first_token(inference: &Old<'_>, mode: Option<&str>) -> Latencies {
    const PATH: &str = "latency.ttft_ms";
    let values = raw(&inference.at("latency_measurements.ttft_ms"), PATH);
    let latencies = match values.is_empty() {
        false => Latencies::Raw(values),
        true => figure(&inference.at("time_to_first_token_ms"), PATH),
    };
    if let (Some(mode), false) = (mode, matches!(latencies, Latencies::Absent(_)))
        && mode != "true_streaming"
    {
        inference.notes().push(
            PATH,
            TTFT_NOT_STREAMED,
            format!("measurement_mode is {mode}"),
        );
    }
    latencies
}

pub(super) fn gaps(latency: &Old<'_>, mode: Option<&str>, backend: Option<&str>) -> Latencies {
    const PATH: &str = "latency.itl_ms";
    let field = latency.at("itl_full_ms");
    let written = field
        .value()
        .and_then(serde_json::Value::as_array)
        .is_some_and(|items| !items.is_empty());
    let served = backend.is_some_and(|name| matches!(name, "vllm" | "tensorrt" | "tensorrt-llm"));
    if written && (mode != Some("true_streaming") || served) {
        let what = match (served, mode) {
            (true, _) => format!("the backend is {}", backend.unwrap_or_default()),
            (false, Some(mode)) => format!("measurement_mode is {mode}"),
            (false, None) => {
                "the file does not say that tokens were streamed one by one".to_owned()
            }
        };
        latency.notes().push(PATH, ITL_PROPORTIONAL, what);
        return Latencies::Absent(ITL_PROPORTIONAL.why.to_owned());
    }
    let values = raw(&field, PATH);
    match values.is_empty() {
        true => Latencies::Absent("version 2 wrote no times between tokens".to_owned()),
        false => Latencies::Raw(values),
    }
}

/// A single figure that stands for a distribution.
pub(super) fn figure(old: &Old<'_>, path: &str) -> Latencies {
    match old.amount().filter(|ms| *ms > 0.0) {
        None => Latencies::Absent(NOT_TOLD.to_owned()),
        Some(ms) => {
            old.notes().push(
                path,
                LATENCY_SUMMARY,
                format!("version 2 wrote the single figure {ms} ms"),
            );
            Latencies::Summary(Distribution {
                mean: Some(ms),
                ..Distribution::default()
            })
        }
    }
}

pub(super) fn end_to_end(old: &Old<'_>) -> Latencies {
    const PATH: &str = "latency.e2e_ms";
    let values = raw(&old.at("per_request_latencies_ms"), PATH);
    if !values.is_empty() {
        return Latencies::Raw(values);
    }
    let names = ["mean", "median", "p99", "min", "max"];
    summary(
        &old.at("extended_metrics.request_latency"),
        "e2e_latency",
        names,
        PATH,
    )
}

/// A summary of version 2: `{prefix}_{name}_ms`, `{prefix}_samples`.
pub(super) fn summary(old: &Old<'_>, prefix: &str, names: [&str; 5], path: &str) -> Latencies {
    let [mean, p50, p99, min, max] =
        names.map(|name| old.at(&format!("{prefix}_{name}_ms")).amount());
    let count = old.at(&format!("{prefix}_samples")).count();
    if [mean, p50, p99, min, max].iter().all(Option::is_none) || count == Some(0) {
        return Latencies::Absent(NOT_TOLD.to_owned());
    }
    old.notes().push(
        path,
        LATENCY_SUMMARY,
        "version 2 wrote a summary without its values",
    );
    Latencies::Summary(Distribution {
        mean,
        p50,
        p90: None,
        p99,
        min,
        max,
        count: count.unwrap_or(0),
    })
}

/// All raw values together; a summary only where it is the only one.
pub(super) fn pool<'a>(all: impl Iterator<Item = &'a Latencies>) -> Latencies {
    let mut values = Vec::new();
    let mut others: Vec<&Latencies> = Vec::new();
    for one in all {
        match one {
            Latencies::Raw(raw) => values.extend_from_slice(raw),
            other => others.push(other),
        }
    }
    match (values.is_empty(), others.as_slice()) {
        (false, []) => Latencies::Raw(values),
        (false, _) => Latencies::Absent(
            "some processes or cycles have no raw values, so that all together have no distribution".to_owned(),
        ),
        (true, [only]) => (*only).clone(),
        (true, several) => match several.iter().find(|one| matches!(one, Latencies::Absent(_))) {
            Some(absent) => (*absent).clone(),
            None => Latencies::Absent(
                "there are only summaries of processes or cycles, which cannot be pooled".to_owned(),
            ),
        },
    }
}
