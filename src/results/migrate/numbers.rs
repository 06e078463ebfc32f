//! From the facts of one cycle, or of all, to the numbers of a result.

use std::collections::BTreeMap;

use lem_record::{How, Interval, Quantity};

use super::super::*;
use super::facts::{Facts, Told};
use super::latencies::{Latencies, pool};
use super::notes::Reason;
use crate::analysis::statistics::{Pairs, cv, mean, percentile, stddev};

const NO_PHASES: &str = "version 2 did not tell prefill from decode";
const NO_IDLE: &str = "version 2 observed no idle power";
const NO_SAMPLES: &str = "version 2 kept no sampled series";
const TRACKER: &str = "version 2's energy tracker (CodeCarbon)";
const OVERFLOW: &str = "it overflows";

/// Plain numbers that version 2 never had.
const NEVER: &[(&str, &str)] = &[
    ("prefill_time_ms", NO_PHASES),
    ("decode_time_ms", NO_PHASES),
    ("other_time_ms", NO_PHASES),
    ("prefill_tokens_per_sec", NO_PHASES),
    ("decode_tokens_per_sec", NO_PHASES),
    ("latency.queue_ms", "version 2 recorded no queueing"),
    (
        "memory.process_peak_bytes",
        "version 2 recorded no memory of its process",
    ),
    ("sampling.max_gap_s", NO_SAMPLES),
];

pub(super) struct Made {
    pub numbers: Numbers,
    pub intervals: BTreeMap<String, Interval>,
    pub statistics: BTreeMap<String, CycleStatistics>,
}

/// Numerators and denominators, a cycle each.
type Series = Told<Vec<(f64, f64)>>;

/// Of the cycles that have both; the first reason where none has.
fn series(cycles: &[&Facts], num: impl Fn(&Facts) -> Told, den: impl Fn(&Facts) -> Told) -> Series {
    let all: Vec<Told<(f64, f64)>> = cycles
        .iter()
        .map(|one| num(one).and_then(|num| Ok((num, den(one)?))))
        .collect();
    let there: Vec<(f64, f64)> = all
        .iter()
        .flatten()
        .copied()
        .filter(|(_, den)| *den > 0.0)
        .collect();
    if !there.is_empty() {
        return Ok(there);
    }
    let why = all.into_iter().find_map(Result::err);
    Err(why.unwrap_or_else(|| "it would be divided by 0".to_owned()))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands where a number may be absent"
)]
fn one(_: &Facts) -> Told {
    Ok(1.0)
}

fn whole(count: &Told<u64>) -> Told {
    count.clone().map(|count| count as f64)
}

fn value(series: &Series) -> Told {
    let pairs = Pairs::of(series.clone()?);
    pairs.value().ok_or_else(|| OVERFLOW.to_owned())
}

fn quantity(series: &Series, how: How, method: &str, distrust: &[&Reason]) -> Quantity {
    let mut quantity = match value(series) {
        Ok(value) => Quantity::new(value, how).method(method),
        Err(why) => return Quantity::absent(why),
    };
    quantity.interval = interval(series);
    if !distrust.is_empty() {
        let reasons: Vec<&str> = distrust.iter().map(|reason| reason.why).collect();
        quantity.reason = Some(reasons.join("; "));
    }
    quantity
}

fn interval(series: &Series) -> Option<Interval> {
    let pairs = Pairs::of(series.clone().ok()?);
    if pairs.len() < 2 {
        None
    } else {
        pairs.interval()
    }
}

fn statistics_of(series: &Series) -> Option<CycleStatistics> {
    let pairs = series.as_ref().ok()?;
    let values: Vec<f64> = pairs.iter().map(|(num, den)| num / den).collect();
    let finite = |value: f64| Some(value).filter(|value| value.is_finite());
    Some(CycleStatistics {
        n: u32::try_from(values.len()).ok()?,
        mean: finite(mean(&values)?)?,
        stddev: finite(stddev(&values)?)?,
        cv: cv(&values).and_then(finite),
    })
}

fn distribution(latencies: &Latencies) -> Told<Distribution> {
    let values = match latencies {
        Latencies::Absent(why) => return Err(why.clone()),
        Latencies::Summary(summary) => return Ok(*summary),
        Latencies::Raw(values) => values,
    };
    let mut sorted = values.clone();
    sorted.sort_by(f64::total_cmp);
    Ok(Distribution {
        mean: mean(&sorted).filter(|mean| mean.is_finite()),
        p50: percentile(&sorted, 0.5),
        p90: percentile(&sorted, 0.9),
        p99: percentile(&sorted, 0.99),
        min: sorted.first().copied(),
        max: sorted.last().copied(),
        count: sorted.len() as u64,
    })
}

/// The numbers of these cycles together, as version 3 puts cycles together.
#[expect(clippy::too_many_lines, reason = "one number after another")]
pub(super) fn of(cycles: &[&Facts]) -> Made {
    let mut absent: BTreeMap<String, String> = NEVER
        .iter()
        .map(|(path, why)| ((*path).to_owned(), (*why).to_owned()))
        .collect();
    let mut intervals = BTreeMap::new();
    let mut statistics = BTreeMap::new();
    let mut distrust: Vec<&Reason> = Vec::new();
    for reason in cycles.iter().flat_map(|one| &one.distrust) {
        if !distrust.iter().any(|there| there.code == reason.code) {
            distrust.push(reason);
        }
    }
    let measured = cycles.iter().filter(|one| one.energy[0].is_ok()).count();
    if measured > 0 && measured < cycles.len() {
        distrust.push(super::notes::ENERGY_PARTLY_FAILED);
    }

    let joules = |i: usize| {
        move |one: &Facts| {
            one.energy
                .get(i)
                .cloned()
                .unwrap_or_else(|| Err(OVERFLOW.to_owned()))
        }
    };
    let total = series(cycles, joules(0), one);
    let rate = series(cycles, |one| whole(&one.output), |one| one.rate_s.clone());
    let requests = series(cycles, |one| whole(&one.requests), |one| one.rate_s.clone());
    let per_output = series(cycles, joules(0), |one| whole(&one.output));
    let per_request = series(cycles, joules(0), |one| whole(&one.requests));
    let tokens_per_joule = series(cycles, |one| whole(&one.output), joules(0));
    let flops = series(cycles, |one| one.flops.clone(), one);
    let flops_rate = series(cycles, |one| one.flops.clone(), |one| one.rate_s.clone());
    let flops_per_joule = series(cycles, |one| one.flops.clone(), joules(0));
    let delay = series(
        cycles,
        |one| Ok(one.energy[0].clone()? * one.duration_s.clone()?),
        one,
    );
    let power = series(cycles, joules(0), |one| {
        one.tracker_s
            .ok_or_else(|| super::notes::ENERGY_NO_DURATION.why.to_owned())
    });
    let emissions = series(cycles, |one| one.emissions_g.clone(), one);
    let intensity = series(
        cycles,
        |one| one.emissions_g.clone(),
        |one| Ok(one.energy[0].clone()? / 3.6e6),
    );

    if cycles.len() > 1 {
        let spread: [(&str, &Series); 5] = [
            ("energy.total", &total),
            ("energy.per_output_token", &per_output),
            ("throughput.total", &rate),
            ("efficiency.tokens_per_joule", &tokens_per_joule),
            (
                "run.duration",
                &series(cycles, |one| one.duration_s.clone(), one),
            ),
        ];
        for (path, series) in spread {
            statistics.extend(statistics_of(series).map(|s| (path.to_owned(), s)));
        }
        for (path, series) in [
            ("total_tokens_per_sec", &rate),
            ("requests_per_sec", &requests),
        ] {
            intervals.extend(interval(series).map(|i| (format!("throughput.{path}"), i)));
        }
    }

    // A sum over nothing is no 0 that anybody told.
    let some = |told: Told| match cycles.is_empty() {
        true => Err("the file holds no cycle".to_owned()),
        false => told,
    };
    let mut plain = |path: &str, told: Told| match some(told).and_then(finite) {
        Ok(value) => Some(value),
        Err(why) => {
            absent.insert(path.to_owned(), why);
            None
        }
    };
    let duration_s = plain(
        "duration_s",
        cycles.iter().map(|one| one.duration_s.clone()).sum(),
    );
    let throughput = Throughput {
        total_tokens_per_sec: plain("throughput.total_tokens_per_sec", value(&rate)),
        requests_per_sec: plain("throughput.requests_per_sec", value(&requests)),
    };
    let peaks: Told<Vec<f64>> = cycles.iter().map(|one| one.memory_bytes.clone()).collect();
    let peak = peaks.map(|all| all.into_iter().fold(0.0, f64::max));
    let gpu_peak_bytes = plain("memory.gpu_peak_bytes", peak).map(|bytes| bytes as u64);
    let mut count = |path: &str, get: fn(&Facts) -> &Told<u64>| {
        let sum: Told = cycles.iter().map(|one| whole(get(one))).sum();
        plain(path, sum).map_or(0, |count| count as u64)
    };
    let tokens = Tokens {
        input: count("tokens.input", |one| &one.input),
        output: count("tokens.output", |one| &one.output),
    };
    let answered = count("requests.answered", |one| &one.requests);
    absent.insert(
        "requests.failed".into(),
        "version 2 recorded no failed request".into(),
    );
    let mut latency = |path: &str, get: fn(&Facts) -> &Latencies| {
        if cycles.len() > 1 {
            intervals.extend(of_means(cycles, get).map(|i| (format!("{path}.mean"), i)));
        }
        distribution(&pool(cycles.iter().map(|one| get(one)))).unwrap_or_else(|why| {
            absent.insert(path.to_owned(), why);
            Distribution::default()
        })
    };
    let latency = Latency {
        ttft_ms: latency("latency.ttft_ms", |one| &one.ttft),
        itl_ms: latency("latency.itl_ms", |one| &one.itl),
        tpot_ms: latency("latency.tpot_ms", |one| &one.tpot),
        e2e_ms: latency("latency.e2e_ms", |one| &one.e2e),
        queue_ms: Distribution::default(),
    };

    let energy = |series: &Series, method: &str| quantity(series, How::Reported, method, &distrust);
    let estimated = |series: &Series, method: &str| {
        let mut reasons = vec![super::notes::FLOPS_FORMULA];
        if method.contains("joule") {
            reasons.extend(&distrust);
        }
        quantity(series, How::Estimated, method, &reasons)
    };
    let component = |i: usize, what: &str| {
        energy(
            &series(cycles, joules(i), one),
            &format!("{TRACKER}: {what}"),
        )
    };
    let phase = || Quantity::absent(NO_PHASES);
    let idle = || Quantity::absent(NO_IDLE);
    let numbers = Numbers {
        engine: BTreeMap::new(),
        engine_latency: BTreeMap::new(),
        duration_s,
        prefill_time_ms: None,
        decode_time_ms: None,
        other_time_ms: None,
        prefill_energy_j: phase(),
        decode_energy_j: phase(),
        other_energy_j: phase(),
        prefill_energy_corrected_j: phase(),
        decode_energy_corrected_j: phase(),
        other_energy_corrected_j: phase(),
        prefill_tokens_per_sec: None,
        decode_tokens_per_sec: None,
        total_energy_j: energy(
            &total,
            &format!("{TRACKER}: GPU, processor and memory, measured or modelled as it could"),
        ),
        total_energy_corrected_j: idle(),
        total_energy_above_bare_j: idle(),
        energy_per_output_token_j: energy(&per_output, "reported total over output tokens"),
        energy_per_input_token_j: phase(),
        energy_per_request_j: energy(&per_request, "reported total over answered requests"),
        energy_delay_product_js: energy(&delay, "reported total times inference time"),
        energy_components: EnergyComponents {
            gpu: component(1, "GPUs"),
            cpu: component(2, "processor, modelled where it had no sensor"),
            memory: component(3, "memory, modelled"),
        },
        power: Power {
            mean_w: energy(&power, "reported total over the tracker's duration"),
            peak_w: Quantity::absent(NO_SAMPLES),
            prefill_w: phase(),
            decode_w: phase(),
        },
        latency,
        tokens,
        requests: Requests {
            answered,
            failed: 0,
        },
        throughput,
        efficiency: Efficiency {
            tokens_per_joule: energy(&tokens_per_joule, "output tokens over reported total"),
            flops_per_joule: estimated(&flops_per_joule, "estimated FLOPs over reported joules"),
        },
        flops: Flops {
            estimated: estimated(&flops, "2 × parameters × (input + output tokens)"),
            measured: Quantity::absent("version 2 profiled nothing"),
            rate: estimated(&flops_rate, "estimated FLOPs over time"),
            mfu: Quantity::absent("version 2 recorded no peak of its hardware"),
            mbu: Quantity::absent("version 2 recorded no bandwidth of its hardware"),
        },
        carbon: Carbon {
            emissions_g: energy(&emissions, TRACKER),
            intensity_g_per_kwh: quantity(
                &intensity,
                How::Reported,
                "reported emissions over reported total",
                &[],
            ),
        },
        cost: Cost {
            total_usd: Quantity::absent("version 2 recorded no price"),
            usd_per_million_tokens: Quantity::absent("version 2 recorded no price"),
        },
        memory: Memory {
            gpu_peak_bytes,
            process_peak_bytes: None,
        },
        sampling: Sampling::default(),
        absent,
    };
    Made {
        numbers,
        intervals,
        statistics,
    }
}

fn finite(value: f64) -> Told {
    Some(value)
        .filter(|value| value.is_finite())
        .ok_or_else(|| OVERFLOW.to_owned())
}

/// Of the mean over all values, with the cycle as the unit.
fn of_means(cycles: &[&Facts], get: fn(&Facts) -> &Latencies) -> Option<Interval> {
    let pair = |one: &&Facts| match get(one) {
        Latencies::Raw(values) => Some((values.iter().sum::<f64>(), values.len() as f64)),
        _ => None,
    };
    let pairs: Option<Vec<(f64, f64)>> = cycles.iter().map(pair).collect();
    Pairs::of(pairs?).interval()
}
