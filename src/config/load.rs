use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use lem_record::Origin;
use serde_json::Value;

use super::check;
use super::ecosystem::Ecosystem;
use super::environment::{self, Environment};
use super::files;
use super::finding::{ConfigErrors, Finding, Findings};
use super::flags::{self, FlagValue};
use super::keys::{Shape, keys};
use super::legacy;
use super::merge::merge;
use super::model::Config;
use super::place::Place;
use super::presets;
use super::redact;
use super::rules::{self, Facts};
use super::tree::{Node, join};

/// Everything that a configuration is made of. It prints without secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; without one, variables and flags must say it all.
    pub file: Option<PathBuf>,
    pub environment: Environment,
    /// `KEY=VALUE` of each `--set`, in order.
    pub sets: Vec<String>,
    /// Flags that stand for keys; they beat `--set`.
    pub flags: Vec<FlagValue>,
    /// For what loads no model: the configuration need not name one.
    pub without_model: bool,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sets: Vec<String> = self.sets.iter().map(|set| redact::line(set)).collect();
        f.debug_struct("Sources")
            .field("file", &self.file)
            .field("environment", &self.environment)
            .field("sets", &sets)
            .field("flags", &self.flags)
            .field("without_model", &self.without_model)
            .finish()
    }
}

/// A configuration that is right in itself.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub config: Config,
    /// The whole configuration, defaults included, without secrets: for records and people.
    pub tree: Value,
    /// Where each leaf of `tree` came from, by dotted path.
    pub origins: BTreeMap<String, Origin>,
    /// Keys that have moved, values without effect, unknown variables: none of them an error.
    pub notes: Vec<Finding>,
    /// The files it was read from: the given one first, then what it extends.
    pub files: Vec<PathBuf>,
    pub ecosystem: Ecosystem,
    pub(crate) places: BTreeMap<String, Place>,
}

impl Resolved {
    /// Whether somebody wrote this key, or one below it: it is not a default.
    pub fn given(&self, key: &str) -> bool {
        self.facts().given(key)
    }

    pub(crate) fn facts(&self) -> Facts<'_> {
        Facts {
            config: &self.config,
            places: &self.places,
        }
    }
}

/// Resolves a configuration, or says everything that is wrong with it.
///
/// Reads the files and nothing else: no model, no network, no sink.
pub fn load(sources: &Sources) -> Result<Resolved, ConfigErrors> {
    let mut findings = Findings::default();
    let mut tree = Node::map(Place::Default);
    let root = Shape::Section(keys().root.clone());
    let mut files = Vec::new();
    let mut layers = Vec::new();

    if let Some(path) = &sources.file {
        // Checking half a chain would tell of errors that are none.
        let Some(chain) = files::chain(path, &mut findings) else {
            return Err(failed(findings));
        };
        files = chain.iter().rev().map(|(path, _)| path.clone()).collect();
        layers.extend(chain.into_iter().map(|(_, node)| node));
    }
    layers.extend(environment::layers(&sources.environment, &mut findings));
    for setting in &sources.sets {
        layers.extend(flags::set(setting, &mut findings));
    }
    layers.extend(sources.flags.iter().map(flags::flag));

    for mut layer in layers {
        legacy::migrate(&mut layer, &mut findings);
        merge(&mut tree, layer, &root);
    }
    presets::apply(&mut tree);

    let checked = check::check(&tree, &mut findings);
    let mut places = checked.places;
    if let Some(path) = &sources.file {
        let document = Place::Document(path.display().to_string().into());
        places.entry("model_name".into()).or_insert(document);
    }
    let config: Config = match serde_json::from_value(checked.value) {
        Ok(config) => config,
        Err(error) => {
            // The walker lets nothing through that the model refuses; if it does, it
            // is a fault of lem's, and still no panic.
            findings.push(Finding::error(
                "internal",
                &Place::Default,
                format!("the configuration does not fit lem's own model: {error}"),
                "This is a fault of lem's: please report it with the configuration.",
            ));
            return Err(failed(findings));
        }
    };
    let facts = Facts {
        config: &config,
        places: &places,
    };
    let mut wrong = checked.wrong;
    if sources.without_model {
        // What touches it is not told.
        wrong.insert("model_name".to_owned());
    }
    rules::check(&facts, &wrong, &mut findings);
    let notes = findings.finish()?;

    let tree = redact::value("", &serde_json::to_value(&config).unwrap_or_default());
    for null in &checked.nulls {
        let pointer = format!("/{}", null.replace('.', "/"));
        if tree.pointer(&pointer).is_some_and(|value| !value.is_null()) {
            places.remove(null);
        }
    }
    let mut origins = BTreeMap::new();
    trace(&tree, "", &Place::Default, &places, &mut origins);
    let ecosystem = Ecosystem::new(&sources.environment)
        .with_api_key(config.server.api_key_env.as_deref(), &sources.environment);
    Ok(Resolved {
        config,
        tree,
        origins,
        notes,
        files,
        ecosystem,
        places,
    })
}

fn failed(findings: Findings) -> ConfigErrors {
    findings.finish().err().unwrap_or(ConfigErrors {
        findings: Vec::new(),
        more: 1,
    })
}

/// The origin of every leaf: its own place, or that of what it lies in.
fn trace(
    value: &Value,
    path: &str,
    above: &Place,
    places: &BTreeMap<String, Place>,
    origins: &mut BTreeMap<String, Origin>,
) {
    let place = places.get(path).unwrap_or(above);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                trace(value, &join(path, key), place, places, origins);
            }
        }
        _ => {
            origins.insert(path.to_owned(), place.origin());
        }
    }
}
