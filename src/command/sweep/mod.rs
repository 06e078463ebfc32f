//! `lem sweep`: many points, planned, measured, compared.

mod adopt;
mod execute;
mod make;
mod parent;
mod points;
mod resolve;
mod stops;
mod told;

use std::path::{Path, PathBuf};

use super::{Exit, Failure, Outcome, say, show};
use crate::cli::{Format, SweepArgs, SweepPlanArgs, SweepRunArgs, SweepVerb};
use crate::config::{Environment, Sources, load};
use crate::sweep::plan::{PLAN_FILE, Plan};
use resolve::Besides;

/// No plan of 10,000 points is nearly as large; a larger file is none.
const MOST_BYTES: u64 = 256 << 20;

pub fn sweep(args: &SweepArgs) -> Outcome {
    match &args.verb {
        Some(SweepVerb::Plan(args)) => return plan(args),
        Some(SweepVerb::Run(args)) => return run(args),
        None => {}
    }
    if let Some(which) = &args.resume {
        return resume(args, which);
    }
    super::run::flags::refuse_unbuilt_sinks(&args.sinks)?;
    let plan = make::plan(&args.points, &args.sinks)?;
    if args.dry_run {
        return show_plan(&plan, args.format);
    }
    let besides = Besides::new(&args.points.set, &args.sinks)?;
    let folder = parent::folder(&plan.results_dir, &plan);
    parent::write_plan(&folder, &plan)?;
    say(&told::summary(&plan));
    let strict = args.sinks.strict_export;
    execute::whole(&folder, &plan, &besides, strict, false, args.format)
}

fn show_plan(plan: &Plan, format: Format) -> Outcome {
    match format {
        Format::Json => show(&super::json(plan)?),
        Format::Table => {
            show(&told::plan(plan));
            show("Nothing was measured, nothing was sent.");
        }
    }
    Ok(Exit::Done)
}

fn plan(args: &SweepPlanArgs) -> Outcome {
    super::run::flags::refuse_unbuilt_sinks(&args.sinks)?;
    let plan = make::plan(&args.points, &args.sinks)?;
    for base in plan.bases.iter().filter(|base| !base.left_out.is_empty()) {
        say(&format!(
            "note: {} of {} hold secrets and are not in the plan. Set them on each machine by variables (docs/env.md), or with --set",
            base.left_out.join(", "),
            base.file
        ));
    }
    let text = parent::text_of(&plan)?;
    match &args.out {
        None => show(&text),
        Some(path) => {
            parent::replace(path, text.as_bytes()).map_err(|error| {
                Failure::failed(format!(
                    "{} cannot be written: {error}. Choose another place for --out",
                    path.display()
                ))
            })?;
            let last = plan.points.len().saturating_sub(1);
            say(&told::summary(&plan));
            say(&format!(
                "Measure a point with: lem sweep run {} --index N, N from 0 to {last}",
                path.display()
            ));
        }
    }
    Ok(Exit::Done)
}

fn run(args: &SweepRunArgs) -> Outcome {
    super::run::flags::refuse_unbuilt_sinks(&args.sinks)?;
    let plan = read(&args.plan)?;
    let point = plan
        .point(args.index)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let besides = Besides::new(&args.set, &args.sinks)?;
    let output = args.output.as_ref().map(|o| o.display().to_string());
    let parent = output.as_deref().unwrap_or(&plan.results_dir);
    let folder = parent::folder(parent, &plan);
    let (strict, retry) = (args.sinks.strict_export, args.retry_failed);
    execute::point(&folder, &plan, point, &besides, strict, retry, args.format)
}

fn resume(args: &SweepArgs, which: &str) -> Outcome {
    if !args.points.configs.is_empty() {
        return Err(Failure::usage(
            "--resume takes the configuration from the sweep's plan. Leave the configuration out",
        ));
    }
    super::run::flags::refuse_unbuilt_sinks(&args.sinks)?;
    let folder = find(which, args)?;
    let plan = read(&folder.join(PLAN_FILE))?;
    let besides = Besides::new(&args.points.set, &args.sinks)?;
    if args.dry_run {
        return show_plan(&plan, args.format);
    }
    say(&told::summary(&plan));
    let (strict, retry) = (args.sinks.strict_export, args.retry_failed);
    execute::whole(&folder, &plan, &besides, strict, retry, args.format)
}

/// A folder, or the id of a sweep in the folder of runs.
fn find(which: &str, args: &SweepArgs) -> Result<PathBuf, Failure> {
    let here = Path::new(which);
    if here.join(PLAN_FILE).is_file() {
        return Ok(here.to_owned());
    }
    let parent = match &args.points.output {
        Some(output) => output.clone(),
        // The folder of runs, as variables may name it.
        None => load(&Sources {
            environment: Environment::of_process(),
            without_model: true,
            ..Sources::default()
        })
        .map(|resolved| PathBuf::from(resolved.config.io.results_dir))
        .map_err(|errors| Failure::usage(errors.to_string()))?,
    };
    let below = parent.join(which);
    match below.join(PLAN_FILE).is_file() {
        true => Ok(below),
        false => Err(Failure::usage(format!(
            "there is no sweep {which}: neither {} nor {} holds a {PLAN_FILE}. Give the sweep's folder, or its id and --output",
            here.display(),
            below.display()
        ))),
    }
}

fn read(path: &Path) -> Result<Plan, Failure> {
    let cannot = |why: String| {
        Failure::usage(format!(
            "the plan {} cannot be read: {why}. Make one with: lem sweep plan CONFIG --vary … --out plan.json",
            path.display()
        ))
    };
    let length = std::fs::metadata(path).map_err(|error| cannot(error.to_string()))?;
    if !length.is_file() || length.len() > MOST_BYTES {
        return Err(cannot("it is no file of a plan's size".to_owned()));
    }
    let text = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    Plan::parse(&text, &path.display().to_string()).map_err(|e| Failure::usage(e.to_string()))
}

/// Makes the sweep's own run of its points' folders, or renews it, and shows these points below
/// it at the sinks. It measures nothing: for `lem results aggregate`, after an array has ended.
pub fn adopt(sweep: &Path, points: &[PathBuf]) -> Result<adopt::Adopted, Failure> {
    let plan = read(&sweep.join(PLAN_FILE))?;
    let first = plan.point(0).map_err(|e| Failure::usage(e.to_string()))?;
    let first = resolve::point(&plan, first, &Besides::default())?;
    let states = points::looked_at(sweep, &plan)?;
    let report = points::report(sweep, &plan, &states);
    parent::Parent::open(sweep, &plan, &first)?.end(&plan, &report)?;
    adopt::adopt(sweep, points, &first, execute::MARKING_AT_THE_END)
}

/// What a sweep's folder holds so far, as `lem results show` has it; `None` where the folder is
/// none of a sweep.
pub fn shown(folder: &Path, format: Format) -> Result<Option<String>, Failure> {
    if !folder.join(PLAN_FILE).is_file() {
        return Ok(None);
    }
    let plan = read(&folder.join(PLAN_FILE))?;
    let states = points::looked_at(folder, &plan)?;
    let report = points::report(folder, &plan, &states);
    Ok(Some(match format {
        Format::Json => super::json(&report)?,
        Format::Table => told::report(&plan, &report),
    }))
}
