//! The result of a run, changing nothing in its folder.

use std::path::Path;

use lem_delivery::{Log, Standing};
use lem_record::RunStatus;

use crate::analysis::{RunData, analyse};
use crate::command::{Failure, say};
use crate::results::index::is_current;
use crate::results::{self, RunResult, store};

/// The result that was written, else what the log allows.
pub fn look(run: &Path) -> Result<RunResult, Failure> {
    if run.is_file() {
        return store::read_file(run).map_err(|error| Failure::failed(error.to_string()));
    }
    // A result from before the run was resumed tells of a part of it only.
    if is_current(run) {
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
