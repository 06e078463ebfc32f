//! `lem results`: look at what was measured.

mod aggregate;
mod compare;
mod list;
mod look;
mod migrate;
mod plot;
mod rebuild;
mod rm;
mod show;

use std::path::{Path, PathBuf};

use lem_delivery::Outcome as Delivered;

use super::{Exit, Failure, Outcome, say, settings};
use crate::cli::{Format, ResultsVerb};
use crate::results::index::Index;
use crate::results::{self, RunResult, locate, store};

/// From so many runs on reading them takes long enough to say so.
const MANY: usize = 500;

pub use migrate::MigrateArgs;

pub fn results(verb: &ResultsVerb) -> Outcome {
    match verb {
        ResultsVerb::List(args) => list::list(args)?,
        ResultsVerb::Show(args) => show::show(args)?,
        ResultsVerb::Compare(args) => compare::compare(args)?,
        ResultsVerb::Aggregate(args) => return aggregate::aggregate(args),
        ResultsVerb::Rebuild(args) => return rebuild::rebuild(args),
        ResultsVerb::Rm(args) => return rm::rm(args),
        ResultsVerb::Plot(args) => plot::plot(args)?,
        ResultsVerb::Migrate(args) => return migrate::migrate(args),
        ResultsVerb::Schema => super::show(&results::schema_json()),
    }
    Ok(Exit::Done)
}

/// A result as standard output shows it.
pub fn text(result: &RunResult, format: Format) -> Result<String, Failure> {
    match format {
        Format::Table => Ok(results::show::render(result)),
        Format::Json => super::json(result),
    }
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

/// The folder of runs: the one that was given, else the configuration's.
fn runs_folder(given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(folder) => Ok(folder.to_owned()),
        None => {
            let resolved = settings::resolve_sinks(None, &[], Vec::new())?;
            Ok(PathBuf::from(resolved.config.io.results_dir))
        }
    }
}

fn many(runs: usize) {
    if runs >= MANY {
        say(&format!(
            "Reading {runs} runs; the next time only what is new"
        ));
    }
}

fn open(folder: &Path) -> Result<Index, Failure> {
    if results::index::of_folder(folder).is_some() && !results::index::is_sweep(folder) {
        return Err(Failure::usage(format!(
            "{0} is the folder of one run. Give the folder that holds it, or use lem results show {0}",
            folder.display()
        )));
    }
    Index::open(folder, &mut many).map_err(|error| {
        Failure::usage(format!(
            "the folder of runs {} cannot be read: {error}. Give the parent folder of runs, such as lem-runs",
            folder.display()
        ))
    })
}

/// Where runs stand that were named by folder, id or name.
fn locate(runs: &[PathBuf], folder: Option<&Path>) -> Result<Vec<PathBuf>, Failure> {
    let here = Path::new("");
    let paths = runs.iter().map(|run| locate::at_once(run, here));
    if let Some(paths) = paths.collect::<Option<Vec<_>>>() {
        // The configuration is not needed, and may be broken.
        return Ok(paths);
    }
    locate::runs(runs, &runs_folder(folder)?, &mut many).map_err(Failure::usage)
}
