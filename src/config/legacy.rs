//! Keys of version 2, and where they have gone: a table, applied to each layer by
//! itself, so that an old key in a file loses to a new one in a variable as it should.

use serde_json::Value;

use super::finding::{Finding, Findings};
use super::keys::variable_of;
use super::place::Place;
use super::redact;
use super::tree::{Data, Entry, Map, Node};

pub(crate) struct Row {
    pub old: &'static str,
    pub fate: Fate,
}

pub(crate) enum Fate {
    /// To these keys, with its value.
    Moved(&'static [&'static str]),
    /// Has no effect, and why.
    Gone(&'static str),
}

const fn moved(old: &'static str, to: &'static [&'static str]) -> Row {
    Row {
        old,
        fate: Fate::Moved(to),
    }
}

const fn gone(old: &'static str, why: &'static str) -> Row {
    Row {
        old,
        fate: Fate::Gone(why),
    }
}

const NO_TEXT: &str = "lem keeps no generated text";
const ONE_PROCESS: &str = "lem measures one process; a server shares a model between GPUs by its own options (`vllm.tensor_parallel_size`)";
const NOT_PASSED: &str = "no backend of lem takes it";
const SCHEDULE: &str = "lem does not run by the clock; let cron or a systemd timer start it";

pub(crate) const ROWS: &[Row] = &[
    moved("dataset.name", &["prompts.dataset"]),
    moved("dataset.sample_size", &["prompts.sample_size"]),
    moved("dataset.split", &["prompts.split"]),
    moved("dataset.column", &["prompts.column"]),
    moved("dataset.subset", &["prompts.subset"]),
    moved("dataset", &["prompts.dataset"]),
    gone(
        "traffic_simulation.enabled",
        "`traffic.mode` says it: `closed` is off",
    ),
    moved("traffic_simulation.mode", &["traffic.mode"]),
    moved("traffic_simulation.target_qps", &["traffic.target_qps"]),
    moved("traffic_simulation.seed", &["traffic.seed"]),
    moved("pytorch.batch_size", &["batching.batch_size"]),
    moved("pytorch.batching_strategy", &["batching.strategy"]),
    moved("gpu_list", &["gpus"]),
    moved(
        "streaming_warmup_requests",
        &[
            "measurement.warmup.min_rounds",
            "measurement.warmup.max_rounds",
        ],
    ),
    moved("quantization.load_in_4bit", &["pytorch.load_in_4bit"]),
    moved("quantization.load_in_8bit", &["pytorch.load_in_8bit"]),
    gone(
        "quantization.quantization",
        "`pytorch.load_in_4bit` and `load_in_8bit` say it",
    ),
    gone(
        "quantization.cached_flops_for_quantised_models",
        "FLOPs are counted from the architecture",
    ),
    gone(
        "quantization",
        "a quantised model is loaded as its file has it",
    ),
    gone("num_processes", ONE_PROCESS),
    gone("sharding", ONE_PROCESS),
    gone("parallelism", ONE_PROCESS),
    gone("pytorch.parallelism_strategy", ONE_PROCESS),
    gone("pytorch.parallelism_degree", ONE_PROCESS),
    gone("schedule", SCHEDULE),
    gone("save_outputs", NO_TEXT),
    gone("decode_token_to_text", NO_TEXT),
    gone("cycle_id", "lem numbers the cycles itself"),
    gone("query_rate", "`traffic.target_qps` is the rate of requests"),
    gone("extra_metadata", "`tags` is the place for it"),
    gone("inference_type", "it follows from the model"),
    gone("is_encoder_decoder", "it follows from the model"),
    gone("task_type", "it follows from the model"),
    gone(
        "backend_version",
        "the engine's version is recorded by itself",
    ),
    gone(
        "pytorch.max_tokens_per_batch",
        "batches are made by number of sequences",
    ),
    gone("pytorch.bnb_4bit_compute_dtype", NOT_PASSED),
    gone("pytorch.bnb_4bit_quant_type", NOT_PASSED),
    gone("pytorch.bnb_4bit_use_double_quant", NOT_PASSED),
    gone("pytorch.low_cpu_mem_usage", NOT_PASSED),
    gone("pytorch.max_memory", NOT_PASSED),
    gone("pytorch.min_p", NOT_PASSED),
    gone("pytorch.no_repeat_ngram_size", NOT_PASSED),
    gone("pytorch.output_scores", NO_TEXT),
    gone("pytorch.return_dict_in_generate", NO_TEXT),
    gone(
        "pytorch.use_bettertransformer",
        "`pytorch.attn_implementation: sdpa` is what it became",
    ),
    gone("pytorch.extra", NOT_PASSED),
];

/// Values that are spelt otherwise now.
pub(crate) const VALUES: &[(&str, &str, &str)] = &[
    ("backend", "pytorch", "transformers"),
    ("backend", "tensorrt", "tensorrt-llm"),
    ("fp_precision", "float32", "fp32"),
    ("fp_precision", "float16", "fp16"),
    ("fp_precision", "bfloat16", "bf16"),
    ("batching.strategy", "dynamic", "static"),
    ("batching.strategy", "sorted_dynamic", "sorted_static"),
];

/// Variables of version 2: the key, or why there is none.
pub(crate) const VARIABLES: &[(&str, Result<&str, &str>)] = &[
    ("LLM_ENERGY_RESULTS_DIR", Ok("io.results_dir")),
    (
        "LLM_ENERGY_STATE_DIR",
        Err("a run keeps its state in its own folder"),
    ),
    (
        "LLM_ENERGY_CONFIGS_DIR",
        Err("a configuration is named by its path"),
    ),
    (
        "LLM_ENERGY_VERBOSITY",
        Err("lem has no levels of verbosity"),
    ),
];

/// What a variable of version 2 sets, if anything, and what is to be said of it.
pub(crate) fn variable(name: &str) -> Option<(Option<&'static str>, Finding)> {
    let (name, fate) = VARIABLES.iter().find(|(known, _)| *known == name)?;
    let place = Place::variable(name);
    Some(match fate {
        Ok(key) => (
            Some(key),
            Finding::note(
                "moved",
                &place,
                format!("the variable `{name}` of version 2 is now `{key}`, and was taken as that"),
                format!("Set `{}` in its place.", variable_of(key)),
            ),
        ),
        Err(why) => (
            None,
            Finding::warning(
                "gone",
                &place,
                format!("the variable `{name}` of version 2 has no effect: {why}"),
                "Unset it.",
            ),
        ),
    })
}

/// The old key that a variable spells: `LEM_PYTORCH__BATCH_SIZE`.
pub(crate) fn path_of_variable(name: &str) -> Option<&'static str> {
    ROWS.iter()
        .map(|row| row.old)
        .find(|old| variable_of(old) == name)
}

/// Moves the old keys of a layer to their new places, with a note for each.
pub(crate) fn migrate(layer: &mut Node, findings: &mut Findings) {
    traffic(layer, findings);
    for row in ROWS {
        let path: Vec<&str> = row.old.split('.').collect();
        let is_section = layer.get(&path).is_some_and(|n| n.as_map().is_some());
        // A section moves key by key, by the rows before it.
        if is_section && matches!(row.fate, Fate::Moved(_)) {
            continue;
        }
        let Some(entry) = layer.take(&path) else {
            continue;
        };
        // Version 2 wrote all its keys out, most of them empty.
        if !entry.node.is_empty() {
            apply(row, entry, layer, findings);
        }
    }
    for (path, old, new) in VALUES {
        rename(layer, path, old, new, findings);
    }
}

/// A configuration that version 2 wrote into its results, with the names of today, without
/// secrets, and without the many keys that it left empty.
pub(crate) fn renamed(config: &Value) -> Value {
    let mut node = bare(config);
    let mut unsaid = Findings::default();
    migrate(&mut node, &mut unsaid);
    redact::value("", &node.to_value())
}

/// The key that a key of version 2 is now, where it is another one.
pub(crate) fn new_key(old: &str) -> Option<&'static str> {
    let row = ROWS.iter().find(|row| row.old == old)?;
    match row.fate {
        Fate::Moved(targets) => targets.first().copied(),
        Fate::Gone(_) => None,
    }
}

fn bare(value: &Value) -> Node {
    let place = Place::Default;
    let data = match value {
        Value::Object(map) => Data::Map(
            map.iter()
                .map(|(key, value)| (key, bare(value)))
                .filter(|(_, node)| !node.is_empty())
                .map(|(key, node)| {
                    let key_place = Place::Default;
                    (
                        key.clone(),
                        Entry {
                            key: key_place,
                            node,
                        },
                    )
                })
                .collect::<Map>(),
        ),
        Value::Array(items) => Data::List(items.iter().map(bare).collect()),
        Value::String(text) => return Node::text(text, place),
        scalar => return Node::scalar(scalar.clone(), &scalar.to_string(), place),
    };
    Node { data, place }
}

fn apply(row: &Row, entry: Entry, layer: &mut Node, findings: &mut Findings) {
    match row.fate {
        Fate::Gone(why) => findings.push(
            Finding::warning(
                "gone",
                &entry.key,
                format!("`{}` of version 2 has no effect: {why}", row.old),
                "Remove it.",
            )
            .at(row.old),
        ),
        Fate::Moved(targets) => {
            let names: Vec<String> = targets.iter().map(|to| format!("`{to}`")).collect();
            let names = names.join(" and ");
            let mut taken = false;
            for to in targets {
                let path: Vec<&str> = to.split('.').collect();
                if layer.get(&path).is_some() {
                    taken = true;
                    continue;
                }
                layer.put(&path, entry.clone());
            }
            findings.push(if taken {
                Finding::warning(
                    "moved",
                    &entry.key,
                    format!(
                        "`{}` is now {names}, which is given too: the old key has no effect",
                        row.old
                    ),
                    "Remove the old key.",
                )
                .at(row.old)
            } else {
                Finding::note(
                    "moved",
                    &entry.key,
                    format!("`{}` is now {names}, and was taken as that", row.old),
                    format!("Rename it to {names}."),
                )
                .at(row.old)
            });
        }
    }
}

fn rename(layer: &mut Node, path: &str, old: &str, new: &str, findings: &mut Findings) {
    let keys: Vec<&str> = path.split('.').collect();
    let Some(node) = layer.get(&keys) else { return };
    if node.as_scalar().is_none_or(|scalar| &*scalar.text != old) {
        return;
    }
    let place = node.place.clone();
    let Some(entry) = layer.take(&keys) else {
        return;
    };
    findings.push(
        Finding::note(
            "renamed",
            &place,
            format!("`{path}: {old}` is now `{new}`, and was taken as that"),
            format!("Write `{new}`."),
        )
        .at(path),
    );
    let node = Node::text(new, place);
    layer.put(&keys, Entry { node, ..entry });
}

/// In version 2 the simulation was off unless `enabled`, whatever else was given.
fn traffic(layer: &mut Node, findings: &mut Findings) {
    let enabled = layer
        .get(&["traffic_simulation", "enabled"])
        .and_then(|node| node.as_scalar()?.value.as_bool());
    match enabled {
        Some(false) => {
            if let Some(entry) = layer.take(&["traffic_simulation"]) {
                findings.push(
                    Finding::note(
                        "moved",
                        &entry.key,
                        "`traffic_simulation` is now `traffic`; it was off here, and is left out",
                        "Remove it: `traffic.mode: closed` is the default.",
                    )
                    .at("traffic_simulation"),
                );
            }
        }
        Some(true) if layer.get(&["traffic_simulation", "mode"]).is_none() => {
            if let Some(entry) = layer
                .as_map()
                .and_then(|map| map.get("traffic_simulation"))
                .cloned()
                && layer.get(&["traffic", "mode"]).is_none()
            {
                let node = Node::text("poisson", entry.key.clone());
                let entry = Entry {
                    key: entry.key,
                    node,
                };
                layer.put(&["traffic", "mode"], entry);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::{Fate, ROWS, VALUES};
    use crate::config::keys::{Shape, keys};

    #[test]
    fn what_moved_went_to_keys_that_exist_from_keys_that_do_not() {
        for row in ROWS {
            assert!(keys().row(row.old).is_none(), "{} is a key", row.old);
            if let Fate::Moved(targets) = row.fate {
                for to in targets {
                    assert!(keys().row(to).is_some(), "{to}");
                }
            }
        }
        for (path, old, new) in VALUES {
            let Shape::Choice(choices) = &keys().row(path).expect("is a key").field.shape else {
                panic!("{path} is no choice");
            };
            assert!(choices.iter().any(|choice| choice.value == *new), "{new}");
            assert!(choices.iter().all(|choice| choice.value != *old), "{old}");
        }
    }
}
