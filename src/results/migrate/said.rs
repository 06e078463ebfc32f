//! What a file says beside its numbers: configuration, origins, warnings, machine.

use std::collections::BTreeMap;

use lem_record::Origin;
use serde_json::{Value, json};

use super::super::WarningText;
use super::notes::PROVENANCE_FIRST;
use super::old::Old;
use crate::config::{key_of_version_2, redact, renamed_from_version_2};

/// The file and what it holds within: the places where something is said, outermost first.
pub(super) struct Levels<'a> {
    pub all: Vec<Old<'a>>,
}

/// So many processes are looked into; all say the same.
const MOST: usize = 64;

impl<'a> Levels<'a> {
    pub fn of(old: &Old<'a>) -> Self {
        let mut all = vec![old.clone()];
        for cycle in old.at("cycle_results").items().into_iter().take(1) {
            all.push(cycle);
        }
        let aggregates = all.clone();
        for aggregate in aggregates {
            all.extend(
                aggregate
                    .at("process_results")
                    .items()
                    .into_iter()
                    .take(MOST),
            );
        }
        Self { all }
    }

    /// The first that says it.
    pub fn text(&self, path: &str) -> Option<&'a str> {
        self.all.iter().find_map(|old| old.at(path).text())
    }

    fn first(&self, path: &str) -> Option<Old<'a>> {
        let filled = |old: &Old<'a>| match old.value() {
            Some(Value::Object(map)) => !map.is_empty(),
            other => other.is_some(),
        };
        self.all.iter().map(|old| old.at(path)).find(filled)
    }

    pub fn config(&self) -> Value {
        match self.first("effective_config").and_then(|old| old.value()) {
            Some(config) if config.is_object() => renamed_from_version_2(config),
            _ => Value::Null,
        }
    }

    pub fn provenance(&self) -> BTreeMap<String, Origin> {
        let mut origins = BTreeMap::new();
        if let Some(overrides) = self.first("cli_overrides")
            && let Some(Value::Object(map)) = overrides.value()
        {
            for key in map.keys() {
                origins.insert(key_now(key), origin("flag", None));
            }
        }
        let Some(told) = self.first("parameter_provenance") else {
            return origins;
        };
        if told.path() != "legacy.parameter_provenance" {
            let what = format!("from {}", told.path().replace("legacy.", ""));
            told.notes().push("provenance", PROVENANCE_FIRST, what);
        }
        let Some(Value::Object(map)) = told.value() else {
            // Told as unexpected.
            let _ = told.at("x");
            return origins;
        };
        for (key, said) in map {
            let said = |name: &str| said.get(name).and_then(Value::as_str);
            let source = match said("source").unwrap_or("unknown") {
                "config_file" | "file" => "file",
                "cli" | "command_line" | "cli_override" => "flag",
                "env" | "environment" => "environment",
                other => other,
            };
            origins.insert(key_now(key), origin(source, said("source_detail")));
        }
        origins
    }

    /// Warnings that version 2 gave: of the configuration, and of the aggregation.
    pub fn warnings(&self) -> Vec<WarningText> {
        let mut warnings: Vec<WarningText> = Vec::new();
        let sources = [
            (
                "config_warnings",
                "v2.config",
                "It was told by version 2 when it measured; read it before you compare",
            ),
            (
                "aggregation.warnings",
                "v2.aggregation",
                "It was told by version 2 when it aggregated; read it before you compare",
            ),
        ];
        for (path, code, remedy) in sources {
            for item in self
                .all
                .iter()
                .flat_map(|old| old.at(path).items())
                .take(MOST)
            {
                let Some(message) = item.text().map(redact::line) else {
                    continue;
                };
                if !warnings.iter().any(|there| there.message == message) {
                    warnings.push(WarningText {
                        code: code.to_owned(),
                        message,
                        remedy: remedy.to_owned(),
                    });
                }
            }
        }
        warnings
    }

    /// What version 2 knew of the machine: the GPU of each process.
    pub fn environment(&self) -> Value {
        let names = [
            "process_index",
            "gpu_id",
            "gpu_name",
            "gpu_is_mig",
            "gpu_mig_profile",
        ];
        let of = |old: &Old<'_>| {
            let there = names.iter().filter_map(|name| {
                let value = old.at(name).value()?.clone();
                Some(((*name).to_owned(), value))
            });
            Value::Object(there.collect())
        };
        let processes: Vec<Value> = self
            .all
            .iter()
            .filter(|old| old.at("process_index").is_there())
            .map(of)
            .collect();
        json!({ "backend_version": self.text("backend_version"), "processes": processes })
    }
}

fn key_now(old: &str) -> String {
    key_of_version_2(old).unwrap_or(old).to_owned()
}

fn origin(source: &str, detail: Option<&str>) -> Origin {
    Origin {
        source: source.to_owned(),
        detail: detail.map(redact::line),
    }
}
