//! From a plan to a point's configuration, on this machine or another.

use std::path::Path;

use serde_json::Value;

use crate::cli::SinkArgs;
use crate::command::run::flags;
use crate::command::{Failure, settings};
use crate::config::{Environment, FlagValue, Resolved, Severity, Sources, load, typed, unbuilt};
use crate::sinks;
use crate::sweep::load_key::{config_sha256, load_key};
use crate::sweep::plan::{Base, Plan, Point};
use crate::sweep::vary::plain;

/// What is said on this command line besides the plan: where to deliver to, above all.
#[derive(Clone, Debug, Default)]
pub struct Besides {
    values: Vec<FlagValue>,
}

impl Besides {
    pub fn new(sets: &[String], sinks: &SinkArgs) -> Result<Self, Failure> {
        let mut values = Vec::new();
        for set in sets {
            let Some((key, text)) = set.split_once('=') else {
                return Err(Failure::usage(
                    "--set without `=`. Write --set KEY=VALUE, as in --set batching.batch_size=4",
                ));
            };
            let value = typed(key.trim(), text).map_err(Failure::usage)?;
            values.push(FlagValue::new(key.trim(), value, format!("--set {set}")));
        }
        values.extend(flags::sink_values(sinks));
        Ok(Self { values })
    }
}

/// What a point sets, as flags.
pub fn settings_of(point: &[(String, Value)]) -> Vec<FlagValue> {
    let mut flags: Vec<FlagValue> = point
        .iter()
        .map(|(key, value)| {
            let typed = format!("--vary {key}={}", plain(value));
            FlagValue::new(key, value.clone(), typed)
        })
        .collect();
    // A point is one configuration: what the sweep is stays in the plan.
    flags.push(FlagValue::new("sweep", Value::Null, "lem sweep"));
    flags
}

/// The configuration of a point, the same on every machine. The file is read for its secrets,
/// which no plan holds, where it is still there and still says the same.
pub fn point(plan: &Plan, point: &Point, besides: &Besides) -> Result<Resolved, Failure> {
    let Some(base) = plan.bases.get(point.config) else {
        return Err(Failure::usage(format!(
            "point {} has no configuration in the plan. Make the plan anew",
            point.index
        )));
    };
    let file = Path::new(&base.file);
    if file.is_file()
        && let Ok(resolved) = of(base, Some(file), point, besides)
        && config_sha256(&resolved.tree) == point.config_sha256
    {
        return same_load(resolved, point);
    }
    let mut resolved = of(base, None, point, besides)?;
    if config_sha256(&resolved.tree) != point.config_sha256 {
        return Err(Failure::usage(format!(
            "point {} ({}) is another configuration here than where it was planned, by {}: this is {}. Use the same version, unset LEM_… variables that change it, and change nothing by --set but sinks; or make the plan anew",
            point.index,
            point.told(),
            plan.producer,
            env!("CARGO_PKG_VERSION"),
        )));
    }
    // For the tag that tells the source; it may be of another machine.
    resolved.files = vec![file.to_owned()];
    same_load(resolved, point)
}

/// A plan says which points share a loaded model. Where it says so of two that do not, one
/// model would be measured under the other's name.
fn same_load(resolved: Resolved, point: &Point) -> Result<Resolved, Failure> {
    if load_key(&resolved.config, &resolved.tree) == point.load_key {
        return Ok(resolved);
    }
    Err(Failure::usage(format!(
        "what point {} ({}) loads is another here than where it was planned. Use the same version of lem, or make the plan anew",
        point.index,
        point.told()
    )))
}

fn of(
    base: &Base,
    file: Option<&Path>,
    point: &Point,
    besides: &Besides,
) -> Result<Resolved, Failure> {
    let given = base
        .given
        .iter()
        .map(|(key, value)| FlagValue::new(key, value.clone(), format!("the plan, {}", base.file)));
    let mut flags: Vec<FlagValue> = given.collect();
    flags.extend(besides.values.iter().cloned());
    flags.extend(settings_of(&point.settings()));
    let resolved = load(&Sources {
        file: file.map(Path::to_owned),
        environment: Environment::of_process(),
        sets: Vec::new(),
        flags,
        without_model: false,
    })
    .map_err(|errors| Failure::usage(errors.to_string()))?;
    let refused: Vec<String> = unbuilt(&resolved, &settings::built())
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    match refused.is_empty() {
        true => one_run_each(&resolved).map(|()| resolved),
        false => Err(Failure::usage(refused.join("\n"))),
    }
}

/// A sink that is told which run to write to would get all points into that one.
pub fn one_run_each(resolved: &Resolved) -> Result<(), Failure> {
    let sinks = sinks::enabled(&resolved.config);
    let wandb = resolved.config.integrations.wandb.run_id.is_some();
    for (sink, variable, key) in [
        ("mlflow", "MLFLOW_RUN_ID", None),
        (
            "wandb",
            "WANDB_RUN_ID",
            Some("integrations.wandb.run_id").filter(|_| wandb),
        ),
    ] {
        let named = match resolved.ecosystem.get(variable) {
            Some(_) => Some(variable),
            None => key,
        };
        if let Some(named) = named.filter(|_| sinks.contains(&sink)) {
            return Err(Failure::usage(format!(
                "{named} names one run of {sink}, and a sweep has many: all points would be written into it. Unset it; lem finds its own runs again by their ids"
            )));
        }
    }
    Ok(())
}
