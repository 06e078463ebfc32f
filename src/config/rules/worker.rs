//! Rules of engines that are worker processes.

use serde_json::Value;

use super::{Clash, Facts, error};
use crate::config::model::{Backend, Config};

pub(super) fn command(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    if config.backend != Backend::Worker || !config.worker.command.is_empty() {
        return Vec::new();
    }
    vec![error(
        "missing",
        &["backend", "worker.command"],
        "`backend: worker` needs `worker.command`",
        "Add the program and its arguments: `worker: {command: [python3, my_worker.py]}`.",
    )]
}

/// lem's own worker, not one that replaces it.
fn ours(config: &Config) -> bool {
    config.backend == Backend::Transformers && config.worker.command.is_empty()
}

/// What generates otherwise than token by token has no token times.
pub(super) fn token_by_token(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    if !ours(config) {
        return Vec::new();
    }
    let on = |value: &Option<Value>| match value {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Object(map)) => {
            map.get("enabled").and_then(Value::as_bool) == Some(true)
                || map.get("model").is_some_and(|model| !model.is_null())
                || map.get("num_beams").and_then(Value::as_u64) > Some(1)
        }
        Some(_) => true,
    };
    let beams = ("pytorch.beam_search", &config.pytorch.beam_search);
    let draft = (
        "pytorch.assisted_generation",
        &config.pytorch.assisted_generation,
    );
    [beams, draft]
        .into_iter()
        .filter(|(_, value)| on(value))
        .map(|(key, _)| {
            error(
                "unsupported",
                &[key],
                format!(
                    "`{key}` is on, but `backend: transformers` generates greedily or by sampling only"
                ),
                "Remove it; for speculative decoding use `backend: vllm`.",
            )
        })
        .collect()
}

/// lem checks the sum of what it finds itself: a package's file, and a single file here.
pub(super) fn sum(facts: &Facts) -> Vec<Clash> {
    let config = facts.config;
    let worker = matches!(config.backend, Backend::Transformers | Backend::Worker);
    let name = config.model_name.as_deref().unwrap_or_default().trim();
    let one_file =
        name.starts_with("pypi:") || (!name.starts_with("hf:") && name.ends_with(".gguf"));
    if !worker || config.model_sha256.is_none() || one_file {
        return Vec::new();
    }
    vec![error(
        "contradiction",
        &["model_sha256", "backend"],
        "`model_sha256` is given, but the worker finds this model's files itself, and lem cannot check them",
        "Leave it out and pin the version with `hf:org/name@COMMIT`, or name one GGUF file.",
    )]
}
