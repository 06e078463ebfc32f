//! The text on top of a run's page: its headline numbers and what to know of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use lem_record::{Metric, MetricValue, RunFinished, RunStarted, Warning, catalogue};
use serde::{Deserialize, Serialize};

/// The metrics that are told, in order.
const HEADLINES: &[&str] = &[
    "energy.total",
    "energy.total_corrected",
    "energy.prefill",
    "energy.decode",
    "energy.per_output_token",
    "energy.per_request",
    "efficiency.tokens_per_joule",
    "power.mean",
    "time.prefill",
    "time.decode",
    "throughput.prefill",
    "throughput.decode",
    "latency.ttft",
    "latency.itl",
    "latency.e2e",
    "flops.mfu",
    "carbon.emissions",
    "quality.perplexity",
];

const MOST_WARNINGS: usize = 10;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    name: String,
    producer: String,
    /// The user's own text.
    user: Option<String>,
    /// By headline and key: the cells of its row.
    rows: BTreeMap<usize, BTreeMap<String, [String; 3]>>,
    warnings: Vec<String>,
    status: Option<String>,
}

impl Note {
    pub(super) fn start(&mut self, started: &RunStarted) {
        self.name = short(&started.name, 200);
        self.producer = short(&started.producer, 60);
        let user = started
            .config
            .get("notes")
            .and_then(serde_json::Value::as_str);
        self.user = user.map(|text| text.chars().take(3000).collect());
    }

    /// `points` are the keys and values that the metric is sent as.
    pub(super) fn measure(&mut self, metric: &Metric, points: &[(String, f64)]) {
        let Some(place) = HEADLINES.iter().position(|id| *id == metric.id) else {
            return;
        };
        // `J/{token}` is for machines
        let unit = catalogue::find(&metric.id).map_or("", |def| def.unit);
        let unit = unit.replace(['{', '}'], "").replace('_', " ");
        let unit = if unit == "1" { "" } else { &unit };
        let shown = match metric.value {
            MetricValue::Histogram(_) => points.iter().step_by(3).take(2),
            _ => points.iter().step_by(1).take(1),
        };
        let mut spread = match (metric.interval, metric.uncertainty) {
            (Some(i), _) => {
                let percent = (i.level * 1000.0).round() / 10.0;
                format!("{} to {} ({percent} %)", number(i.low), number(i.high))
            }
            (None, Some(u)) => format!("± {} (k = {})", number(u.expanded), u.k),
            (None, None) => String::new(),
        };
        let rows = self.rows.entry(place).or_default();
        for (key, value) in shown.take(16usize.saturating_sub(rows.len())) {
            let cells = [
                format!("{} {unit}", number(*value)).trim_end().to_owned(),
                std::mem::take(&mut spread),
                metric.how.as_str().to_owned(),
            ];
            rows.insert(key.clone(), cells);
        }
    }

    pub(super) fn warn(&mut self, warning: &Warning) {
        let text = format!(
            "{} {} (`{}`)",
            sentence(&short(&warning.message, 300)),
            sentence(&short(&warning.remedy, 200)),
            short(&warning.code, 60)
        );
        if self.warnings.len() <= MOST_WARNINGS && !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    pub(super) fn finish(&mut self, finished: &RunFinished) {
        let reason = finished
            .reason
            .as_ref()
            .map(|reason| format!(": {}", short(reason, 300)));
        self.status = Some(format!(
            "{}{}",
            finished.status.as_str(),
            reason.unwrap_or_default()
        ));
    }

    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        if let Some(user) = &self.user {
            let _ = writeln!(text, "{user}\n");
        }
        let status = self.status.as_deref().unwrap_or("running");
        let _ = writeln!(
            text,
            "**{}**, measured by {}: {status}.",
            self.name, self.producer
        );
        if !self.rows.is_empty() {
            text.push_str("\n| metric | value | interval | how |\n|---|---|---|---|\n");
            for (key, [value, spread, how]) in self.rows.values().flatten() {
                let _ = writeln!(text, "| {key} | {value} | {spread} | {how} |");
            }
        }
        if !self.warnings.is_empty() {
            text.push_str("\nWarnings\n\n");
            for warning in self.warnings.iter().take(MOST_WARNINGS) {
                let _ = writeln!(text, "- {warning}");
            }
            if self.warnings.len() > MOST_WARNINGS {
                text.push_str("- and more: see the result artifact\n");
            }
        }
        text
    }
}

/// Four significant digits: what the uncertainty of any power sensor leaves over.
fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor();
    if !(-5.0..9.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let decimals = (3.0 - magnitude).clamp(0.0, 9.0) as usize;
    format!("{value:.decimals$}")
}

/// One line, without what Markdown would take for structure.
fn short(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain = line.chars().map(|c| {
        if matches!(c, '|' | '`' | '<' | '>') {
            ' '
        } else {
            c
        }
    });
    plain.take(most).collect()
}

fn sentence(text: &str) -> String {
    match text.ends_with(['.', '!', '?']) || text.is_empty() {
        true => text.to_owned(),
        false => format!("{text}."),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_has_four_digits() {
        let cases = [
            (12.3456, "12.35"),
            (0.00012345, "0.0001234"),
            (98765.4, "98765"),
            (0.0, "0"),
        ];
        for (value, shown) in cases {
            assert_eq!(number(value), shown);
        }
        assert_eq!(number(1.5e12), "1.500e12");
    }
}
