//! The energy of prefill and decode under continuous batching, from the engine's own ledger of
//! its steps.
//!
//! A step that works on prompts only, or generates only, belongs to its phase whole: no model
//! is needed for it. A step that does both has one energy, and only a model can say what of it
//! was whose:
//!
//! ```text
//! E ≈ a·Δt + b·context tokens + c·generation requests
//! ```
//!
//! fitted over stretches that the power samples can tell apart, with no coefficient below 0.
//! The energy of the mixed steps is not the model's: it is read off the curve, and the model
//! only parts it. So prefill lies between that of its pure steps and that plus all mixed ones,
//! and their share is told as the bound.

use lem_record::{How, Table};
use serde_json::Value;

use super::data::{CycleData, RunData, Window};
use super::energy::{Context, gross, rest};
use super::sheet::{Obtained, Reading, Sheet};

/// Of cycle, end, elapsed and what was in the step.
pub const TABLE: &str = "engine_steps";
/// Fewer stretches than this say nothing about three coefficients.
const FEWEST: usize = 8;
/// Steps overlap where the log's stamps come late by a little: so much is let pass.
const MOST_OVERLAP: f64 = 0.05;
/// A step of an hour of 1 ms each; what is above is left out, and said.
const MOST_STEPS: usize = 4_000_000;

/// One forward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub window: Window,
    pub context_tokens: u64,
    pub generation_requests: u64,
}

impl Step {
    const fn kind(&self) -> Kind {
        match (self.context_tokens > 0, self.generation_requests > 0) {
            (true, false) => Kind::Prefill,
            (false, true) => Kind::Decode,
            (true, true) => Kind::Mixed,
            (false, false) => Kind::Empty,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Prefill,
    Decode,
    Mixed,
    Empty,
}

/// Joules a second, a context token and a generation request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    pub per_second: f64,
    pub per_context_token: f64,
    pub per_generation: f64,
}

/// What the ledger says of a cycle's energy, joules.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    pub prefill: f64,
    pub decode: f64,
    /// Of steps that did both; contained in the two above, by the model.
    pub mixed: f64,
    /// Of pure steps alone.
    pub pure_prefill: f64,
    pub pure_decode: f64,
    /// `None` where there was no mixed step, and nothing to model.
    pub fitted: Option<Fitted>,
    pub steps: [usize; 3],
}

/// Splits a cycle's energy. `energy` gives that of a window, `stretch_ns` is the shortest time
/// that the power samples tell apart.
pub fn split(
    steps: &[Step],
    cycle: Window,
    stretch_ns: u64,
    energy: impl Fn(Window) -> Result<f64, String>,
) -> Result<Split, String> {
    let mut steps: Vec<Step> = steps
        .iter()
        .filter_map(|step| {
            let window = step.window.clip(&cycle)?;
            Some(Step { window, ..*step })
        })
        .collect();
    if steps.is_empty() {
        return Err("the engine logged no step within the cycle".into());
    }
    steps.sort_by_key(|step| step.window);
    apart(&mut steps)?;
    let mut sums = [0.0; 3];
    let mut counts = [0; 3];
    for step in &steps {
        let at = match step.kind() {
            Kind::Prefill => 0,
            Kind::Decode => 1,
            Kind::Mixed => 2,
            Kind::Empty => continue,
        };
        if let (Some(sum), Some(count)) = (sums.get_mut(at), counts.get_mut(at)) {
            *sum += energy(step.window)?;
            *count += 1;
        }
    }
    let [pure_prefill, pure_decode, mixed] = sums;
    let mut result = Split {
        prefill: pure_prefill,
        decode: pure_decode,
        mixed,
        pure_prefill,
        pure_decode,
        fitted: None,
        steps: counts,
    };
    if counts[2] == 0 {
        return Ok(result);
    }
    let fitted = fit(&steps, cycle, stretch_ns, &energy)?;
    let share = mixed_share(&steps, fitted)?;
    result.prefill += mixed * share;
    result.decode += mixed * (1.0 - share);
    result.fitted = Some(fitted);
    Ok(result)
}

/// Steps of one engine follow each other; a stamp that is late by a little is put right.
fn apart(steps: &mut [Step]) -> Result<(), String> {
    let total: u64 = steps.iter().map(|step| step.window.len_ns()).sum();
    let mut overlap = 0;
    let mut before = 0;
    for step in steps {
        let start = step.window.start_ns.max(before);
        overlap += start.min(step.window.end_ns) - step.window.start_ns;
        step.window = Window::new(start, step.window.end_ns);
        before = before.max(step.window.end_ns);
    }
    if overlap as f64 > MOST_OVERLAP * total as f64 {
        return Err("the engine's steps overlap: more than one engine wrote into the log, or its stamps are not of the steps".into());
    }
    Ok(())
}

/// Prefill's part of the mixed steps, weighted by what the model says each cost.
fn mixed_share(steps: &[Step], fitted: Fitted) -> Result<f64, String> {
    let (mut prefill, mut decode) = (0.0, 0.0);
    for step in steps.iter().filter(|step| step.kind() == Kind::Mixed) {
        let own = fitted.per_context_token * step.context_tokens as f64;
        let other = fitted.per_generation * step.generation_requests as f64;
        if own + other > 0.0 {
            // The time of a step belongs to both as their work does.
            let whole = own + other + fitted.per_second * step.window.seconds();
            prefill += whole * own / (own + other);
            decode += whole * other / (own + other);
        }
    }
    if prefill + decode > 0.0 {
        Ok(prefill / (prefill + decode))
    } else {
        Err("the power samples show no cost of a context token or of a generation: mixed steps cannot be parted".into())
    }
}

/// Least squares over stretches of the cycle, each with the steps, and parts of steps, in it.
fn fit(
    steps: &[Step],
    cycle: Window,
    stretch_ns: u64,
    energy: &impl Fn(Window) -> Result<f64, String>,
) -> Result<Fitted, String> {
    let stretch = stretch_ns.max(1);
    let count = usize::try_from(cycle.len_ns() / stretch).unwrap_or(usize::MAX);
    if count < FEWEST {
        return Err(format!(
            "the cycle has {count} stretches that the power samples tell apart, too few for a model of mixed steps"
        ));
    }
    // A long cycle needs no more stretches than tell its three coefficients well.
    let stretch = stretch.max(cycle.len_ns() / 20_000);
    let mut rows: Vec<([f64; 3], f64)> = Vec::new();
    let mut first = 0;
    let mut start = cycle.start_ns;
    while start + stretch <= cycle.end_ns {
        let window = Window::new(start, start + stretch);
        while steps
            .get(first)
            .is_some_and(|step| step.window.end_ns <= start)
        {
            first += 1;
        }
        let within = steps
            .iter()
            .skip(first)
            .take_while(|step| step.window.start_ns < window.end_ns);
        let mut row = [window.seconds(), 0.0, 0.0];
        for step in within {
            if let Some(part) = step.window.clip(&window) {
                let share = part.len_ns() as f64 / step.window.len_ns().max(1) as f64;
                row[1] += share * step.context_tokens as f64;
                row[2] += share * step.generation_requests as f64;
            }
        }
        rows.push((row, energy(window)?));
        start += stretch;
    }
    let [a, b, c] = non_negative(&rows).ok_or(
        "the steps are too much alike for a model: prompts and generations always came together",
    )?;
    Ok(Fitted {
        per_second: a,
        per_context_token: b,
        per_generation: c,
    })
}

/// Least squares with no coefficient below 0: of the subsets whose solution is allowed, the one
/// that fits best. Three unknowns have seven subsets.
fn non_negative(rows: &[([f64; 3], f64)]) -> Option<[f64; 3]> {
    let mut best: Option<(f64, [f64; 3])> = None;
    for mask in 1_u8..8 {
        let used: Vec<usize> = (0..3).filter(|i| mask >> i & 1 == 1).collect();
        let Some(solution) = solve(rows, &used) else {
            // All three columns together must be told apart; fewer are only its fallback.
            if mask == 7 {
                return None;
            }
            continue;
        };
        if solution.iter().any(|x| *x < 0.0) {
            continue;
        }
        let residual: f64 = rows
            .iter()
            .map(|(row, y)| {
                let fitted: f64 = row.iter().zip(solution).map(|(x, k)| x * k).sum();
                (y - fitted).powi(2)
            })
            .sum();
        if best.is_none_or(|(known, _)| residual < known) {
            best = Some((residual, solution));
        }
    }
    best.map(|(_, solution)| solution)
}

/// Normal equations of the used columns, scaled, by elimination; `None` where they are not
/// independent.
fn solve(rows: &[([f64; 3], f64)], used: &[usize]) -> Option<[f64; 3]> {
    let column = |row: &[f64; 3], i: usize| row.get(i).copied().unwrap_or(0.0);
    let scales: Vec<f64> = used
        .iter()
        .map(|i| {
            rows.iter()
                .map(|(row, _)| column(row, *i).powi(2))
                .sum::<f64>()
                .sqrt()
        })
        .collect();
    if scales.iter().any(|s| *s <= 0.0 || !s.is_finite()) {
        return None;
    }
    let n = used.len();
    let mut m = vec![vec![0.0; n + 1]; n];
    for (row, y) in rows {
        for (i, line) in m.iter_mut().enumerate() {
            let x = column(row, *used.get(i)?) / scales.get(i)?;
            for (j, cell) in line.iter_mut().enumerate() {
                *cell += x * match used.get(j) {
                    Some(other) => column(row, *other) / scales.get(j)?,
                    None => *y,
                };
            }
        }
    }
    for i in 0..n {
        let pivot = (i..n).max_by(|a, b| m[*a][i].abs().total_cmp(&m[*b][i].abs()))?;
        m.swap(i, pivot);
        if m[i][i].abs() < 1e-9 {
            return None;
        }
        let (done, below) = m.split_at_mut(i + 1);
        let line = done.last()?;
        for other in below {
            let factor = other[i] / line[i];
            for (cell, of) in other.iter_mut().zip(line) {
                *cell -= factor * of;
            }
        }
    }
    let mut solution = [0.0; 3];
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| m[i][j] * x[j]).sum();
        x[i] = (m[i][n] - known) / m[i][i];
        *solution.get_mut(*used.get(i)?)? = x[i] / scales.get(i)?;
    }
    Some(solution)
}

/// Steps of the log's tables, by cycle. Rows that do not read are passed over.
pub fn read(table: &Table) -> Vec<(u32, Step)> {
    let rows = table.rows.iter().take(MOST_STEPS);
    rows.filter_map(|row| {
        let [
            cycle,
            end_ns,
            elapsed_ns,
            context_tokens,
            generation_requests,
        ] = row.as_slice()
        else {
            return None;
        };
        let number = Value::as_u64;
        let end_ns = number(end_ns)?;
        Some((
            u32::try_from(number(cycle)?).ok()?,
            Step {
                window: Window::new(end_ns.saturating_sub(number(elapsed_ns)?), end_ns),
                context_tokens: number(context_tokens)?,
                generation_requests: number(generation_requests)?,
            },
        ))
    })
    .collect()
}

/// Fills in a cycle's phase energies by the ledger, where the engine keeps one and nothing
/// better is there.
pub fn put(context: &Context<'_>, cycle: &CycleData, sheet: &mut Sheet) {
    let data: &RunData = context.data;
    let steps: Vec<Step> = data
        .steps
        .iter()
        .filter(|(of, _)| *of == cycle.index)
        .map(|(_, step)| *step)
        .collect();
    if steps.is_empty() || !cycle.complete || sheet.reading("energy.prefill").is_ok() {
        return;
    }
    let energy = |window: Window| gross(context, window).map(|reading| reading.value);
    let slowest = context.boundary.total.iter().filter_map(|i| {
        let sensor = context.sensors.get(*i)?;
        let curve = sensor.power.as_ref().or(sensor.counter.as_ref())?;
        Some(super::estimate::update_s(curve, cycle.window))
    });
    let stretch = slowest.fold(0.01, f64::max) * super::UPDATES_TO_RESOLVE;
    match split(&steps, cycle.window, (stretch * 1e9) as u64, energy) {
        Ok(split) => told(&split, sheet),
        Err(why) => {
            for id in ["energy.prefill", "energy.decode"] {
                sheet.replace(id, Err(why.clone()));
            }
        }
    }
}

fn told(split: &Split, sheet: &mut Sheet) {
    let [prefill, decode, mixed] = split.steps;
    let total = split.prefill + split.decode;
    let share = if total > 0.0 {
        split.mixed / total
    } else {
        0.0
    };
    let method = match split.fitted {
        None => format!(
            "the engine's ledger: {prefill} steps of prefill and {decode} of decode, none mixed"
        ),
        Some(f) => format!(
            "the engine's ledger: {prefill} steps of prefill and {decode} of decode whole, {mixed} mixed ones parted by E = {:.3} W·t + {:.4} J a context token + {:.4} J a generation; the mixed ones have {:.0} % of the energy, and by no more than that can the model be wrong",
            f.per_second,
            f.per_context_token,
            f.per_generation,
            share * 100.0
        ),
    };
    let reading = |value: f64| Ok(Reading::new(value, How::Modelled).method(method.clone()));
    let replace = |sheet: &mut Sheet, id: &'static str, reading: Obtained| {
        sheet.forget(id);
        sheet.mean(id, reading);
    };
    let prefill = reading(split.prefill);
    let decode = reading(split.decode);
    let total = sheet.reading("energy.total");
    replace(sheet, "energy.other", rest(&total, [&prefill, &decode]));
    replace(sheet, "energy.prefill", prefill);
    replace(sheet, "energy.decode", decode);
    sheet.mean(
        "engine.mixed_share",
        Ok(Reading::new(share, How::Modelled).method("energy of mixed steps over that of all")),
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const A: f64 = 80.0;
    const B: f64 = 0.05;
    const C: f64 = 0.2;

    struct Truth {
        steps: Vec<Step>,
        joules: Vec<f64>,
        cycle: Window,
    }

    impl Truth {
        /// Steps by the formula: prompts now and then, some of them beside generations.
        fn new(n: u64, mixed: bool) -> Self {
            let mut at = 1_000_000_000;
            let (mut steps, mut joules) = (Vec::new(), Vec::new());
            for i in 0..n {
                let (context, generation) = match (i % 7, mixed) {
                    (0, false) => (256 + i % 5 * 64, 0),
                    (0, true) => (256 + i % 5 * 64, 4 + i % 9),
                    (3, true) if i % 2 == 0 => (128, 0),
                    _ => (0, 8 + i % 13),
                };
                let ns = 8_000_000 + context * 20_000;
                let step = Step {
                    window: Window::new(at, at + ns),
                    context_tokens: context,
                    generation_requests: generation,
                };
                at += ns;
                joules.push(A * step.window.seconds() + B * context as f64 + C * generation as f64);
                steps.push(step);
            }
            let cycle = Window::new(1_000_000_000, at);
            Self {
                steps,
                joules,
                cycle,
            }
        }

        /// The energy of any window, with power constant within a step.
        fn energy(&self, window: Window) -> f64 {
            self.steps
                .iter()
                .zip(&self.joules)
                .filter_map(|(step, joules)| {
                    let part = step.window.clip(&window)?;
                    Some(joules * part.len_ns() as f64 / step.window.len_ns() as f64)
                })
                .sum()
        }

        fn split(&self) -> Result<Split, String> {
            split(&self.steps, self.cycle, 60_000_000, |w| Ok(self.energy(w)))
        }
    }

    #[test]
    fn pure_steps_need_no_model() {
        let truth = Truth::new(400, false);
        let split = truth.split().unwrap();
        let of = |prefill: bool| -> f64 {
            let both = truth.steps.iter().zip(&truth.joules);
            both.filter(|(s, _)| (s.context_tokens > 0) == prefill)
                .map(|(_, j)| j)
                .sum()
        };
        assert!((split.prefill / of(true) - 1.0).abs() < 1e-9);
        assert!((split.decode / of(false) - 1.0).abs() < 1e-9);
        assert_eq!((split.fitted, split.mixed), (None, 0.0));
    }

    #[test]
    fn mixed_steps_are_parted_by_what_their_work_costs() {
        let truth = Truth::new(800, true);
        let split = truth.split().unwrap();
        let fitted = split.fitted.unwrap();
        assert!((fitted.per_second / A - 1.0).abs() < 0.02, "{fitted:?}");
        assert!(
            (fitted.per_context_token / B - 1.0).abs() < 0.05,
            "{fitted:?}"
        );
        assert!((fitted.per_generation / C - 1.0).abs() < 0.10, "{fitted:?}");
        // The truth by the same rule, step by step.
        let mut prefill = split.pure_prefill;
        for (step, joules) in truth.steps.iter().zip(&truth.joules) {
            if step.kind() == Kind::Mixed {
                let (own, other) = (
                    B * step.context_tokens as f64,
                    C * step.generation_requests as f64,
                );
                prefill += joules * own / (own + other);
            }
        }
        assert!(
            (split.prefill / prefill - 1.0).abs() < 0.02,
            "{split:?}, {prefill}"
        );
        let whole: f64 = truth.joules.iter().sum();
        assert!(
            ((split.prefill + split.decode) / whole - 1.0).abs() < 1e-9,
            "nothing is lost"
        );
        assert!(split.pure_prefill <= split.prefill);
        assert!(split.prefill <= split.pure_prefill + split.mixed);
    }

    #[test]
    fn what_cannot_be_parted_says_why() {
        let truth = Truth::new(5, true);
        assert!(truth.split().unwrap_err().contains("too few"));
        let none = split(&[], truth.cycle, 1, |_| Ok(1.0));
        assert!(none.unwrap_err().contains("no step"));
        // Always the same mixture.
        let alike: Vec<Step> = (0..500)
            .map(|i| Step {
                window: Window::new(i * 10_000_000, (i + 1) * 10_000_000),
                context_tokens: 100,
                generation_requests: 5,
            })
            .collect();
        let cycle = Window::new(0, 5_000_000_000);
        let energy = |w: Window| Ok(w.seconds());
        assert!(
            split(&alike, cycle, 60_000_000, energy)
                .unwrap_err()
                .contains("alike")
        );
        // Two engines at once.
        let mut twice = truth.steps.clone();
        twice.extend(truth.steps.clone());
        let energy = |w: Window| Ok(w.seconds());
        assert!(
            split(&twice, truth.cycle, 1, energy)
                .unwrap_err()
                .contains("overlap")
        );
    }
}
