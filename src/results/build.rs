//! From a run and its analysis to the result.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use lem_record::{Histogram, Interval, Quantity, RunStatus};
use serde_json::{Value, json};

use super::time_series;
use super::v3::*;
use crate::analysis::{self, Analysis, CycleAnalysis, RunData, Sheet, statistics};

/// Puts the result together. `exports` is what delivery says of each sink. A run whose log
/// does not say how it ended, and whose status was not set, was killed.
pub fn build(
    data: &RunData,
    analysis: &Analysis,
    exports: Vec<Value>,
    run_dir: &Path,
) -> RunResult {
    let started = data.started.as_deref();
    let mut intervals = BTreeMap::new();
    let mut numbers = numbers(&analysis.run);
    collect_intervals(&analysis.run, &mut intervals);
    let counted = analysis.complete().count();
    if counted == 0 {
        numbers.duration_s = None;
        numbers
            .absent
            .insert("duration_s".into(), "no cycle was finished".into());
    }
    let baseline = |kind: &str| {
        let entries = &analysis.run.entries;
        let found = entries.iter().find(|e| {
            e.id == "baseline.power"
                && e.attributes
                    .get("lem.baseline.kind")
                    .is_some_and(|k| k == kind)
        });
        found.map_or_else(
            || Quantity::absent("no idle baseline was measured"),
            |e| crate::analysis::as_quantity(&e.reading),
        )
    };
    let zero = data.cycles.first().map_or(0, |c| c.window.start_ns);
    RunResult {
        schema_version: SCHEMA_VERSION.into(),
        producer: Producer {
            name: "lem".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            analysis: analysis.version,
            energy_boundary: analysis.boundary.told.clone(),
        },
        run_id: data.run_id.clone(),
        run_dir: run_dir.display().to_string(),
        name: started.map_or_else(|| data.run_id.clone(), |s| s.name.clone()),
        tags: started.map(|s| s.tags.clone()).unwrap_or_default(),
        status: data.status.unwrap_or(RunStatus::Killed),
        status_reason: data.status_reason.clone(),
        started: data.started_at.and_then(|at| rfc3339(at.unix_ns)),
        ended: data.last_at.and_then(|at| rfc3339(at.unix_ns)),
        backend: data.config_str("/backend").map(str::to_owned),
        model_name: data.config_str("/model_name").map(str::to_owned),
        model: data.model.clone(),
        command: crate::exec::command(data),
        marked_phases: crate::exec::phases(&analysis.run),
        config: started.map_or(Value::Null, |s| s.config.clone()),
        provenance: started.map(|s| s.provenance.clone()).unwrap_or_default(),
        environment: started.map_or(Value::Null, |s| s.environment.clone()),
        sources: sources(analysis),
        aggregation: None,
        thermal: data
            .thermal
            .as_ref()
            .map(|t| json!({"columns": t.columns, "rows": t.rows})),
        num_cycles: u32::try_from(counted).unwrap_or(u32::MAX),
        numbers,
        phase_estimates: phase_estimates(analysis),
        throttling: throttling(analysis),
        baseline_power_w: subtracted(analysis).unwrap_or_else(|| baseline("loaded")),
        baseline: Baseline {
            bare_w: baseline("bare"),
            loaded_w: baseline("loaded"),
            after_w: baseline("after"),
            parking_w: analysis.run.quantity("baseline.parking"),
            stddev_w: analysis.run.quantity("baseline.power_stddev"),
            energy_j: analysis.run.quantity("baseline.energy"),
            ratio: analysis.run.quantity("baseline.ratio"),
            duration_s: analysis.run.value("baseline.duration"),
        },
        time_series: time_series::of(data, analysis),
        quality: quality(data),
        cycles: cycles(analysis, zero),
        intervals,
        cycle_statistics: cycle_statistics(analysis),
        warnings: analysis.warnings.iter().map(WarningText::from).collect(),
        exports,
        migration: None,
        legacy: None,
    }
}

fn sources(analysis: &Analysis) -> Vec<PowerSource> {
    let of = |(index, sensor): (usize, &analysis::Sensor)| PowerSource {
        id: sensor.id.clone(),
        component: sensor.component,
        name: sensor.name.clone(),
        how: sensor.how,
        device: sensor.device.clone(),
        in_total: analysis.boundary.total.contains(&index),
    };
    analysis.sensors.iter().enumerate().map(of).collect()
}

/// The idle power that was subtracted, so that total − corrected = it × mean duration.
fn subtracted(analysis: &Analysis) -> Option<Quantity> {
    let idle = analysis.run.reading("baseline.energy").ok()?;
    let seconds = analysis.run.value("run.duration")? / analysis.run.value("run.cycles")?;
    let mut power = idle.scaled(1.0 / seconds);
    power.interval = None;
    let power = power.method("loaded-idle power, on a line from before the cycles to after them");
    Some(crate::analysis::as_quantity(&Ok(power)))
}

fn phase_estimates(analysis: &Analysis) -> PhaseEstimates {
    let found = &analysis.phases;
    let differences = found.differences();
    let estimate = |estimate: &analysis::PhaseEstimate| {
        let difference = |phase: &str| {
            let of = differences
                .iter()
                .find(|d| d.method == estimate.method && d.phase == phase);
            of.map(|d| d.relative)
        };
        PhaseEstimate {
            method: estimate.method.as_str().into(),
            prefill_energy_j: analysis::as_quantity(&estimate.prefill),
            decode_energy_j: analysis::as_quantity(&estimate.decode),
            prefill_difference: difference("prefill"),
            decode_difference: difference("decode"),
            note: estimate.note.clone(),
        }
    };
    PhaseEstimates {
        method: found.chosen().map(|e| e.method.as_str().into()),
        resolvable: found.chosen.is_some(),
        reason: found.reason.clone(),
        estimates: found.estimates.iter().map(estimate).collect(),
    }
}

fn throttling(analysis: &Analysis) -> Vec<Throttling> {
    let of = |cycle: &CycleAnalysis| -> Vec<Throttling> {
        let held = cycle.throttled.iter().flatten().filter(|t| t.seconds > 0.0);
        held.map(|t| Throttling {
            cycle: cycle.index,
            source: t.source.clone(),
            reason: t.reason.clone(),
            duration_s: t.seconds,
            counted: t.counted,
        })
        .collect()
    };
    analysis.cycles.iter().flat_map(of).collect()
}

fn rfc3339(unix_ns: i64) -> Option<String> {
    let time = Timestamp::from_nanosecond(i128::from(unix_ns)).ok()?;
    Some(format!("{time:.3}"))
}

fn quality(data: &RunData) -> Quality {
    let asked = data.config("/quality/enabled").and_then(Value::as_bool) == Some(true);
    let why = if asked {
        "this version of lem does not evaluate quality yet"
    } else {
        "not asked for; quality.enabled asks for it"
    };
    Quality {
        perplexity: Quantity::absent(why),
        scores: BTreeMap::new(),
    }
}

fn cycles(analysis: &Analysis, zero_ns: u64) -> Vec<CycleResult> {
    let complete: Vec<&CycleAnalysis> = analysis.complete().collect();
    let outliers = analysis::outliers::of(&complete);
    let one = |one: &CycleAnalysis| {
        let apart = outliers.get(&one.index).into_iter().flatten();
        CycleResult {
            outlier_in: apart.map(|a| a.id.to_owned()).collect(),
            ..cycle(one, zero_ns)
        }
    };
    analysis.cycles.iter().map(one).collect()
}

fn cycle(cycle: &CycleAnalysis, zero_ns: u64) -> CycleResult {
    CycleResult {
        outlier_in: Vec::new(),
        cycle: cycle.index,
        complete: cycle.complete,
        start_s: cycle.window.start_ns.saturating_sub(zero_ns) as f64 / 1e9,
        throttled_s: cycle.throttled_s(),
        numbers: numbers(&cycle.sheet),
    }
}

/// Plain numbers: path in the result, catalogue id, factor from the catalogue's unit.
const PLAIN: &[(&str, &str, f64)] = &[
    ("duration_s", "run.duration", 1.0),
    ("prefill_time_ms", "time.prefill", 1e3),
    ("decode_time_ms", "time.decode", 1e3),
    ("other_time_ms", "time.other", 1e3),
    ("prefill_tokens_per_sec", "throughput.prefill", 1.0),
    ("decode_tokens_per_sec", "throughput.decode", 1.0),
    ("throughput.total_tokens_per_sec", "throughput.total", 1.0),
    ("throughput.requests_per_sec", "throughput.requests", 1.0),
    ("memory.gpu_peak_bytes", "memory.gpu_peak", 1.0),
    ("memory.process_peak_bytes", "memory.process_peak", 1.0),
    ("sampling.max_gap_s", "sampling.max_gap", 1.0),
];

/// Counts that an engine always has, and a command does not.
const COUNTS: &[(&str, &str)] = &[
    ("tokens.input", "tokens.input"),
    ("tokens.output", "tokens.output"),
    ("requests.answered", "run.requests"),
    ("requests.failed", "run.requests_failed"),
];

/// What goes into the maps of the engine: catalogue ids that begin so.
const ENGINE: &[&str] = &["engine.", "client.", "throughput.goodput"];
/// Distributions likewise.
const ENGINE_LATENCIES: &[&str] = &[
    "latency.engine_",
    "latency.ttft_outside",
    "latency.answer",
    "client.",
];

fn engine(sheet: &Sheet) -> BTreeMap<String, Quantity> {
    let named = |id: &str| ENGINE.iter().any(|prefix| id.starts_with(prefix));
    let entries = sheet.entries.iter().filter(|e| named(e.id));
    entries
        .map(|e| (e.id.to_owned(), analysis::as_quantity(&e.reading)))
        .collect()
}

/// Distributions: path in the result, catalogue id.
const LATENCIES: &[(&str, &str)] = &[
    ("latency.ttft_ms", "latency.ttft"),
    ("latency.itl_ms", "latency.itl"),
    ("latency.tpot_ms", "latency.tpot"),
    ("latency.e2e_ms", "latency.e2e"),
    ("latency.queue_ms", "latency.queue"),
];

fn collect_intervals(sheet: &Sheet, into: &mut BTreeMap<String, Interval>) {
    for (path, id, factor) in PLAIN {
        let interval = sheet.quantity(id).interval;
        into.extend(interval.map(|i| ((*path).to_owned(), scaled(i, *factor))));
    }
    for (path, id) in LATENCIES {
        let interval = sheet
            .distributions
            .iter()
            .find(|d| d.id == *id)
            .and_then(|d| d.interval());
        into.extend(interval.map(|i| (format!("{path}.mean"), scaled(i, 1e3))));
    }
}

fn cycle_statistics(analysis: &Analysis) -> BTreeMap<String, CycleStatistics> {
    let of = |id: &str| {
        let values: Vec<f64> = analysis
            .complete()
            .filter_map(|c| c.sheet.value(id))
            .collect();
        Some(CycleStatistics {
            n: u32::try_from(values.len()).ok()?,
            mean: statistics::mean(&values).filter(|v| v.is_finite())?,
            stddev: statistics::stddev(&values).filter(|v| v.is_finite())?,
            cv: statistics::cv(&values).filter(|v| v.is_finite()),
        })
    };
    analysis::CYCLE_COLUMNS
        .iter()
        .filter_map(|(_, id)| Some(((*id).to_owned(), of(id)?)))
        .collect()
}

fn scaled(interval: Interval, factor: f64) -> Interval {
    Interval {
        low: interval.low * factor,
        high: interval.high * factor,
        level: interval.level,
    }
}

fn numbers(sheet: &Sheet) -> Numbers {
    let mut absent = BTreeMap::new();
    let mut plain = BTreeMap::new();
    for (path, id, factor) in PLAIN {
        let quantity = sheet.quantity(id);
        match quantity.value.map(|v| v * factor).filter(|v| v.is_finite()) {
            Some(value) => {
                plain.insert(*path, value);
            }
            None => {
                let why = quantity.reason.unwrap_or_else(|| "it overflows".into());
                absent.insert((*path).to_owned(), why);
            }
        }
    }
    for (path, id) in COUNTS {
        if let Err(why) = sheet.reading(id) {
            absent.insert((*path).to_owned(), why);
        }
    }
    let mut latency = |path: &str, id: &str| match sheet.histogram(id) {
        Ok(histogram) => milliseconds(&histogram),
        Err(why) => {
            absent.insert(path.to_owned(), why);
            Distribution::default()
        }
    };
    let latency = Latency {
        ttft_ms: latency("latency.ttft_ms", "latency.ttft"),
        itl_ms: latency("latency.itl_ms", "latency.itl"),
        tpot_ms: latency("latency.tpot_ms", "latency.tpot"),
        e2e_ms: latency("latency.e2e_ms", "latency.e2e"),
        queue_ms: latency("latency.queue_ms", "latency.queue"),
    };
    let named = |id: &str| ENGINE_LATENCIES.iter().any(|prefix| id.starts_with(prefix));
    let mut engine_latency = BTreeMap::new();
    for part in sheet.distributions.iter().filter(|d| named(d.id)) {
        match part.histogram() {
            Ok(histogram) => {
                engine_latency.insert(part.id.to_owned(), milliseconds(&histogram));
            }
            Err(why) => {
                absent.insert(format!("engine_latency.{}", part.id), why);
            }
        }
    }
    let get = |path: &str| plain.get(path).copied();
    let bytes = |value: Option<f64>| value.filter(|v| *v >= 0.0).map(|v| v as u64);
    let count = |id: &str| bytes(sheet.value(id)).unwrap_or(0);
    let samples = |status: &str| {
        let of = |e: &&crate::analysis::Entry| {
            e.id == "sampling.samples"
                && e.attributes.get("lem.status").is_some_and(|s| s == status)
        };
        let entry = sheet.entries.iter().find(of);
        entry
            .and_then(|e| e.reading.as_ref().ok())
            .map_or(0, |r| r.value as u64)
    };
    let q = |id: &str| sheet.quantity(id);
    Numbers {
        duration_s: get("duration_s"),
        prefill_time_ms: get("prefill_time_ms"),
        decode_time_ms: get("decode_time_ms"),
        other_time_ms: get("other_time_ms"),
        prefill_energy_j: q("energy.prefill"),
        decode_energy_j: q("energy.decode"),
        other_energy_j: q("energy.other"),
        prefill_energy_corrected_j: q("energy.prefill_corrected"),
        decode_energy_corrected_j: q("energy.decode_corrected"),
        other_energy_corrected_j: q("energy.other_corrected"),
        prefill_tokens_per_sec: get("prefill_tokens_per_sec"),
        decode_tokens_per_sec: get("decode_tokens_per_sec"),
        total_energy_j: q("energy.total"),
        total_energy_corrected_j: q("energy.total_corrected"),
        total_energy_above_bare_j: q("energy.total_above_bare"),
        energy_per_output_token_j: q("energy.per_output_token"),
        energy_per_input_token_j: q("energy.per_input_token"),
        energy_per_request_j: q("energy.per_request"),
        energy_delay_product_js: q("energy.delay_product"),
        energy_components: EnergyComponents {
            gpu: q("energy.gpu"),
            cpu: q("energy.cpu"),
            memory: q("energy.memory"),
        },
        power: Power {
            mean_w: q("power.mean"),
            peak_w: q("power.peak"),
            prefill_w: q("power.prefill"),
            decode_w: q("power.decode"),
        },
        latency,
        tokens: Tokens {
            input: count("tokens.input"),
            output: count("tokens.output"),
        },
        requests: Requests {
            answered: count("run.requests"),
            failed: count("run.requests_failed"),
        },
        throughput: Throughput {
            total_tokens_per_sec: get("throughput.total_tokens_per_sec"),
            requests_per_sec: get("throughput.requests_per_sec"),
        },
        efficiency: Efficiency {
            tokens_per_joule: q("efficiency.tokens_per_joule"),
            flops_per_joule: q("efficiency.flops_per_joule"),
        },
        flops: Flops {
            estimated: q("flops.estimated"),
            measured: q("flops.measured"),
            rate: q("flops.rate"),
            mfu: q("flops.mfu"),
            mbu: q("flops.mbu"),
        },
        carbon: Carbon {
            emissions_g: q("carbon.emissions"),
            intensity_g_per_kwh: q("carbon.intensity"),
        },
        cost: Cost {
            total_usd: cost_total(sheet),
            usd_per_million_tokens: q("cost.per_mtoken"),
        },
        memory: Memory {
            gpu_peak_bytes: bytes(sheet.over_attributes("memory.gpu_peak", |a, b| a + b)),
            process_peak_bytes: bytes(get("memory.process_peak_bytes")),
        },
        sampling: Sampling {
            samples: samples("ok"),
            missed: samples("missed"),
            max_gap_s: get("sampling.max_gap_s"),
        },
        engine: engine(sheet),
        engine_latency,
        absent,
    }
}

fn cost_total(sheet: &Sheet) -> Quantity {
    let total = sheet.entries.iter().find(|e| {
        e.id == "cost.total"
            && e.attributes
                .get("lem.cost.kind")
                .is_some_and(|k| k == "total")
    });
    total.map_or_else(
        || Quantity::absent("no cycle was finished"),
        |e| crate::analysis::as_quantity(&e.reading),
    )
}

fn milliseconds(histogram: &Histogram) -> Distribution {
    Distribution {
        mean: Some(histogram.mean * 1e3),
        p50: Some(histogram.p50 * 1e3),
        p90: Some(histogram.p90 * 1e3),
        p99: Some(histogram.p99 * 1e3),
        min: Some(histogram.min * 1e3),
        max: Some(histogram.max * 1e3),
        count: histogram.count,
    }
}
