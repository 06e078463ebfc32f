//! From the command line to a resolved configuration.

use std::path::Path;

use crate::config::{
    Built, ConfigErrors, Environment, FlagValue, Resolved, Severity, Sources, load, unbuilt,
};
use crate::{engine, sinks};

use super::{Failure, say};

/// What this build can do.
pub fn built() -> Built {
    Built {
        backends: engine::BUILT.to_vec(),
        sinks: sinks::built(),
    }
}

/// Resolves; tells notes and warnings on standard error.
pub fn resolve(
    file: Option<&Path>,
    sets: &[String],
    flags: Vec<FlagValue>,
) -> Result<Resolved, Failure> {
    resolve_as(file, sets, flags, false)
}

/// A configuration that a run recorded: what was to be said of it was said then.
pub fn resolve_recorded(
    file: &Path,
    sets: &[String],
    flags: Vec<FlagValue>,
) -> Result<Resolved, Failure> {
    let mut resolved = load(&sources(Some(file), sets, flags, false))
        .map_err(|errors| Failure::usage(told(&errors)))?;
    resolved.notes.clear();
    Ok(resolved)
}

fn sources(
    file: Option<&Path>,
    sets: &[String],
    flags: Vec<FlagValue>,
    without_model: bool,
) -> Sources {
    Sources {
        file: file.map(Path::to_owned),
        environment: Environment::of_process(),
        sets: sets.to_vec(),
        flags,
        without_model,
    }
}

fn resolve_as(
    file: Option<&Path>,
    sets: &[String],
    flags: Vec<FlagValue>,
    without_model: bool,
) -> Result<Resolved, Failure> {
    let resolved = load(&sources(file, sets, flags, without_model))
        .map_err(|errors| Failure::usage(told(&errors)))?;
    for note in &resolved.notes {
        say(&note.to_string());
    }
    Ok(resolved)
}

/// For what loads no model: `lem exec` and `lem monitor`.
pub fn resolve_without_model(
    file: Option<&Path>,
    sets: &[String],
    flags: Vec<FlagValue>,
) -> Result<Resolved, Failure> {
    resolve_as(file, sets, flags, true)
}

/// For the sinks alone: such a configuration need not name a model.
pub fn resolve_sinks(
    file: Option<&Path>,
    sets: &[String],
    flags: Vec<FlagValue>,
) -> Result<Resolved, Failure> {
    let mut sets = sets.to_vec();
    if file.is_none() {
        sets.insert(0, "model_name=none".to_owned());
    }
    resolve(file, &sets, flags)
}

/// As [`require_built`], of the sinks alone.
pub fn require_built_sinks(resolved: &Resolved) -> Result<(), Failure> {
    let of_sinks = |f: &crate::config::Finding| {
        let key = f.key.as_deref().unwrap_or_default();
        key.starts_with("integrations.") && f.severity == Severity::Error
    };
    let findings = unbuilt(resolved, &built());
    let wrong: Vec<String> = findings
        .iter()
        .filter(|f| of_sinks(f))
        .map(ToString::to_string)
        .collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::usage(wrong.join("\n")))
    }
}

/// Refuses what this build does not do, and warns of what it leaves undone.
pub fn require_built(resolved: &Resolved) -> Result<Vec<crate::config::Finding>, Failure> {
    let findings = refuse_unbuilt(resolved)?;
    for finding in &findings {
        say(&finding.to_string());
    }
    Ok(findings)
}

/// As [`require_built`], and says nothing of what has no effect.
pub fn refuse_unbuilt(resolved: &Resolved) -> Result<Vec<crate::config::Finding>, Failure> {
    let findings = unbuilt(resolved, &built());
    let refused = findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    if refused {
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        return Err(Failure::usage(lines.join("\n")));
    }
    Ok(findings)
}

fn told(errors: &ConfigErrors) -> String {
    errors.to_string()
}
