//! What the configuration knows and this build does not do: told by name, never
//! ignored in silence. A part that gets built deletes its row.

use super::finding::{Finding, Severity};
use super::load::Resolved;
use super::model::{Backend, Config, TrafficMode};
use super::place::Place;
use super::suggest::any_of;

/// What this build can do. The engine and the sinks say it: only they have feature switches.
#[derive(Clone, Debug, Default)]
pub struct Built {
    /// Names of the backends, as [`Backend::as_str`] spells them.
    pub backends: Vec<&'static str>,
    /// Names of the sinks, as under `integrations`.
    pub sinks: Vec<&'static str>,
}

struct Row {
    /// The key to point at.
    key: &'static str,
    severity: Severity,
    /// Whether this configuration asks for it.
    asks: fn(&Resolved) -> bool,
    what: &'static str,
    instead: &'static str,
}

const fn refuse(
    key: &'static str,
    asks: fn(&Resolved) -> bool,
    what: &'static str,
    instead: &'static str,
) -> Row {
    Row {
        key,
        severity: Severity::Error,
        asks,
        what,
        instead,
    }
}

const fn warn(
    key: &'static str,
    asks: fn(&Resolved) -> bool,
    what: &'static str,
    instead: &'static str,
) -> Row {
    Row {
        key,
        severity: Severity::Warning,
        asks,
        what,
        instead,
    }
}

const ROWS: &[Row] = &[
    refuse(
        "profiling.enabled",
        |r| r.config.profiling.enabled && !profiles(&r.config),
        "the engine has no profiler of its own",
        "Set `profiling.enabled: false` (or leave `--profile` out): FLOPs are counted from the architecture without it. Or set `backend: torch`.",
    ),
    refuse(
        "quality.enabled",
        |r| r.config.quality.enabled,
        "this version of lem does not evaluate quality yet",
        "Set `quality.enabled: false`.",
    ),
    refuse(
        "adapter",
        |r| r.config.adapter.is_some(),
        "this version of lem does not load LoRA adapters yet",
        "Merge the adapter into the weights and name the merged model in `model_name`.",
    ),
    refuse(
        "traffic.mode",
        |r| !r.config.backend.is_server() && r.config.traffic.mode != TrafficMode::Closed,
        "a schedule of requests is for servers: this engine answers one batch after the other",
        "Set `traffic.mode: closed`, and the load by `batching.batch_size`.",
    ),
    warn(
        "traffic.concurrency",
        |r| in_process(&r.config) && r.config.traffic.concurrency != 1,
        "`traffic.concurrency` has no effect on an engine in this process",
        "Set `batching.batch_size`: that many sequences run together.",
    ),
    warn(
        "sweep",
        |r| !r.config.sweep.is_empty(),
        "the section `sweep` has no effect here: one configuration is measured, not its points",
        "Use `lem sweep` with this file, or remove the section.",
    ),
    warn(
        "streaming",
        |r| in_process(&r.config) && !r.config.streaming,
        "`streaming: false` has no effect: an engine in this process always tells each token's time",
        "Remove it.",
    ),
];

/// Sections that only some backends read.
const SECTIONS: &[(&str, &[Backend])] = &[
    ("candle", &[Backend::Candle]),
    ("torch", &[Backend::Torch]),
    (
        "pytorch",
        &[Backend::Torch, Backend::Transformers, Backend::Worker],
    ),
    ("vllm", &[Backend::Vllm, Backend::Worker]),
    ("tensorrt", &[Backend::TensorrtLlm, Backend::Worker]),
    ("worker", &[Backend::Transformers, Backend::Worker]),
    (
        "server",
        &[
            Backend::Vllm,
            Backend::TensorrtLlm,
            Backend::Sglang,
            Backend::LlamaCpp,
            Backend::Tgi,
            Backend::Ollama,
            Backend::Openai,
        ],
    ),
];

/// The engine has a profiler of its own.
fn profiles(config: &Config) -> bool {
    matches!(config.backend, Backend::Torch)
}

fn in_process(config: &Config) -> bool {
    matches!(config.backend, Backend::Candle | Backend::Torch)
}

/// What this build does not do of what the configuration asks for: errors, which end
/// the command with exit code 2, and warnings.
pub fn unbuilt(resolved: &Resolved, built: &Built) -> Vec<Finding> {
    let facts = resolved.facts();
    let place = |key: &str| facts.place(key).cloned().unwrap_or(Place::Default);
    let mut findings = Vec::new();

    let backend = resolved.config.backend;
    if !built.backends.contains(&backend.as_str()) {
        findings.push(
            Finding::error(
                "not-built",
                &place("backend"),
                format!(
                    "the backend `{}` is not in this build of lem",
                    backend.as_str()
                ),
                match built.backends.as_slice() {
                    [] => "Build lem with a backend: `cargo build --release --features candle`."
                        .into(),
                    there => format!("Set `backend` to {}.", any_of(there)),
                },
            )
            .at("backend"),
        );
    }
    for name in enabled_sinks(resolved) {
        if !built.sinks.contains(&name.as_str()) {
            let key = format!("integrations.{name}.enabled");
            findings.push(
                Finding::error(
                    "not-built",
                    &place(&key),
                    format!("the sink `{name}` is not in this build of lem"),
                    match built.sinks.as_slice() {
                        [] => format!("Set `{key}: false`; the run's folder has everything."),
                        there => format!("Set `{key}: false`; what there is: {}.", any_of(there)),
                    },
                )
                .at(&key),
            );
        }
    }
    for row in ROWS.iter().filter(|row| (row.asks)(resolved)) {
        let code = match row.severity {
            Severity::Error => "not-built",
            _ => "no-effect",
        };
        findings.push(
            Finding::new(row.severity, code, &place(row.key), row.what, row.instead).at(row.key),
        );
    }
    for (section, readers) in SECTIONS {
        if facts.given(section) && !readers.contains(&backend) {
            let names: Vec<&str> = readers.iter().map(|backend| backend.as_str()).collect();
            findings.push(
                Finding::warning(
                    "no-effect",
                    &place(section),
                    format!(
                        "the section `{section}` has no effect: the backend `{}` does not read it",
                        backend.as_str()
                    ),
                    format!("Remove it, or set `backend` to {}.", any_of(&names)),
                )
                .at(section),
            );
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// From the resolved tree and not from the model, so that a new sink needs no line here.
fn enabled_sinks(resolved: &Resolved) -> Vec<String> {
    resolved
        .tree
        .get("integrations")
        .and_then(serde_json::Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, section)| {
            section.get("enabled").and_then(serde_json::Value::as_bool) == Some(true)
        })
        .map(|(name, _)| name.clone())
        .collect()
}
