//! What one process, or all processes of one cycle, measured.

use super::latencies::{Latencies, end_to_end, figure, first_token, gaps};
use super::notes::*;
use super::old::Old;
use super::times::{self, Moment};

/// A number, or why there is none.
pub(super) type Told<T = f64> = Result<T, String>;

pub(super) const NOT_TOLD: &str = "the file of version 2 does not tell";

/// The energies in joules: total, then GPU, processor, memory.
pub(super) const ENERGIES: [(&str, &str); 4] = [
    ("total_energy_j", "total_energy_j"),
    ("gpu_energy_j", "energy_components.gpu"),
    ("cpu_energy_j", "energy_components.cpu"),
    ("ram_energy_j", "energy_components.memory"),
];

pub(super) struct Facts {
    pub duration_s: Told,
    /// What rates are over: the inference, or the span of several processes.
    pub rate_s: Told,
    pub input: Told<u64>,
    pub output: Told<u64>,
    pub requests: Told<u64>,
    pub energy: [Told; 4],
    /// What is wrong with the energy.
    pub distrust: Vec<&'static Reason>,
    /// How long the energy tracker ran.
    pub tracker_s: Option<f64>,
    pub emissions_g: Told,
    pub flops: Told,
    pub memory_bytes: Told,
    pub ttft: Latencies,
    pub itl: Latencies,
    pub tpot: Latencies,
    pub e2e: Latencies,
    pub start: Option<Moment>,
    pub end: Option<Moment>,
}

/// Absent where it is 0, which then stands for something else.
pub(super) fn above_zero(old: &Old<'_>, path: &str, zero: &'static Reason) -> Told {
    match old.amount() {
        None => Err(NOT_TOLD.to_owned()),
        Some(value) if value > 0.0 => Ok(value),
        Some(_) => {
            old.notes()
                .push(path, zero, format!("version 2 wrote 0 at {}", old.path()));
            Err(zero.why.to_owned())
        }
    }
}

fn told<T>(value: Option<T>) -> Told<T> {
    value.ok_or_else(|| NOT_TOLD.to_owned())
}

/// The facts of a raw file. `backend` is that of the whole file, where it says none itself.
pub(super) fn of_process(old: &Old<'_>, backend: Option<&str>) -> Facts {
    let inference = old.at("inference_metrics");
    let latency = inference.at("latency_measurements");
    let notes = old.notes();
    let input = told(inference.at("input_tokens").count());
    let output = told(inference.at("output_tokens").count());
    let duration_s = above_zero(&inference.at("inference_time_sec"), "duration_s", TIME_ZERO);
    if let (Some(total), Ok(input), Ok(output)) =
        (inference.at("total_tokens").count(), &input, &output)
        && total != input + output
    {
        let what = format!(
            "version 2 wrote {total} tokens in all, {input} of input and {output} of output"
        );
        notes.push("tokens", TOKENS_DIFFER, what);
    }
    rate(old, &inference, &input, &output, &duration_s);
    if let Some(seconds) = old.at("timestamps.duration_sec").amount() {
        let what = format!("version 2 wrote {seconds} s from start to end");
        notes.push("legacy.timestamps.duration_sec", TIME_WITH_LOADING, what);
    }
    let (energy, distrust, tracker_s) = energy(old, &latency);
    let metrics = old.at("energy_metrics");
    let emissions_g = match &energy[0] {
        Err(why) if why == ENERGY_TRACKER_FAILED.why => Err(why.clone()),
        _ => above_zero(
            &metrics.at("emissions_kg_co2"),
            "carbon.emissions_g",
            CARBON_ZERO,
        )
        .map(|kg| kg * 1e3),
    };
    let mode = latency.at("measurement_mode").text();
    let backend = old.at("backend").text().or(backend);
    let e2e = end_to_end(old);
    let requests = latency.at("request_count").count().filter(|n| *n > 0);
    let requests = requests.or(match &e2e {
        Latencies::Raw(values) => Some(values.len() as u64),
        Latencies::Summary(summary) => Some(summary.count).filter(|n| *n > 0),
        Latencies::Absent(_) => None,
    });
    Facts {
        rate_s: duration_s.clone(),
        duration_s,
        input,
        output,
        requests: told(requests),
        energy,
        distrust,
        tracker_s,
        emissions_g,
        flops: flops(&old.at("compute_metrics.flops_total")),
        memory_bytes: memory(old),
        ttft: first_token(&inference, mode),
        itl: gaps(&latency, mode, backend),
        tpot: figure(&old.at("extended_metrics.tpot_ms"), "latency.tpot_ms"),
        e2e,
        start: old.at("timestamps.start").text().and_then(times::read),
        end: old.at("timestamps.end").text().and_then(times::read),
    }
}

/// Says what the old rate counted.
fn rate(old: &Old<'_>, inference: &Old<'_>, input: &Told<u64>, output: &Told<u64>, seconds: &Told) {
    let Some(told) = inference.at("tokens_per_second").amount() else {
        return;
    };
    let near = |rate: f64| (rate - told).abs() <= 0.01 * told;
    let counted = match (input, output, seconds) {
        (Ok(input), Ok(output), Ok(seconds)) => {
            let (input, output) = (*input as f64, *output as f64);
            if near(output / seconds) {
                "it counted output tokens"
            } else if near((input + output) / seconds) {
                "it counted input and output tokens"
            } else {
                "it follows from none of the file's counters"
            }
        }
        _ => "the counters that it follows from are missing",
    };
    let what = format!("version 2 wrote {told} tokens a second: {counted}");
    old.notes()
        .push("throughput.total_tokens_per_sec", RATE_AMBIGUOUS, what);
}

type Energy = ([Told; 4], Vec<&'static Reason>, Option<f64>);

fn energy(old: &Old<'_>, latency: &Old<'_>) -> Energy {
    let notes = old.notes();
    let metrics = old.at("energy_metrics");
    let amounts = ENERGIES.map(|(name, _)| metrics.at(name).amount());
    let failed = old.at("energy_tracking_failed").flag() == Some(true);
    let all_zero =
        amounts.iter().any(Option::is_some) && amounts.iter().flatten().all(|j| *j == 0.0);
    if failed || all_zero {
        let what = match failed {
            true => "version 2 says that its energy tracker failed",
            false => "all energies are 0.0, although the file says that the tracker did not fail",
        };
        notes.push("total_energy_j", ENERGY_TRACKER_FAILED, what);
        let none = || Err(ENERGY_TRACKER_FAILED.why.to_owned());
        return ([none(), none(), none(), none()], Vec::new(), None);
    }
    let energy =
        ENERGIES.map(|(name, path)| above_zero(&metrics.at(name), path, ENERGY_COMPONENT_ZERO));
    if let [Some(total), Some(gpu), Some(cpu), Some(memory)] = amounts {
        let sum = gpu + cpu + memory;
        if (sum - total).abs() > 1e-6 * total.max(sum) {
            let what = format!("version 2 wrote {total} J in all, and components of {sum} J");
            notes.push("total_energy_j", ENERGY_SUM, what);
        }
    }
    let tracker_s = metrics.at("duration_sec").amount();
    if tracker_s == Some(0.0) {
        notes.push(
            "power.mean_w",
            ENERGY_NO_DURATION,
            "energy_metrics.duration_sec is 0.0",
        );
    }
    if let Some(joules) = metrics.at("energy_per_token_j").amount() {
        let what = format!("version 2 wrote {joules} J a token");
        notes.push("energy_per_output_token_j", ENERGY_PER_TOKEN, what);
    }
    let mut distrust = Vec::new();
    if energy.iter().any(Result::is_ok) {
        let mut flag = |reason: &'static Reason, what: String| {
            notes.push("total_energy_j", reason, what);
            distrust.push(reason);
        };
        flag(ENERGY_IDLE, "the energy of version 2 is gross".to_owned());
        if let Some(requests) = warm_up(old, latency) {
            flag(
                ENERGY_WARM_UP,
                format!("{requests} warm-up requests were streamed before the counted ones"),
            );
        }
        if old.at("gpu_is_mig").flag() == Some(true) {
            flag(ENERGY_MIG, "the GPU was divided (MIG)".to_owned());
        }
        if let Some(warning) = old
            .at("energy_measurement_warning")
            .text()
            .filter(|w| !w.is_empty())
        {
            flag(ENERGY_WARNED, format!("version 2 warned: {warning}"));
        }
    }
    (energy, distrust, tracker_s.filter(|s| *s > 0.0))
}

/// How many requests were streamed to warm up, where some were.
fn warm_up(old: &Old<'_>, latency: &Old<'_>) -> Option<u64> {
    let config = old.at("effective_config");
    let streaming = latency
        .at("streaming_mode")
        .flag()
        .or(config.at("streaming").flag());
    let excluded = latency.at("warmup_requests_excluded").count();
    let requests = excluded.or(config.at("streaming_warmup_requests").count())?;
    (streaming == Some(true) && requests > 0).then_some(requests)
}

pub(super) fn flops(old: &Old<'_>) -> Told {
    let flops = above_zero(old, "flops.estimated", FLOPS_ZERO);
    if flops.is_ok() {
        old.notes().push(
            "flops.estimated",
            FLOPS_FORMULA,
            "its method is not what the file says",
        );
    }
    flops
}

fn memory(old: &Old<'_>) -> Told {
    let zeros = [
        "compute_metrics.model_memory_mb",
        "extended_metrics.memory.total_vram_mb",
        "extended_metrics.memory.model_memory_mb",
        "extended_metrics.memory.peak_memory_mb",
    ];
    for path in zeros {
        let field = old.at(path);
        if field.value().and_then(serde_json::Value::as_f64) == Some(0.0) {
            // For its note: version 3 has no such number.
            let _ = above_zero(&field, &format!("legacy.{path}"), MEMORY_ZERO);
        }
    }
    let peak = above_zero(
        &old.at("compute_metrics.peak_memory_mb"),
        "memory.gpu_peak_bytes",
        MEMORY_ZERO,
    )?;
    let bytes = peak * 1_048_576.0;
    if bytes > 1e18 {
        return Err(VALUE_IMPOSSIBLE.why.to_owned());
    }
    old.notes().push(
        "memory.gpu_peak_bytes",
        MEMORY_UNIT,
        format!("version 2 wrote {peak} megabytes"),
    );
    Ok(bytes)
}
