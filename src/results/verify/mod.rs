//! `lem verify`: does a run's folder hold what was measured, and does the result follow
//! from it?
//!
//! One pass over the log tells whether it is whole and says what the folder must hold; the
//! analysis is then made anew from the records and compared, number by number, with the
//! metrics and tables in the log, with `result.json` and with `timeseries.parquet`.
//!
//! This finds damage, slips and edits that do not hang together. It is no signature:
//! whoever rewrites every file consistently is not found out.

mod clock;
mod derived;
mod files;
mod log;
mod series;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;

use crate::analysis;
use log::Read;

/// More differences than this are counted, not told.
const MAX_TOLD: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Passed,
    /// Different, for a reason that is no fault of the run.
    Noted,
    Failed,
    /// There is nothing to check, or no way.
    Skipped,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable, for scripts: `log`, `seal`, `clock`, `artifacts`, `metrics`, `result`, `series`.
    pub check: &'static str,
    pub verdict: Verdict,
    /// A sentence.
    pub detail: String,
    /// One by one what is wrong or different, with the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<String>,
}

impl Check {
    fn passed(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Passed,
            detail: detail.into(),
            found: Vec::new(),
        }
    }

    fn skipped(check: &'static str, detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Skipped,
            ..Self::passed(check, detail)
        }
    }

    fn failed(check: &'static str, detail: impl Into<String>, found: Vec<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            found: few(found),
            ..Self::passed(check, detail)
        }
    }

    fn noted(check: &'static str, detail: impl Into<String>, found: Vec<String>) -> Self {
        Self {
            verdict: Verdict::Noted,
            ..Self::failed(check, detail, found)
        }
    }
}

/// The first of them, and how many more there are.
fn few(mut found: Vec<String>) -> Vec<String> {
    let more = found.len().saturating_sub(MAX_TOLD);
    if more > 0 {
        found.truncate(MAX_TOLD);
        found.push(format!("… and {more} more"));
    }
    found
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub run: String,
    pub folder: String,
    /// No check failed.
    pub ok: bool,
    /// Version of this lem's formulas.
    pub analysis: u32,
    /// Version of the formulas that wrote the result.
    pub recorded_analysis: Option<u32>,
    pub checks: Vec<Check>,
}

/// Checks a run that has ended. `Err` says why there is nothing to check.
pub fn verify(folder: &Path) -> Result<Report, String> {
    let read = Read::of(folder)?;
    let mut checks = vec![
        log::whole(&read),
        log::seal(folder, &read),
        clock::check(&read),
    ];
    let artifacts = files::artifacts(folder, &read);
    checks.push(artifacts.check);
    if is_sweep(&read) {
        let why =
            "this is a sweep: its numbers are those of its points, each to be verified itself";
        checks.extend(["metrics", "result"].map(|check| Check::skipped(check, why)));
    } else if read.end.is_some() {
        let analysis = analysis::analyse(&read.data);
        checks.push(derived::metrics(&read, &analysis));
        checks.push(derived::result(folder, &read, &analysis));
    } else {
        let why = "the log does not say how the run ended, so nothing was derived from it yet";
        checks.extend(["metrics", "result"].map(|check| Check::skipped(check, why)));
    }
    checks.push(series::check(folder, &read, artifacts.series_is_as_written));
    Ok(Report {
        run: read.data.run_id.clone(),
        folder: folder.display().to_string(),
        ok: checks.iter().all(|c| c.verdict != Verdict::Failed),
        analysis: analysis::VERSION,
        recorded_analysis: read.end.as_ref().map(|end| end.analysis),
        checks,
    })
}

fn is_sweep(read: &Read) -> bool {
    let started = read.data.started.as_ref();
    started
        .and_then(|s| s.tags.get(crate::sweep::KIND))
        .is_some_and(|kind| kind == crate::sweep::SWEEP)
}

/// For a person.
pub fn render(report: &Report) -> String {
    let mut lines = Vec::new();
    for check in &report.checks {
        let sign = match check.verdict {
            Verdict::Passed => "ok     ",
            Verdict::Noted => "note   ",
            Verdict::Failed => "FAILED ",
            Verdict::Skipped => "skipped",
        };
        lines.push(format!("{sign}  {:<9}  {}", check.check, check.detail));
        lines.extend(
            check
                .found
                .iter()
                .map(|f| format!("                      {f}")),
        );
    }
    lines.push(String::new());
    lines.push(match report.ok {
        true => format!(
            "{} is whole, and its result follows from its records",
            report.run
        ),
        false => format!(
            "{} is not as it was written, or its result does not follow from its records",
            report.run
        ),
    });
    lines.join("\n")
}
