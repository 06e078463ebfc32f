//! `lem results aggregate`: one result of several processes, or a sweep's points together.

use std::fs;
use std::path::Path;

use std::path::PathBuf;

use crate::cli::AggregateArgs;
use crate::command::{Exit, Failure, Outcome, json, say, show};
use crate::results::aggregate::{self, Options, sweep};
use crate::results::grid::GridFormat;
use crate::results::{RunResult, show as report, store};
use crate::sweep::plan::PLAN_FILE;

pub fn aggregate(args: &AggregateArgs) -> Outcome {
    if let Some(id) = &args.sweep {
        return points(id, args);
    }
    let runs = super::locate(&args.run, args.runs.as_deref())?;
    let options = Options {
        expect: args.expect,
        allow_mixed: args.allow_mixed,
    };
    let mut result = aggregate::aggregate(&runs, &options).map_err(Failure::failed)?;
    let beside = runs
        .first()
        .and_then(|run| run.parent())
        .unwrap_or(Path::new("."));
    let folder = args
        .out
        .clone()
        .unwrap_or_else(|| beside.join("aggregates"));
    fs::create_dir_all(&folder).map_err(|error| {
        Failure::failed(format!(
            "{} cannot be made: {error}. Choose another --out",
            folder.display()
        ))
    })?;
    result.run_dir = folder.display().to_string();
    let path = folder.join(aggregate::file_name(&result));
    store::write_file(&path, &result).map_err(|error| Failure::failed(error.to_string()))?;
    match args.format {
        GridFormat::Table => show(&format!("{}{}", report::render(&result), told(&result))),
        GridFormat::Json => show(&json(&result)?),
        format => show(&super::show::metrics(&result)?.render(format)),
    }
    say(&format!("Wrote {}", path.display()));
    Ok(Exit::Done)
}

/// What an aggregate has beyond a run.
fn told(result: &RunResult) -> String {
    let Some(how) = &result.aggregation else {
        return String::new();
    };
    let mut out = format!(
        "\n{} processes, {} devices\n",
        how.processes.len(),
        how.devices.len()
    );
    for device in &how.devices {
        let shared = match device.runs.len() {
            1 => String::new(),
            n => format!(", shared by {n} processes, counted once"),
        };
        out.push_str(&format!("  {} ({}){shared}\n", device.id, device.name));
    }
    let overlap = &how.overlap;
    out.push_str(&format!(
        "Together for {:.1} s of {:.1} s, by {}\n",
        overlap.all_s, overlap.some_s, overlap.clock
    ));
    out
}

/// The folder of the sweep's plan, where it was brought along.
fn folder_of(id: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let both = folders.iter().flat_map(|f| [f.clone(), f.join(id)]);
    let named = |folder: &PathBuf| {
        let name = folder.canonicalize().ok();
        name.is_some_and(|f| f.file_name().is_some_and(|name| name == id))
    };
    both.filter(named)
        .find(|folder| folder.join(PLAN_FILE).is_file())
}

/// A sweep's points in one table, and the run that the sinks show them under.
fn points(id: &str, args: &AggregateArgs) -> Outcome {
    let folders = if args.run.is_empty() {
        vec![super::runs_folder(args.runs.as_deref())?]
    } else {
        args.run.clone()
    };
    let found = sweep::find(id, &folders, &mut super::many).map_err(Failure::failed)?;
    show(&found.grid.render(args.format));
    for run in &found.twice {
        say(&format!(
            "warning: the point {run} was found more than once; the last counts"
        ));
    }
    if found.unfinished > 0 {
        say(&format!(
            "warning: {} points did not finish; lem sweep --resume goes on with them",
            found.unfinished
        ));
    }
    if let Some(sweep) = folder_of(id, &folders) {
        let adopted = crate::command::sweep::adopt(&sweep, &found.points)?;
        for owed in adopted.owed {
            say(&format!(
                "warning: a point could not be shown below its sweep: {owed}. The same command tries again"
            ));
        }
        if adopted.marked > 0 {
            say(&format!(
                "{} points are shown below their sweep at the sinks",
                adopted.marked
            ));
        }
    }
    if !found.missing.is_empty() {
        say(&format!(
            "warning: these points have no run: {}",
            found.missing.join(", ")
        ));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}
