//! `lem results`: look at what was measured.

mod plot;

use std::path::Path;

use lem_delivery::{Log, Outcome as Delivered, Standing};
use lem_record::RunStatus;

use super::{Exit, Failure, Outcome, close, say, show};
use crate::analysis::{RunData, analyse};
use crate::cli::{Format, ResultsVerb};
use crate::results::{self, RunResult, store};

pub fn results(verb: &ResultsVerb) -> Outcome {
    match verb {
        ResultsVerb::Show { run, format } => {
            if let Some(sweep) = super::sweep::shown(run, *format)? {
                show(&sweep);
                return Ok(Exit::Done);
            }
            let result = look(run)?;
            show(&text(&result, *format)?);
        }
        ResultsVerb::Rebuild { run } => {
            let log = Log::read(run).map_err(|error| Failure::failed(error.to_string()))?;
            if log.standing == Standing::Killed {
                close::close_killed(run)?;
            }
            close::write_result(run, &exports_of(run))?;
            say(&format!("Wrote {}", run.join(store::RESULT_FILE).display()));
        }
        ResultsVerb::Plot(args) => plot::plot(args)?,
        ResultsVerb::Schema => show(&results::schema_json()),
    }
    Ok(Exit::Done)
}

/// A result as standard output shows it.
pub fn text(result: &RunResult, format: Format) -> Result<String, Failure> {
    match format {
        Format::Table => Ok(results::show::render(result)),
        Format::Json => serde_json::to_string_pretty(result)
            .map_err(|error| Failure::failed(format!("the result cannot be shown: {error}"))),
    }
}

/// What a folder holds, changing nothing in it: the result that was written, else what
/// the log allows.
fn look(run: &Path) -> Result<RunResult, Failure> {
    if !run.is_dir() {
        return Err(Failure::usage(format!(
            "{} is not a folder. Give the folder of one run, such as lem-runs/<run id>",
            run.display()
        )));
    }
    if run.join(store::RESULT_FILE).exists() {
        match store::read(run) {
            Ok(result) => return Ok(result),
            Err(error) => say(&format!("warning: {error}. Showing what the log says")),
        }
    }
    let log = Log::read(run).map_err(|error| Failure::failed(error.to_string()))?;
    let data = store::load(run).map_err(|error| Failure::failed(error.to_string()))?;
    let data = match log.standing {
        Standing::Killed => {
            say("This run was killed: it shows what was finished before. lem export delivers it");
            data.with_status(RunStatus::Killed, None)
        }
        Standing::Running { pid } => {
            let pid = pid
                .map(|pid| format!(" (process {pid})"))
                .unwrap_or_default();
            say(&format!("This run is still going on{pid}"));
            data
        }
        Standing::Ended(_) => data,
    };
    Ok(of(&data, run))
}

fn of(data: &RunData, run: &Path) -> RunResult {
    results::build(data, &analyse(data), Vec::new(), run)
}

/// What earlier deliveries said, from the result that stands there.
pub fn exports_of(run: &Path) -> Vec<Delivered> {
    let Ok(result) = store::read(run) else {
        return Vec::new();
    };
    result
        .exports
        .into_iter()
        .filter_map(|e| serde_json::from_value(e).ok())
        .collect()
}
