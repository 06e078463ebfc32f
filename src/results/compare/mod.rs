//! Runs against each other: what was set differently, and what came of it.
//!
//! The first run is the reference. The unit of replication is the cycle: a ratio is that
//! of the means over the finished cycles of each run.

mod boards;
mod cautions;
mod differences;
mod ratio;
mod show;

#[cfg(test)]
mod tests;

use lem_record::Interval;
use serde::Serialize;
use serde_json::Value;

pub use boards::Gain;
pub use differences::Difference;
pub use show::{metrics_grid, parameters_grid, render};

use super::RunResult;
use super::fields::{self, Metric, Shape};

/// Verdicts that are false among those that are given, at most, in the long run.
const FALSE_DISCOVERIES: f64 = 0.05;
/// Fewer cycles show little.
pub const FEW_CYCLES: u32 = 3;

/// What the numbers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Lower,
    Higher,
    NoDifferenceShown,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Higher => "higher",
            Self::NoDifferenceShown => "no difference shown",
        }
    }
}

/// One run over the reference, of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Compared {
    pub ratio: Option<f64>,
    /// 95 %.
    pub interval: Option<Interval>,
    pub p: Option<f64>,
    /// Of all metrics and runs of this comparison together.
    pub p_adjusted: Option<f64>,
    pub verdict: Option<Verdict>,
    /// Why there is no verdict.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRow {
    pub metric: String,
    pub path: String,
    pub unit: &'static str,
    /// One a run: the mean over its finished cycles.
    pub values: Vec<Option<f64>>,
    /// One a run but the first.
    pub compared: Vec<Compared>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Head {
    /// `A`, `B`, …
    pub letter: String,
    pub run_id: String,
    pub name: String,
    pub cycles: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub runs: Vec<Head>,
    /// Of the configuration.
    pub parameters: Vec<Difference>,
    /// Of the machine, the engine and lem.
    pub surroundings: Vec<Difference>,
    pub metrics: Vec<MetricRow>,
    pub warnings: Vec<String>,
    /// How the ratios are made.
    pub method: Vec<String>,
}

/// Compares two runs or more; the first is the reference.
pub fn compare(results: &[RunResult]) -> Result<Comparison, String> {
    let values: Vec<Value> = results
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("a result cannot be compared: {error}"))?;
    let (Some(first), Some(reference)) = (results.first(), values.first()) else {
        return Err("there is nothing to compare".into());
    };
    let gains: Vec<Gain> = results
        .iter()
        .skip(1)
        .map(|other| boards::gain(first, other))
        .collect();
    let all: Vec<&Value> = values.iter().collect();
    let mut metrics: Vec<MetricRow> = fields::metrics(&all)
        .into_iter()
        .map(|metric| {
            let of_reference = cycles(reference, &metric);
            let others = values.iter().skip(1).zip(&gains);
            let compared =
                others.map(|(other, gain)| one(&metric, (reference, &of_reference), other, *gain));
            MetricRow {
                compared: compared.collect(),
                values: values.iter().map(|value| mean_of(value, &metric)).collect(),
                metric: metric.title,
                path: metric.path,
                unit: metric.unit,
            }
        })
        .collect();
    judge(&mut metrics);
    let method = vec![
        "Values are means over the finished cycles of a run; a ratio is that of the means, and its 95 % interval Fieller's with the degrees of freedom of Welch and Satterthwaite.".to_owned(),
        told(&gains),
        "A verdict is given where the interval excludes 1 and the p of Welch's test is at most 5 % after the correction of Benjamini and Hochberg for all metrics and runs of this comparison.".to_owned(),
    ];
    Ok(Comparison {
        runs: results.iter().enumerate().map(head).collect(),
        parameters: differences::parameters(results),
        surroundings: differences::surroundings(results),
        metrics,
        warnings: cautions::of(results),
        method,
    })
}

fn told(gains: &[Gain]) -> String {
    let cancels = gains.iter().filter(|g| **g == Gain::Cancels).count();
    let which = if cancels == gains.len() {
        "the runs were measured by the same sensors: their gain cancels in the ratios."
    } else if cancels == 0 {
        "the runs were measured by different sensors, or do not tell by which: the gain of both is in the intervals (k = 2)."
    } else {
        "runs that were measured by the sensors of the first have a ratio in which their gain cancels; for the others the gain of both is in the interval (k = 2)."
    };
    format!("Energies: {which}")
}

fn head((index, result): (usize, &RunResult)) -> Head {
    let letter = u8::try_from(index)
        .ok()
        .and_then(|i| b'A'.checked_add(i))
        .filter(u8::is_ascii_uppercase);
    Head {
        letter: letter.map_or_else(
            || format!("run {}", index + 1),
            |l| char::from(l).to_string(),
        ),
        run_id: result.run_id.clone(),
        name: result.name.clone(),
        cycles: result.num_cycles,
    }
}

/// A metric's values of the finished cycles.
fn cycles(result: &Value, metric: &Metric) -> Vec<f64> {
    let all = result
        .get("cycles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let complete = all.filter(|cycle| cycle.get("complete").and_then(Value::as_bool) == Some(true));
    complete
        .filter_map(|cycle| fields::number(cycle, metric))
        .collect()
}

fn mean_of(result: &Value, metric: &Metric) -> Option<f64> {
    let values = cycles(result, metric);
    crate::analysis::statistics::mean(&values).or_else(|| fields::number(result, metric))
}

/// Whether a metric is made of what sensors of power read.
fn of_power(metric: &Metric) -> bool {
    metric.shape == Shape::Quantity
        && (metric.unit.contains('J')
            || metric.unit.starts_with('W')
            || metric.path.starts_with("carbon.emissions")
            || metric.path.starts_with("cost."))
}

fn one(metric: &Metric, (a, of_a): (&Value, &[f64]), b: &Value, gain: Gain) -> Compared {
    let without = |reason: &str| Compared {
        reason: Some(reason.to_owned()),
        ..Compared::default()
    };
    let of_b = cycles(b, metric);
    if of_a.is_empty() || of_b.is_empty() {
        let both = mean_of(a, metric).zip(mean_of(b, metric));
        let ratio = both
            .filter(|(a, _)| *a > 0.0)
            .map(|(a, b)| b / a)
            .filter(|r| r.is_finite());
        let reason = if both.is_some() {
            "one value a run"
        } else {
            "absent in one of them"
        };
        return Compared {
            ratio,
            ..without(reason)
        };
    }
    if crate::analysis::statistics::mean(of_a).is_some_and(|mean| mean <= 0.0) {
        return without("the reference is not above 0");
    }
    let node = |of: &Value, pointer: &str| {
        fields::at(of, &metric.path)
            .and_then(|n| n.pointer(pointer))
            .cloned()
    };
    let how = |of: &Value| node(of, "/how");
    let mut relative = Some(0.0);
    if of_power(metric) && gain == Gain::Counts {
        let of = |of: &Value| {
            let u = node(of, "/uncertainty/systematic")?.as_f64()?;
            let value = node(of, "/value")?.as_f64()?;
            (value != 0.0).then(|| u / value.abs())
        };
        relative = of(a).zip(of(b)).map(|(a, b)| a.hypot(b));
    }
    let Some(ratio) = ratio::ratio(of_a, &of_b, relative.unwrap_or(0.0)) else {
        return without("there is no ratio to 0");
    };
    let compared = Compared {
        ratio: Some(ratio.value),
        interval: ratio.interval,
        p: ratio.p,
        ..Compared::default()
    };
    let boundary = |of: &Value| of.pointer("/producer/energy_boundary").cloned();
    let reason = if of_power(metric) && how(a) != how(b) {
        Some("one is measured, the other modelled")
    } else if of_power(metric) && boundary(a) != boundary(b) {
        Some("the energies are not of the same parts of the machine")
    } else if relative.is_none() {
        Some("the gain of a sensor is not known")
    } else if ratio.interval.is_none() && (of_a.len() < 2 || of_b.len() < 2) {
        Some("a single cycle has no interval")
    } else if ratio.interval.is_none() {
        Some("the reference cannot be told from 0")
    } else {
        None
    };
    Compared {
        p: compared.p.filter(|_| reason.is_none()),
        reason: reason.map(str::to_owned),
        ..compared
    }
}

/// Corrects for the number of comparisons, and gives the verdicts.
fn judge(metrics: &mut [MetricRow]) {
    let tested = || metrics.iter().flat_map(|m| &m.compared).filter_map(|c| c.p);
    let mut adjusted = ratio::adjusted(&tested().collect::<Vec<f64>>()).into_iter();
    for compared in metrics.iter_mut().flat_map(|m| &mut m.compared) {
        if compared.p.is_none() {
            continue;
        }
        compared.p_adjusted = adjusted.next();
        let holds = compared.p_adjusted.is_some_and(|p| p <= FALSE_DISCOVERIES);
        compared.verdict = compared.interval.map(|interval| match () {
            () if holds && interval.high < 1.0 => Verdict::Lower,
            () if holds && interval.low > 1.0 => Verdict::Higher,
            () => Verdict::NoDifferenceShown,
        });
    }
}
