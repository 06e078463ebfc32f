//! `lem results rebuild`: result.json anew, of one run or of many.

use std::path::{Path, PathBuf};

use lem_delivery::{Holder, Log, Standing, holder};

use crate::cli::RebuildArgs;
use crate::command::{Exit, Failure, Outcome, close, say};
use crate::results::index::of_folder;
use crate::results::store::RESULT_FILE;

pub fn rebuild(args: &RebuildArgs) -> Outcome {
    let runs = if args.all { all(args)? } else { named(args)? };
    let mut failed = 0;
    for run in &runs {
        match one(run) {
            Ok(()) => say(&format!("Wrote {}", run.join(RESULT_FILE).display())),
            Err(failure) if runs.len() == 1 => return Err(failure),
            Err(failure) => {
                failed += 1;
                say(&format!("error: {failure}"));
            }
        }
    }
    if args.all {
        let folder = super::runs_folder(args.runs.as_deref())?;
        super::open(&folder)?;
        say(&format!(
            "{} of {} results rebuilt",
            runs.len() - failed,
            runs.len()
        ));
    }
    Ok(if failed > 0 { Exit::Failed } else { Exit::Done })
}

fn named(args: &RebuildArgs) -> Result<Vec<PathBuf>, Failure> {
    super::locate(&args.run, args.runs.as_deref())
}

/// Runs with a log; those that go on are passed over.
fn all(args: &RebuildArgs) -> Result<Vec<PathBuf>, Failure> {
    let folder = super::runs_folder(args.runs.as_deref())?;
    let mut index = super::open(&folder)?;
    let mut runs = Vec::new();
    let read = index.rows(&[], &mut |row| runs.push(folder.join(row.path)));
    read.map_err(|error| {
        Failure::failed(format!(
            "the index of {} cannot be read: {error}",
            folder.display()
        ))
    })?;
    runs.retain(|run| of_folder(run).is_some() && matches!(holder(run), Holder::Nobody));
    runs.sort();
    Ok(runs)
}

fn one(run: &Path) -> Result<(), Failure> {
    let log = Log::read(run).map_err(|error| Failure::failed(error.to_string()))?;
    match log.standing {
        Standing::Killed => close::close_killed(run)?,
        Standing::Running { .. } => {
            return Err(Failure::failed(format!(
                "the run in {} is still going on. Rebuild it when it has ended",
                run.display()
            )));
        }
        Standing::Ended(_) => {}
    }
    close::write_result(run, &super::exports_of(run))?;
    Ok(())
}
