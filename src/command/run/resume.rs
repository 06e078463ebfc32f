//! `lem run --resume`: a run that was broken off goes on where its log ends.

use std::path::{Path, PathBuf};

use lem_delivery::{Log, RECORDS_FILE, Standing};
use lem_record::{RunStarted, RunStatus, Stamp};
use serde_json::Value;

use super::flags;
use crate::cli::RunArgs;
use crate::command::{Failure, close, settings};
use crate::config::Resolved;
use crate::environment::Environment;

/// Parts of a configuration that may be others when a run goes on: they are not what is measured.
const FREE: &[&str] = &[
    "num_cycles",
    "config_name",
    "integrations",
    "io",
    "tags",
    "notes",
];

/// A run that can go on.
pub struct Resumable {
    pub folder: PathBuf,
    pub log: Log,
    /// How many cycles it is to have.
    pub cycles: u32,
}

/// Finds the run, and the configuration to go on with: the one that it recorded, unless one is
/// given. Touches nothing.
pub fn find(args: &RunArgs, id: &str) -> Result<(Resumable, Resolved), Failure> {
    let folder = folder_of(args, id)?;
    let log = Log::read(&folder).map_err(|e| Failure::usage(e.to_string()))?;
    if let Standing::Running { pid } = log.standing {
        let pid = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        return Err(Failure::usage(format!(
            "{} is still being measured{pid}. Wait until it has ended, or end it with Ctrl-C there",
            folder.display()
        )));
    }
    let resolved = resolve(args, &folder, &log.started)?;
    same_configuration(&log.started.config, &resolved.tree)?;
    let cycles = args
        .cycles
        .or(log.wanted)
        .unwrap_or(resolved.config.num_cycles);
    let done = log.done();
    let ended = log.standing == Standing::Ended(RunStatus::Finished);
    if ended && done >= cycles {
        return Err(Failure::usage(format!(
            "{} is complete: all {cycles} cycles are measured. For more of them give --cycles with a larger number",
            folder.display()
        )));
    }
    // More than the fewest may be there by measurement.until.
    if args.cycles.is_some_and(|asked| done > asked) {
        return Err(Failure::usage(format!(
            "{} has {done} cycles already, and --cycles asks for {cycles}. Give a larger number, or leave the flag out",
            folder.display()
        )));
    }
    let run = Resumable {
        folder,
        log,
        cycles,
    };
    Ok((run, resolved))
}

/// A folder, or the id of a run in the folder of runs.
fn folder_of(args: &RunArgs, id: &str) -> Result<PathBuf, Failure> {
    let own = Path::new(id);
    if own.join(RECORDS_FILE).is_file() {
        return Ok(own.to_owned());
    }
    let settings = settings::resolve_without_model(None, &[], flags::values(args))?;
    let below = Path::new(&settings.config.io.results_dir).join(id);
    if !id.is_empty() && below.join(RECORDS_FILE).is_file() {
        return Ok(below);
    }
    Err(Failure::usage(format!(
        "there is no run {id}: neither it nor {} holds a {RECORDS_FILE}. Give the folder of a run, or its id and --output with the folder that it lies in",
        below.display()
    )))
}

fn resolve(args: &RunArgs, folder: &Path, started: &RunStarted) -> Result<Resolved, Failure> {
    if let Some(file) = &args.config {
        return settings::resolve(Some(file), &args.set, flags::values(args));
    }
    if holds_secret(&started.config) {
        return Err(Failure::usage(format!(
            "the configuration of {} had a secret in it, which no run records. Give the configuration again: lem run CONFIG --resume {}",
            folder.display(),
            folder.display()
        )));
    }
    settings::resolve_recorded(&folder.join(close::CONFIG), &args.set, flags::values(args))
}

fn holds_secret(config: &Value) -> bool {
    match config {
        Value::String(text) => text == "***" || text.contains("://") && text.contains("***"),
        Value::Array(items) => items.iter().any(holds_secret),
        Value::Object(map) => map.values().any(holds_secret),
        _ => false,
    }
}

/// Cycles of two configurations are no repetitions of one another.
fn same_configuration(recorded: &Value, now: &Value) -> Result<(), Failure> {
    let mut different = Vec::new();
    differences(recorded, now, "", &mut different);
    if different.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "this is not the configuration that the run was begun with:\n{}\nLeave the configuration out to go on with the recorded one, or begin another run",
        different.join("\n")
    )))
}

fn differences(before: &Value, now: &Value, path: &str, out: &mut Vec<String>) {
    if FREE.contains(&path) || before == now {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (before, now) {
        let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for key in keys {
            let of =
                |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            let path = match path {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            differences(&of(a), &of(b), &path, out);
        }
        return;
    }
    out.push(format!("  {path}: was {before}, is {now}"));
}

impl Resumable {
    /// Joins this process's clock with the log's, before anything is timed.
    pub fn join_clock(&self, environment: &Environment) {
        let now = environment.host.boot_id.value();
        // An earlier resumption may have gone ahead of this boot's clock.
        let behind = Stamp::mono_ns() < self.log.last_at.mono_ns;
        if behind || now != self.log.boot_id.as_ref() {
            Stamp::go_on_from(self.log.last_at);
        }
    }

    /// Cycles of two machines, boards or models are no repetitions of one another.
    pub fn same_machine(&self, now: &RunStarted) -> Result<(), Failure> {
        let before = &self.log.started;
        let mut different = Vec::new();
        let mut compare = |what: &str, before: Option<&Value>, now: Option<&Value>| {
            if before.is_some() && before != now {
                let told =
                    |v: Option<&Value>| v.map_or_else(|| "none".to_owned(), Value::to_string);
                different.push(format!("  {what}: was {}, is {}", told(before), told(now)));
            }
        };
        let host = |started: &RunStarted| started.environment.pointer("/host/hostname").cloned();
        compare("host", host(before).as_ref(), host(now).as_ref());
        compare("sensors", Some(&sensors(before)), Some(&sensors(now)));
        for key in ["architecture", "parameters", "weight_type"] {
            compare(
                &format!("model.{key}"),
                before.model.get(key),
                now.model.get(key),
            );
        }
        if different.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "the run {} was begun under other conditions, and its cycles would be no repetitions of one another:\n{}\nGo on where it was begun, or begin another run",
            self.folder.display(),
            different.join("\n")
        )))
    }
}

/// Which device each source reads.
fn sensors(started: &RunStarted) -> Value {
    let sources = started.sources.as_array().into_iter().flatten();
    sources
        .map(|s| {
            let of = |key: &str| s.get(key).and_then(Value::as_str).unwrap_or("-");
            Value::from(format!("{} ({}, {})", of("id"), of("meter"), of("device")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_measured_may_change_and_nothing_else() {
        let before = json!({"model_name": "a", "num_cycles": 3, "batching": {"batch_size": 1},
            "integrations": {"mlflow": {"enabled": true}}});
        let mut now = before.clone();
        now["num_cycles"] = json!(5);
        now["integrations"]["mlflow"]["enabled"] = json!(false);
        same_configuration(&before, &now).unwrap();
        now["batching"]["batch_size"] = json!(2);
        let refused = same_configuration(&before, &now).unwrap_err().message;
        assert!(
            refused.contains("batching.batch_size: was 1, is 2"),
            "{refused}"
        );
    }

    #[test]
    fn a_secret_that_was_not_recorded_is_noticed() {
        assert!(holds_secret(&json!({"server": {"headers": ["***"]}})));
        assert!(holds_secret(
            &json!({"server": {"url": "http://***@a:8000"}})
        ));
        assert!(!holds_secret(
            &json!({"server": {"headers": ["a"]}, "notes": "*** first"})
        ));
    }
}
