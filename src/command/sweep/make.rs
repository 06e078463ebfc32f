//! From the command line to a plan: every point is resolved and checked, and everything that
//! is wrong with any of them is told at once.

use std::path::Path;

use super::resolve::{one_run_each, settings_of};
use crate::cli::{PointArgs, SinkArgs};
use crate::command::run::{exporters, flags, started};
use crate::command::{Failure, say, settings};
use crate::config::{
    ConfigErrors, Environment, FlagValue, Resolved, Severity, Sources, Sweep, SweepOrder, load,
    unbuilt,
};
use crate::sweep::load_key::{config_sha256, load_key};
use crate::sweep::plan::{self, Base, Making, Plan, Point};
use crate::sweep::vary::{Settings, told};
use crate::sweep::{Definition, Given, SweepError, quantity, stop};

/// One configuration and its points, checked.
struct Checked {
    base: Base,
    points: Vec<(Settings, Resolved)>,
}

pub fn plan(args: &PointArgs, sinks: &SinkArgs) -> Result<Plan, Failure> {
    if args.configs.is_empty() {
        return Err(Failure::usage(
            "no configuration is given. Name one: lem sweep my.yaml --vary batching.batch_size=1,2,4",
        ));
    }
    let flags = Definition::of_flags(&Given {
        vary: &args.vary,
        zip: &args.zip,
        point: &args.point,
        skip: &args.skip,
    })
    .map_err(all)?;
    let fixed = fixed(args, sinks);
    let mut sections: Vec<(String, Sweep)> = Vec::new();
    let mut asked = Vec::new();
    let mut wrong = Problems::default();
    for config in &args.configs {
        let base = base(config, args, &fixed, &flags)?;
        let file = config.display().to_string();
        let definition = Definition::of_section(&base.config.sweep)
            .and_then(|section| section.over(&flags))
            .map_err(|errors| within(&file, errors))?;
        if !definition.varies() && args.configs.len() == 1 {
            return Err(Failure::usage(format!(
                "nothing varies: {file} has no section `sweep`, and no --vary is given. Name a key and its values (--vary batching.batch_size=1,2,4), or measure it alone with lem run"
            )));
        }
        let kept = definition.kept(&base.tree).map_err(one)?;
        if kept.is_empty() {
            return Err(Failure::usage(format!(
                "every point of {file} is left out by --skip. Look at its conditions"
            )));
        }
        sections.push((file.clone(), base.config.sweep.clone()));
        asked.push((config.clone(), plan::base(&file, &base), kept));
    }
    let mut checked = Vec::new();
    let several = asked.len() > 1;
    for (config, base, points) in asked {
        let file = &base.file;
        let mut done = Vec::new();
        for settings in points {
            let name = match (several, settings.is_empty()) {
                (true, true) => file.clone(),
                (true, false) => format!("{file}: {}", told(&settings)),
                (false, _) => told(&settings),
            };
            let mut flags = fixed.clone();
            flags.extend(settings_of(&settings));
            match resolve(&config, args, flags, false) {
                Ok(resolved) => {
                    wrong.unbuilt(&name, &resolved);
                    done.push((settings, resolved));
                }
                Err(errors) => wrong.config(&name, &errors),
            }
            wrong.points += 1;
        }
        checked.push(Checked { base, points: done });
    }
    wrong.finish()?;
    // The sinks are the same for all points of a configuration.
    for config in &checked {
        if let Some((_, resolved)) = config.points.first() {
            exporters(resolved, None)?;
            one_run_each(resolved)?;
        }
    }
    assemble(args, &sections, &checked)
}

/// The flags that hold for all points.
fn fixed(args: &PointArgs, sinks: &SinkArgs) -> Vec<FlagValue> {
    let mut fixed = Vec::new();
    if let Some(cycles) = args.cycles {
        let typed = format!("--cycles {cycles}");
        fixed.push(FlagValue::new("num_cycles", cycles, typed));
    }
    if let Some(output) = &args.output {
        let path = output.display().to_string();
        let typed = format!("--output {path}");
        fixed.push(FlagValue::new("io.results_dir", path, typed));
    }
    if args.measure_baseline {
        let key = "measurement.baseline.enabled";
        fixed.push(FlagValue::new(key, true, "--measure-baseline"));
    }
    fixed.extend(flags::sink_values(sinks));
    fixed
}

fn resolve(
    config: &Path,
    args: &PointArgs,
    flags: Vec<FlagValue>,
    without_model: bool,
) -> Result<Resolved, ConfigErrors> {
    load(&Sources {
        file: Some(config.to_owned()),
        environment: Environment::of_process(),
        sets: args.set.clone(),
        flags,
        without_model,
    })
}

/// The configuration without any point: for its section, and for the keys that conditions ask
/// for. It may lack what every point sets, and then it is taken with the first values.
fn base(
    config: &Path,
    args: &PointArgs,
    fixed: &[FlagValue],
    flags: &Definition,
) -> Result<Resolved, Failure> {
    let errors = match resolve(config, args, fixed.to_vec(), true) {
        Ok(base) => return Ok(base),
        Err(errors) => errors,
    };
    let first = flags
        .points()
        .ok()
        .and_then(|points| points.into_iter().next());
    let mut with_first = fixed.to_vec();
    for (key, value) in first.unwrap_or_default() {
        with_first.push(FlagValue::new(key, value, "--vary"));
    }
    resolve(config, args, with_first, true).map_err(|_| Failure::usage(errors.to_string()))
}

/// What is wrong, each with the points where it is.
#[derive(Default)]
struct Problems {
    /// How many points there are.
    points: usize,
    found: Vec<(String, Vec<String>)>,
    warned: Vec<String>,
}

impl Problems {
    fn at(&mut self, problem: String, point: &str) {
        match self.found.iter_mut().find(|(known, _)| *known == problem) {
            Some((_, points)) => points.push(point.to_owned()),
            None => self.found.push((problem, vec![point.to_owned()])),
        }
    }

    fn config(&mut self, point: &str, errors: &ConfigErrors) {
        for error in errors.errors() {
            self.at(error.to_string(), point);
        }
        if errors.more > 0 {
            self.at(format!("… and {} more errors", errors.more), point);
        }
    }

    /// What this build does not do; what it leaves undone is told once.
    fn unbuilt(&mut self, point: &str, resolved: &Resolved) {
        let findings = unbuilt(resolved, &settings::built());
        for finding in findings.iter().chain(&resolved.notes) {
            let text = finding.to_string();
            if finding.severity == Severity::Error {
                self.at(text, point);
            } else if !self.warned.contains(&text) {
                say(&text);
                self.warned.push(text);
            }
        }
    }

    fn finish(self) -> Result<(), Failure> {
        const MOST: usize = 8;
        if self.found.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for (problem, points) in &self.found {
            let more = points.len().saturating_sub(MOST);
            let where_ = match points.len() {
                n if n == self.points => "in every point".to_owned(),
                _ if more > 0 => {
                    let first = points.get(..MOST).unwrap_or_default();
                    format!("in the points {} and {more} more", first.join("; "))
                }
                1 => format!("in the point {}", points.join("; ")),
                _ => format!("in the points {}", points.join("; ")),
            };
            lines.push(format!("{}\n  {where_}", problem.trim_end()));
        }
        lines.push(format!(
            "{} of {} points cannot be measured; nothing was. Leave them out with --skip, or put them right",
            distinct(&self.found),
            self.points
        ));
        Err(Failure::usage(lines.join("\n")))
    }
}

fn distinct(found: &[(String, Vec<String>)]) -> usize {
    let mut points: Vec<&String> = found.iter().flat_map(|(_, points)| points).collect();
    points.sort();
    points.dedup();
    points.len()
}

fn assemble(
    args: &PointArgs,
    sections: &[(String, Sweep)],
    checked: &[Checked],
) -> Result<Plan, Failure> {
    let first = checked.iter().flat_map(|config| &config.points).next();
    let Some((_, first)) = first else {
        return Err(Failure::usage(
            "the sweep has no point. Name values with --vary",
        ));
    };
    let order = agreed(sections, "order", args.order, |s| s.order)?;
    let seed = agreed(sections, "seed", args.seed, |s| s.seed)?;
    let stop_early = agreed(sections, "stop_early", args.stop_early.clone(), |s| {
        s.stop_early.clone()
    })?;
    let best = agreed(sections, "best", args.best.clone(), |s| s.best.clone())?;
    let best = best.unwrap_or_else(|| quantity::ENERGY_PER_TOKEN.to_owned());
    quantity::row(&best).map_err(one)?;
    if let Some(rule) = &stop_early {
        stop::Rule::parse(rule).map_err(one)?;
    }
    let sweep_id = args.id.clone().unwrap_or_else(started::new_run_id);
    plan::check_id(&sweep_id).map_err(one)?;

    let mut bases = Vec::new();
    let mut points: Vec<Point> = Vec::new();
    for (config, Checked { base, points: of }) in checked.iter().enumerate() {
        bases.push(base.clone());
        for (settings, resolved) in of {
            let index = u32::try_from(points.len()).unwrap_or(u32::MAX);
            points.push(Point {
                index,
                run_id: Plan::run_id(&sweep_id, index),
                config,
                parameters: settings.iter().cloned().collect(),
                cycles: resolved.config.num_cycles,
                config_sha256: config_sha256(&resolved.tree),
                load_key: load_key(&resolved.config, &resolved.tree),
            });
        }
    }
    let name = args
        .name
        .clone()
        .or_else(|| first.config.config_name.clone());
    Plan::new(Making {
        sweep_id,
        name: name.unwrap_or_else(|| stem(args)),
        order: order.unwrap_or(SweepOrder::Blocks),
        seed: seed.unwrap_or(first.config.random_seed),
        stop_early,
        best,
        results_dir: first.config.io.results_dir.clone(),
        bases,
        points,
    })
    .map_err(one)
}

/// The file's name without its end.
fn stem(args: &PointArgs) -> String {
    let stem = args.configs.first().and_then(|config| config.file_stem());
    stem.map_or_else(|| "sweep".to_owned(), |s| s.to_string_lossy().into_owned())
}

/// What the flag says, else what the configurations say, which must be one thing.
fn agreed<T: PartialEq>(
    sections: &[(String, Sweep)],
    what: &str,
    flag: Option<T>,
    of: impl Fn(&Sweep) -> Option<T>,
) -> Result<Option<T>, Failure> {
    if flag.is_some() {
        return Ok(flag);
    }
    let mut said: Option<(&str, T)> = None;
    for (file, section) in sections {
        match (&said, of(section)) {
            (_, None) => {}
            (None, Some(value)) => said = Some((file, value)),
            (Some((_, before)), Some(value)) if *before == value => {}
            (Some((before, _)), Some(_)) => {
                return Err(Failure::usage(format!(
                    "{before} and {file} say different things under sweep.{what}, and the campaign has one. Give it as a flag: --{}",
                    what.replace('_', "-")
                )));
            }
        }
    }
    Ok(said.map(|(_, value)| value))
}

fn one(error: SweepError) -> Failure {
    Failure::usage(error.to_string())
}

fn all(errors: Vec<SweepError>) -> Failure {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Failure::usage(lines.join("\n"))
}

fn within(file: &str, errors: Vec<SweepError>) -> Failure {
    let lines = errors.iter().map(|error| format!("{file}: {error}"));
    Failure::usage(lines.collect::<Vec<_>>().join("\n"))
}
