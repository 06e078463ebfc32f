//! The energy of prefill and of decode, of the whole run, by every estimator that applies.
//!
//! `windows` are the cycles' own (the power samples within each phase); `looped` and `slope`
//! come from extra rounds after the cycles. One is chosen, the others are compared with it.

mod clocks;
mod looped;
pub mod slope;

use lem_record::{How, Interval};

use super::CycleAnalysis;
use super::data::{RoundsData, RunData};
use super::energy::{Context, rest};
use super::sheet::{Obtained, Reading, Sheet};
use super::statistics;
use super::throughput::Counts;
use crate::config::PhaseMethod;

/// Two estimators that differ by more than this contradict each other.
pub const DISAGREE: f64 = 0.03;

/// What one estimator gives, of a cycle.
#[derive(Clone, Debug)]
pub struct PhaseEstimate {
    pub method: PhaseMethod,
    pub prefill: Obtained,
    pub decode: Obtained,
    pub other: Obtained,
    pub prefill_corrected: Obtained,
    pub decode_corrected: Obtained,
    pub other_corrected: Obtained,
    /// What is to be known of it.
    pub note: Option<String>,
}

impl PhaseEstimate {
    fn absent(method: PhaseMethod, why: &str) -> Self {
        let absent = || Err(why.to_owned());
        Self {
            method,
            prefill: absent(),
            decode: absent(),
            other: absent(),
            prefill_corrected: absent(),
            decode_corrected: absent(),
            other_corrected: absent(),
            note: None,
        }
    }

    /// Whether it tells both phases.
    pub fn applies(&self) -> bool {
        self.prefill.is_ok() && self.decode.is_ok()
    }

    /// The cycles' own, folded.
    fn windows(run: &Sheet) -> Self {
        Self {
            method: PhaseMethod::Windows,
            prefill: run.reading("energy.prefill"),
            decode: run.reading("energy.decode"),
            other: run.reading("energy.other"),
            prefill_corrected: run.reading("energy.prefill_corrected"),
            decode_corrected: run.reading("energy.decode_corrected"),
            other_corrected: run.reading("energy.other_corrected"),
            note: None,
        }
    }
}

/// Every estimate of a run, and which of them the run's numbers are.
#[derive(Clone, Debug, Default)]
pub struct PhaseEstimates {
    pub estimates: Vec<PhaseEstimate>,
    /// Its place among them.
    pub chosen: Option<usize>,
    /// Why there is none.
    pub reason: Option<String>,
}

/// How far another estimator is from the chosen one.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub method: PhaseMethod,
    pub phase: &'static str,
    /// (other − chosen) / chosen.
    pub relative: f64,
    /// What the statistical uncertainties of both allow: U = 2u, relative.
    pub allowed: f64,
}

impl PhaseEstimates {
    pub fn chosen(&self) -> Option<&PhaseEstimate> {
        self.estimates.get(self.chosen?)
    }

    /// Of every other estimator that applies, both phases.
    pub fn differences(&self) -> Vec<Difference> {
        let Some(chosen) = self.chosen() else {
            return Vec::new();
        };
        let others = self
            .estimates
            .iter()
            .filter(|e| e.method != chosen.method && e.applies());
        let phases = |other: &PhaseEstimate| {
            [
                difference(other.method, "prefill", &chosen.prefill, &other.prefill),
                difference(other.method, "decode", &chosen.decode, &other.decode),
            ]
        };
        others.flat_map(phases).flatten().collect()
    }
}

fn difference(
    method: PhaseMethod,
    phase: &'static str,
    chosen: &Obtained,
    other: &Obtained,
) -> Option<Difference> {
    let (chosen, other) = (chosen.as_ref().ok()?, other.as_ref().ok()?);
    let u = |r: &Reading| r.budget.map_or(0.0, |b| b.statistical.hypot(b.shared));
    let relative = (other.value - chosen.value) / chosen.value;
    let allowed = 2.0 * u(chosen).hypot(u(other)) / chosen.value.abs();
    (relative.is_finite() && allowed.is_finite()).then_some(Difference {
        method,
        phase,
        relative,
        allowed,
    })
}

/// The method that the configuration asks for.
fn asked(data: &RunData) -> PhaseMethod {
    let name = data.config_str("/measurement/phase_method");
    let all = [
        PhaseMethod::Windows,
        PhaseMethod::Looped,
        PhaseMethod::Slope,
    ];
    all.into_iter()
        .find(|method| name == Some(method.as_str()))
        .unwrap_or_default()
}

/// Estimates, chooses, and puts what was chosen into the run's sheet.
pub fn put(context: &Context<'_>, cycles: &[CycleAnalysis], run: &mut Sheet) -> PhaseEstimates {
    let of = |method: PhaseMethod| -> Vec<&RoundsData> {
        let rounds = &context.data.rounds;
        let is = |r: &&RoundsData| r.record.method == method.as_str();
        rounds.iter().filter(is).collect()
    };
    let (looped, sloped) = (of(PhaseMethod::Looped), of(PhaseMethod::Slope));
    let mut estimates = vec![PhaseEstimate::windows(run)];
    let means = Means::of(cycles, run);
    let made = |why: String, method: PhaseMethod| PhaseEstimate::absent(method, &why);
    if !looped.is_empty() {
        let estimate = means
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|means| looped::estimate(context, means, &looped));
        estimates.push(estimate.unwrap_or_else(|why| made(why, PhaseMethod::Looped)));
    }
    if !sloped.is_empty() {
        let estimate = means
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|means| slope::estimate(context, means, &sloped));
        estimates.push(estimate.unwrap_or_else(|why| made(why, PhaseMethod::Slope)));
    }
    let asked = asked(context.data);
    let found = match asked {
        PhaseMethod::Auto => estimates.iter().position(PhaseEstimate::applies),
        method => estimates
            .iter()
            .position(|e| e.method == method && e.applies()),
    };
    let reason = match found {
        Some(_) => None,
        None => Some(why_none(asked, &estimates)),
    };
    let result = PhaseEstimates {
        estimates,
        chosen: found,
        reason,
    };
    match (result.chosen(), &result.reason) {
        (Some(chosen), _) if chosen.method == PhaseMethod::Windows => {}
        (Some(chosen), _) => replace(run, chosen, means.as_ref().ok()),
        // What was asked for and is not there is not quietly something else.
        (None, Some(why)) if asked != PhaseMethod::Auto => {
            replace(run, &PhaseEstimate::absent(asked, why), None);
        }
        _ => {}
    }
    result
}

fn why_none(asked: PhaseMethod, estimates: &[PhaseEstimate]) -> String {
    let why = |e: &PhaseEstimate| {
        let why = e.prefill.as_ref().err().or(e.decode.as_ref().err())?;
        Some(why.clone())
    };
    let of_asked = estimates
        .iter()
        .filter(|e| asked == PhaseMethod::Auto || e.method == asked);
    let whys: Vec<String> = of_asked.filter_map(why).collect();
    if whys.is_empty() {
        return format!(
            "no rounds were measured for measurement.phase_method: {}",
            asked.as_str()
        );
    }
    whys.join("; ")
}

fn replace(run: &mut Sheet, estimate: &PhaseEstimate, means: Option<&Means>) {
    let over = |energy: &Obtained, seconds: Option<f64>, none: &str| -> Obtained {
        let energy = energy.clone()?;
        let by = seconds
            .filter(|s| *s > 0.0)
            .ok_or_else(|| none.to_owned())?;
        let mut mean = energy.scaled(1.0 / by);
        mean.interval = mean.interval.map(|i| Interval {
            low: i.low / by,
            high: i.high / by,
            ..i
        });
        Ok(mean)
    };
    let no_time = "the engine does not tell how long the phase lasts";
    let prefill_s = means.and_then(|m| m.prefill_s);
    let decode_s = means.and_then(|m| m.decode_s);
    run.replace("power.prefill", over(&estimate.prefill, prefill_s, no_time));
    run.replace("power.decode", over(&estimate.decode, decode_s, no_time));
    let tokens = means.map(|m| m.input_tokens);
    run.replace(
        "energy.per_input_token",
        over(&estimate.prefill, tokens, "there is no input token"),
    );
    for (id, energy) in [
        ("energy.prefill", &estimate.prefill),
        ("energy.decode", &estimate.decode),
        ("energy.other", &estimate.other),
        ("energy.prefill_corrected", &estimate.prefill_corrected),
        ("energy.decode_corrected", &estimate.decode_corrected),
        ("energy.other_corrected", &estimate.other_corrected),
    ] {
        run.replace(id, energy.clone());
    }
}

/// What a cycle is on average: what the extra rounds are set against.
pub struct Means {
    total: Reading,
    corrected: Obtained,
    seconds: f64,
    prefill_s: Option<f64>,
    decode_s: Option<f64>,
    other_s: Option<f64>,
    requests: f64,
    input_tokens: f64,
    decode_tokens: f64,
}

impl Means {
    fn of(cycles: &[CycleAnalysis], run: &Sheet) -> Result<Self, String> {
        let total = run.reading("energy.total")?;
        let complete: Vec<&Counts> = cycles
            .iter()
            .filter(|c| c.complete)
            .map(|c| &c.counts)
            .collect();
        let n = complete.len() as f64;
        if complete.iter().any(|c| c.failed > 0) {
            return Err("requests failed in the cycles: the extra rounds did other work".into());
        }
        let mean = |of: fn(&Counts) -> u64| complete.iter().map(|c| of(c) as f64).sum::<f64>() / n;
        Ok(Self {
            total,
            corrected: run.reading("energy.total_corrected"),
            seconds: run.value("run.duration").unwrap_or(f64::NAN) / n,
            prefill_s: run.value("time.prefill"),
            decode_s: run.value("time.decode"),
            other_s: run.value("time.other"),
            requests: mean(|c| c.answered),
            input_tokens: mean(|c| c.input_tokens),
            decode_tokens: mean(|c| c.decode_tokens),
        })
    }

    /// Whether rounds did the work of the cycles, as far as prefill goes.
    fn check(&self, rounds: &[&RoundsData]) -> Result<(), String> {
        for one in rounds {
            let record = &one.record;
            let by = one.rounds();
            if record.failed > 0 {
                return Err(format!(
                    "{} requests of the extra rounds failed",
                    record.failed
                ));
            }
            let same = |a: f64, b: f64| (a - b).abs() <= 0.001 * b.abs();
            if !same(record.requests as f64 / by, self.requests)
                || !same(record.input_tokens as f64 / by, self.input_tokens)
            {
                return Err("the extra rounds answered other prompts than the cycles".into());
            }
        }
        Ok(())
    }
}

/// The whole without what is known of it, with an interval made of theirs.
fn difference_of(whole: &Obtained, parts: [&Obtained; 2], method: &str) -> Obtained {
    let mut left = rest(whole, parts)?;
    let half = |r: &Obtained| {
        let interval = r.as_ref().ok()?.interval?;
        Some((interval.high - interval.low) / 2.0)
    };
    let halves: Option<f64> = [whole, parts[0]]
        .into_iter()
        .map(half)
        .try_fold(0.0f64, |sum, half| Some(sum.hypot(half?)));
    left.interval =
        halves.and_then(|half| statistics::interval(left.value - half, left.value + half));
    Ok(left.method(method))
}

/// The weaker of two.
fn weaker(a: How, b: How) -> How {
    a.max(b)
}
