//! `lem verify`: is a run as it was written, and does its result follow from its records?

use lem_delivery::{Log, Standing};
use serde_json::json;

use super::{Exit, Outcome, say, show};
use crate::cli::{Format, VerifyArgs};
use crate::results::verify::{self, Report};

pub fn verify(args: &VerifyArgs) -> Outcome {
    let mut reports: Vec<Result<Report, (String, String)>> = Vec::new();
    for run in &args.runs {
        let report = match Log::read(run) {
            Err(error) => Err(error.to_string()),
            Ok(log) => match log.standing {
                Standing::Running { .. } => Err(format!(
                    "the run in {} is still going on. Verify it when it has ended",
                    run.display()
                )),
                Standing::Ended(_) | Standing::Killed => verify::verify(run),
            },
        };
        reports.push(report.map_err(|why| (run.display().to_string(), why)));
    }
    match args.format {
        Format::Json => show(&super::json(&in_json(&reports))?),
        Format::Table => {
            for (i, report) in reports.iter().enumerate() {
                if i > 0 {
                    show("");
                }
                match report {
                    Ok(report) => show(&verify::render(report)),
                    Err((_, why)) => say(&format!("error: {why}")),
                }
            }
        }
    }
    let ok = |report: &Result<Report, _>| report.as_ref().is_ok_and(|report| report.ok);
    Ok(match reports.iter().all(ok) {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

/// One object for one run, a list for several.
fn in_json(reports: &[Result<Report, (String, String)>]) -> serde_json::Value {
    let one = |report: &Result<Report, (String, String)>| match report {
        Ok(report) => json!(report),
        Err((folder, why)) => json!({"folder": folder, "ok": false, "error": why}),
    };
    match reports {
        [only] => one(only),
        several => several.iter().map(one).collect(),
    }
}
