//! Prefill by a loop of prefills: e_p = ΔE/N, and decode by subtraction.
//!
//! A round is the requests of a cycle with a single token each, so that ΔE over the rounds is
//! the energy of a cycle's prefills, whatever the sensor resolves. The two sensors' gain is one
//! and cancels in none of this: it scales prefill, decode and their sum alike. What a round
//! spends outside prefill is given its share of the time, and all of it is doubted.
//!
//! Prefill without end runs into the board's limit of power, which a single prefill is over
//! before it bites. So the rounds rest, some for longer and some for shorter, and a prefill is
//! what is left of a round's energy where the line through them has no rest.

use super::clocks;
use super::slope::fit;
use super::{Means, PhaseEstimate, difference_of, weaker};
use crate::analysis::data::{RoundsData, Window};
use crate::analysis::energy::{Context, gross, marginal};
use crate::analysis::estimate::update_s;
use crate::analysis::phases::UPDATES_TO_RESOLVE;
use crate::analysis::sheet::{Obtained, Reading};
use crate::analysis::statistics;
use crate::analysis::uncertainty::Budget;
use crate::config::PhaseMethod;

const PREFILL: &str = "looped: rounds of prefill alone, energy over their number";
const RESTED: &str =
    "looped: rounds of prefill alone with rests between, energy of a round without its rest";
const DECODE: &str = "looped: total minus prefill and other";
const OTHER: &str = "looped: mean power times the time that is neither prefill nor decode";

pub fn estimate(
    context: &Context<'_>,
    means: &Means,
    rounds: &[&RoundsData],
) -> Result<PhaseEstimate, String> {
    means.check(rounds)?;
    let of = |energy: fn(&Context<'_>, Window) -> Obtained, total: &Obtained| {
        let prefill = prefill(context, rounds, energy);
        let other = other(means, total);
        let decode = difference_of(total, [&prefill, &other], DECODE);
        (prefill, decode, other)
    };
    let (prefill, decode, other) = of(gross, &Ok(means.total.clone()));
    let (prefill_corrected, decode_corrected, other_corrected) = of(marginal, &means.corrected);
    Ok(PhaseEstimate {
        method: PhaseMethod::Looped,
        prefill,
        decode,
        other,
        prefill_corrected,
        decode_corrected,
        other_corrected,
        note: clocks::note(context.data, rounds),
    })
}

fn prefill(
    context: &Context<'_>,
    rounds: &[&RoundsData],
    energy: fn(&Context<'_>, Window) -> Obtained,
) -> Obtained {
    if rounds.iter().any(|one| one.record.rest_ns.is_some()) {
        return rested(context, rounds, energy);
    }
    let mut sum: Option<Reading> = None;
    let mut number = 0.0;
    let (mut phased_ns, mut all_ns) = (Some(0), 0);
    for one in rounds {
        let part = energy(context, one.window)?;
        number += one.rounds();
        all_ns += one.window.len_ns();
        phased_ns = phased_ns.zip(one.record.prefill_ns).map(|(a, b)| a + b);
        sum = Some(match sum {
            None => part,
            Some(known) => Reading {
                value: known.value + part.value,
                how: weaker(known.how, part.how),
                budget: known.budget.zip(part.budget).map(|(a, b)| a.plus(b)),
                ..known
            },
        });
    }
    let sum = sum.ok_or("no rounds were measured")?;
    let share = share(phased_ns, all_ns);
    let mut one = sum.scaled(share / number);
    let scatter = scatter(context, rounds);
    let doubt = doubt(one.value, share);
    one.budget = one.budget.map(|b| Budget {
        // The same for every cycle.
        shared: b
            .statistical
            .max(scatter.unwrap_or(0.0))
            .hypot(b.shared)
            .hypot(doubt),
        statistical: 0.0,
        ..b
    });
    one.interval = scatter.and_then(|se| {
        let t = statistics::t_quantile(number as usize - 1)?;
        statistics::interval(one.value - t * se, one.value + t * se)
    });
    Ok(one.method(PREFILL))
}

/// Without phases from the engine all of a round is prefill.
fn share(phased_ns: Option<u64>, all_ns: u64) -> f64 {
    phased_ns.map_or(1.0, |ns| (ns as f64 / all_ns as f64).clamp(0.0, 1.0))
}

/// What is not prefill may have had any part of what it was given: rectangular.
fn doubt(joules: f64, share: f64) -> f64 {
    joules.abs() * (1.0 - share) / 3f64.sqrt()
}

/// E = a + P·rest: the power of a rest is found with it, and needs no idle baseline.
fn rested(
    context: &Context<'_>,
    rounds: &[&RoundsData],
    energy: fn(&Context<'_>, Window) -> Obtained,
) -> Obtained {
    let fitted = fit(context, rounds, &|one| one.rest_s(), energy)?;
    let phased = rounds.iter().map(|one| one.record.prefill_ns).sum();
    let share = share(phased, rounds.iter().map(|one| one.busy_ns()).sum());
    let value = fitted.line.intercept * share;
    let mut one = fitted.reading(value, fitted.line.u_intercept * share);
    let doubt = doubt(value, share);
    one.budget = one.budget.map(|b| Budget {
        shared: b.shared.hypot(doubt),
        ..b
    });
    Ok(one.method(RESTED))
}

/// Standard error of a round's mean energy from how single rounds scatter, where power samples
/// resolve them.
fn scatter(context: &Context<'_>, rounds: &[&RoundsData]) -> Option<f64> {
    let mut each = Vec::new();
    for one in rounds {
        let mut start = one.window.start_ns;
        for end in &one.record.round_ends_ns {
            let window = Window::new(start, *end);
            start = *end;
            let mut joules = 0.0;
            for index in &context.boundary.total {
                let curve = context.sensors.get(*index)?.power.as_ref()?;
                if window.seconds() < UPDATES_TO_RESOLVE * update_s(curve, one.window) {
                    return None;
                }
                joules += curve
                    .curve
                    .between(crate::analysis::estimate::seen(curve, window));
            }
            each.push(joules);
        }
    }
    (each.len() >= 3).then_some(())?;
    Some(statistics::stddev(&each)? / (each.len() as f64).sqrt())
}

fn other(means: &Means, total: &Obtained) -> Obtained {
    let total = total.clone()?;
    // An engine that tells no phases: what is neither is in decode.
    let share = means.other_s.map_or(0.0, |s| s / means.seconds);
    let mut other = total.scaled(share);
    other.interval = None;
    let doubt = other.value / 3f64.sqrt();
    other.budget = other.budget.map(|b| Budget {
        shared: b.shared.hypot(doubt),
        ..b
    });
    Ok(other.method(OTHER))
}
