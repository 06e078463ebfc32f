//! The sweep in words: a line a visit, a table at the end.

use serde_json::Value;

use super::points::{PointReport, Report};
use crate::command::table;
use crate::results::figures::figure;
use crate::sweep::plan::Plan;
use crate::sweep::quantity::{Estimate, QUANTITIES, row};
use crate::sweep::state::PointState;
use crate::sweep::vary::plain;

/// These many columns of numbers fit beside the parameters.
const SHOWN: usize = 4;

/// `1.234 ± 0.012`
pub fn estimate(estimate: Option<&Estimate>) -> String {
    match estimate {
        None => "–".to_owned(),
        Some(e) => match e.half_width() {
            None => figure(e.value),
            Some(half) => format!("{} ± {}", figure(e.value), short(half)),
        },
    }
}

/// Two significant figures are enough for a spread.
fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    let decimals = (1.0 - rounded.abs().log10().floor()).clamp(0.0, 8.0) as usize;
    match rounded == 0.0 {
        true => "0".to_owned(),
        false => format!("{rounded:.decimals$}"),
    }
}

/// What is planned, before it is measured.
pub fn plan(plan: &Plan) -> String {
    let keys = plan.parameters();
    let mut header = vec!["Point"];
    header.extend(names(&keys));
    if plan.bases.len() > 1 {
        header.push("Configuration");
    }
    header.push("Cycles");
    let mut out = table(&header);
    for point in &plan.points {
        let mut cells = vec![point.index.to_string()];
        cells.extend(keys.iter().map(|key| cell(point.parameters.get(*key))));
        if let Some(base) = plan
            .bases
            .get(point.config)
            .filter(|_| plan.bases.len() > 1)
        {
            cells.push(base.file.clone());
        }
        cells.push(point.cycles.to_string());
        out.add_row(cells);
    }
    format!("{out}\n{}", summary(plan))
}

/// The last part of each key where that tells it from the others.
fn names<'a>(keys: &[&'a str]) -> Vec<&'a str> {
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let name = |key: &&'a str| {
        let alike = keys.iter().filter(|other| last(other) == last(key)).count();
        match alike {
            1 => last(key),
            _ => *key,
        }
    };
    keys.iter().map(name).collect()
}

/// In one line.
pub fn summary(plan: &Plan) -> String {
    let order = serde_json::to_value(plan.order).unwrap_or_default();
    let loads = plan.loads();
    format!(
        "Sweep {}: {}, {}, order {} (seed {}), {}",
        plan.sweep_id,
        counted(plan.points.len(), "point"),
        counted(plan.visits.len(), "cycle"),
        plain(&order),
        plan.seed,
        match loads {
            1 => "the model is loaded once".to_owned(),
            n => format!("a model is loaded {n} times"),
        }
    )
}

pub fn counted(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

fn cell(value: Option<&Value>) -> String {
    value.map_or_else(String::new, plain)
}

pub fn report(plan: &Plan, report: &Report) -> String {
    let keys = plan.parameters();
    let several = plan.bases.len() > 1;
    let mut shown: Vec<&str> = QUANTITIES.iter().take(SHOWN).map(|row| row.id).collect();
    if !shown.contains(&report.best_in.as_str()) {
        shown.push(&report.best_in);
    }
    let titles: Vec<String> = shown
        .iter()
        .filter_map(|id| row(id).ok())
        .map(|row| format!("{} ({})", row.title, row.unit))
        .collect();
    let mut header = vec!["Point"];
    header.extend(names(&keys));
    if several {
        header.push("Configuration");
    }
    header.push("Cycles");
    header.extend(titles.iter().map(String::as_str));
    header.push("");
    let mut out = table(&header);
    for point in &report.points {
        let mut cells = vec![point.index.to_string()];
        cells.extend(keys.iter().map(|key| cell(point.parameters.get(*key))));
        if several {
            cells.push(point.config.clone());
        }
        cells.push(cycles(point));
        cells.extend(shown.iter().map(|id| estimate(point.numbers.get(id))));
        cells.push(marks(point));
        out.add_row(cells);
    }
    let mut text = out.to_string();
    text.push('\n');
    for line in notes(report) {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

fn cycles(point: &PointReport) -> String {
    let (done, planned) = (point.state.cycles(), point.planned_cycles);
    // More than planned where `measurement.until` asked for them.
    match done >= planned {
        true => done.to_string(),
        false => format!("{done} of {planned}"),
    }
}

fn marks(point: &PointReport) -> String {
    let state = match &point.state {
        PointState::Failed { .. } => Some("failed"),
        PointState::Missing | PointState::Going { .. } => Some("not finished"),
        PointState::Done { .. } if point.stopped.is_some() => Some("stopped early"),
        PointState::Done { .. } => None,
    };
    let marks = [
        point.best.then_some("best"),
        point.on_front.then_some("Pareto"),
        state,
    ];
    let marks: Vec<&str> = marks.into_iter().flatten().collect();
    marks.join(", ")
}

fn notes(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(best) = report.points.iter().find(|point| point.best)
        && let Ok(row) = row(&report.best_in)
    {
        let parameters = parameters(best);
        lines.push(format!(
            "Best in {}: point {} ({parameters}) with {} {}",
            row.id,
            best.index,
            estimate(best.numbers.get(row.id)),
            row.unit
        ));
    }
    if report.points.iter().any(|point| point.on_front) {
        lines.push(
            "Pareto: no other point has more throughput for as little energy a token. ± is half of the 95 % interval over the cycles".to_owned(),
        );
    }
    for point in &report.points {
        if let PointState::Failed { reason, .. } = &point.state {
            lines.push(format!("Point {} failed: {reason}", point.index));
        }
        if let Some(why) = &point.stopped {
            lines.push(format!("Point {}: {why}", point.index));
        }
    }
    lines.push(format!("Everything is in {}", report.sweep_dir));
    lines
}

pub fn parameters(point: &PointReport) -> String {
    match point.parameters.is_empty() {
        true => point.config.clone(),
        false => {
            let settings = point.parameters.iter();
            crate::sweep::vary::told(&settings.map(|(k, v)| (k.clone(), v.clone())).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_short_where_that_is_clear() {
        let keys = ["batching.batch_size", "vllm.seed", "prompts.seed"];
        assert_eq!(names(&keys), ["batch_size", "vllm.seed", "prompts.seed"]);
    }

    #[test]
    fn a_spread_has_two_figures() {
        for (value, told) in [
            (0.0, "0"),
            (0.01234, "0.012"),
            (1.26, "1.3"),
            (123.4, "120"),
            (9.96, "10"),
        ] {
            assert_eq!(short(value), told);
        }
        let e = Estimate {
            value: 12.345,
            low: Some(12.0),
            high: Some(12.6),
        };
        assert_eq!(estimate(Some(&e)), "12.35 ± 0.30");
        assert_eq!(estimate(None), "–");
    }
}
