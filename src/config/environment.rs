//! The layer of the environment's variables.

use std::collections::BTreeMap;
use std::fmt;

use super::ecosystem::VARIABLES;
use super::finding::{Finding, Findings};
use super::flags;
use super::keys::{self, keys};
use super::legacy;
use super::place::Place;
use super::suggest;
use super::tree::Node;

/// Variables that begin like ours and are no key, with what they are for.
/// One that ends in `*` stands for all that begin so.
pub(crate) const NOT_KEYS: &[(&str, &str)] = &[
    (
        "LEM_UPDATE*",
        "`1`: tests rewrite the generated files instead of comparing them.",
    ),
    (
        "LEM_FUZZ_SECONDS",
        "How long each fuzzing test runs, seconds; 2 without it.",
    ),
    (
        "LEM_FUZZ_SEED",
        "Seed of the fuzzing tests; a new one each time without it.",
    ),
    (
        "LEM_TEST_*",
        "What tests need: paths of models, of Python and of servers.",
    ),
    (
        "LEM_PHASES",
        "Set by `lem exec` for the command that it measures: the pipe for phase marks (docs/exec.md).",
    ),
    ("LEM_BENCH_*", "Settings of the benchmark scripts."),
    (
        "LEM_BUILT_*",
        "How this lem was built, as its build told the compiler; `cargo run` sets them once more.",
    ),
];

/// The variables of a process. It prints as names only: values may be secrets.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    /// Names of those that are not UTF-8.
    unreadable: Vec<String>,
}

impl Environment {
    /// This process's own. Nothing else in lem reads them.
    pub fn of_process() -> Self {
        let mut environment = Self::default();
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => {
                    environment.values.insert(name, value);
                }
                (Ok(name), Err(_)) => environment.unreadable.push(name),
                // A name that is not UTF-8 is none of those that we know.
                (Err(_), _) => {}
            }
        }
        environment
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Self {
        Self {
            values: pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            unreadable: Vec::new(),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// One layer a variable: the ecosystem's below ours, a section's below its keys'.
pub(crate) fn layers(environment: &Environment, findings: &mut Findings) -> Vec<Node> {
    for name in &environment.unreadable {
        if name.starts_with(keys::PREFIX) {
            findings.push(Finding::error(
                "not-text",
                &Place::variable(name),
                format!("the variable {name} is not UTF-8 text"),
                "Set it again, as UTF-8.",
            ));
        }
    }
    let mut layers = Vec::new();
    let mut give = |name: &str, value: &str, path: &str, findings: &mut Findings| {
        let target = keys().resolve_path(path);
        layers.extend(flags::layer(
            value,
            &target,
            &Place::variable(name),
            findings,
        ));
    };
    for variable in VARIABLES {
        if let (Some(key), Some(value)) = (variable.key, environment.get(variable.name))
            && !value.is_empty()
        {
            give(variable.name, value, key, findings);
        }
    }
    for (name, value) in environment.iter().filter(|(_, value)| !value.is_empty()) {
        if let Some((key, finding)) = legacy::variable(name) {
            if let Some(path) = key {
                give(name, value, path, findings);
            }
            findings.push(finding);
        }
    }
    for (name, value) in environment.iter().filter(|(_, value)| !value.is_empty()) {
        if !name.starts_with(keys::PREFIX) || is_not_key(name) {
            continue;
        }
        let place = Place::variable(name);
        if let Some(target) = keys().resolve_variable(name) {
            layers.extend(flags::layer(value, &target, &place, findings));
        } else if let Some(path) = legacy::path_of_variable(name) {
            let target = keys().resolve_path(path);
            layers.extend(flags::layer(value, &target, &place, findings));
        } else {
            findings.push(unknown(name, &place));
        }
    }
    layers
}

fn is_not_key(name: &str) -> bool {
    let ours = |(known, _): &(&str, &str)| match known.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *known == name,
    };
    NOT_KEYS.iter().any(ours) || VARIABLES.iter().any(|variable| variable.name == name)
}

fn unknown(name: &str, place: &Place) -> Finding {
    let known = keys().rows.iter().map(|row| row.variable.as_str());
    let others = NOT_KEYS.iter().map(|(name, _)| *name);
    let others = others.chain(VARIABLES.iter().map(|variable| variable.name));
    let near = suggest::nearest(name, known.chain(others));
    // One underscore where two belong is the usual slip, and far by distance in long names.
    let single = name.replace("__", "_");
    let slipped = keys()
        .rows
        .iter()
        .find(|row| row.variable.replace("__", "_") == single)
        .map(|row| row.variable.as_str());
    let remedy = match (slipped, near) {
        (Some(near), _) => {
            format!("Did you mean `{near}`? Two underscores stand for the dot of a key's path.")
        }
        (None, Some(near)) => format!("Did you mean `{near}`?"),
        (None, None) => "Unset it, or look up its name in docs/env.md.".to_owned(),
    };
    Finding::warning(
        "unknown-variable",
        place,
        format!("the variable `{name}` is no key of lem and has no effect"),
        remedy,
    )
}
