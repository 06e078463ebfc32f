//! Which layer wins, and how each value's origin is told.

use lem::config::{Backend, Distribution, FlagValue, Format, Length, show};
use lem_record::Origin;
use serde_json::{Value, json};

use super::support::case;

fn origin(source: &str, detail: &str) -> Origin {
    Origin {
        source: source.into(),
        detail: Some(detail.into()),
    }
}

#[test]
fn each_layer_beats_those_before_it() {
    let base = "_extends: null\nmodel_name: base\nnum_cycles: 1\nrandom_seed: 1\nmax_input_tokens: 1\n\
                num_input_prompts: 1\nmax_output_tokens: 1\ngpus: [1, 2, 3]\n";
    let case = case("")
        .file("base.yaml", base)
        .file(
            "a.yaml",
            "_extends: base.yaml\nmodel_name: file\nnum_cycles: 2\nrandom_seed: 2\nmax_input_tokens: 2\n\
             num_input_prompts: 2\ngpus: [4]\n",
        )
        .variables(&[
            ("LEM_NUM_CYCLES", "3"),
            ("LEM_RANDOM_SEED", "3"),
            ("LEM_MAX_INPUT_TOKENS", "3"),
            ("LEM_BACKEND", ""),
        ])
        .set("random_seed=4")
        .set("max_input_tokens=4")
        .set("max_input_tokens=5")
        .flag(FlagValue::new("random_seed", 5, "--seed 5"));
    let resolved = case.good();
    let config = &resolved.config;
    assert_eq!(
        config.backend,
        Backend::Candle,
        "an empty variable is unset"
    );
    assert_eq!(config.max_output_tokens, 1);
    assert_eq!(config.num_input_prompts, 2);
    assert_eq!(config.gpus, [4], "lists are replaced");
    assert_eq!(config.num_cycles, 3);
    assert_eq!(config.max_input_tokens, 5, "the last setting wins");
    assert_eq!(config.random_seed, 5);

    let at = |name: &str| case.path(name).display().to_string();
    let origins = &resolved.origins;
    assert_eq!(
        origins["max_output_tokens"],
        origin("file", &format!("{}:7:20", at("base.yaml")))
    );
    assert_eq!(
        origins["num_input_prompts"],
        origin("file", &format!("{}:6:20", at("a.yaml")))
    );
    assert_eq!(
        origins["gpus"],
        origin("file", &format!("{}:7:7", at("a.yaml")))
    );
    assert_eq!(
        origins["num_cycles"],
        origin("environment", "LEM_NUM_CYCLES")
    );
    assert_eq!(
        origins["max_input_tokens"],
        origin("flag", "--set max_input_tokens=5")
    );
    assert_eq!(origins["random_seed"], origin("flag", "--seed 5"));
    assert_eq!(
        origins["backend"],
        Origin {
            source: "default".into(),
            detail: None
        }
    );
    assert_eq!(
        resolved.files,
        [case.path("a.yaml"), case.path("base.yaml")]
    );
}

#[test]
fn every_leaf_has_an_origin_and_nothing_else_has() {
    let resolved = case("model_name: m\ntags: {a: 1.10, b: x}\nprompts: {input_tokens: {distribution: uniform, min: 1, max: 2}}\n").good();
    let shown: Value = serde_json::from_str(&show(&resolved, Format::Json, true)).unwrap();
    let shown = shown.as_object().unwrap();
    assert_eq!(shown.len(), resolved.origins.len());
    for (path, leaf) in shown {
        assert!(leaf["origin"]["source"].is_string(), "{path}");
        assert!(leaf.get("value").is_some(), "{path}");
    }
    assert_eq!(shown["tags.a"]["value"], "1.10", "text as it was written");
    assert_eq!(shown["prompts.input_tokens.min"]["value"], 1);
    assert_eq!(
        shown["prompts.input_tokens.min"]["origin"]["source"],
        "file"
    );
    assert_eq!(
        shown["batching.batch_size"],
        json!({"value": 1, "origin": {"source": "default"}})
    );
}

#[test]
fn what_is_shown_as_yaml_loads_as_the_same() {
    let first = case(
        "model_name: m\nnotes: 'a: #b'\nprompts: {texts: [\"x\\ny\", '- z']}\nnum_cycles: 7\ntags: {k: 'true'}\n",
    );
    let first = first.good();
    for origin in [false, true] {
        let again = case(&show(&first, Format::Yaml, origin)).good();
        assert_eq!(again.config, first.config);
    }
}

#[test]
fn a_preset_sets_what_is_left_out() {
    let resolved = case("model_name: m\ndecoder: {preset: creative, top_p: 0.5}\n")
        .variables(&[("LEM_DECODER__PRESET", "standard")])
        .good();
    let decoder = &resolved.config.decoder;
    assert_eq!(
        (decoder.temperature, decoder.top_k, decoder.top_p),
        (1.0, Some(50), Some(0.5))
    );
    assert_eq!(
        decoder.repetition_penalty, 1.0,
        "of the default, not of the other preset"
    );
    assert_eq!(
        resolved.origins["decoder.temperature"],
        origin("preset", "standard")
    );
    assert_eq!(resolved.origins["decoder.top_p"].source, "file");
    assert!(!resolved.given("decoder.temperature"));
    assert!(resolved.given("decoder.top_p") && resolved.given("decoder"));
}

#[test]
fn null_takes_a_key_back_to_its_default() {
    let case = case("")
        .file(
            "base.yaml",
            "model_name: m\nnum_cycles: 9\nnotes: n\ntags: {a: b}\nvllm: {block_size: 16}\n",
        )
        .file(
            "a.yaml",
            "_extends: base.yaml\nnum_cycles: null\nvllm: ~\ntags:\n",
        )
        .set("notes=null");
    let resolved = case.good();
    assert_eq!(resolved.config.num_cycles, 3);
    assert_eq!(resolved.origins["num_cycles"].source, "default");
    assert_eq!(resolved.config.notes, None);
    assert!(resolved.config.tags.is_empty());
    assert_eq!(resolved.config.vllm.block_size, None);
}

#[test]
fn a_drawn_length_is_changed_in_part_or_replaced_whole() {
    let file = "model_name: m\nprompts: {input_tokens: {distribution: normal, mean: 8, stddev: 1, min: 1, max: 16}}\n";
    let changed = case(file).set("prompts.input_tokens.max=32").good();
    assert_eq!(
        changed.config.prompts.input_tokens,
        Some(Length::Drawn(Distribution::Normal {
            mean: 8.0,
            stddev: 1.0,
            min: 1,
            max: 32
        }))
    );
    let replaced = case(file)
        .set("prompts.input_tokens={distribution: uniform, min: 2, max: 4}")
        .good();
    assert_eq!(
        replaced.config.prompts.input_tokens,
        Some(Length::Drawn(Distribution::Uniform { min: 2, max: 4 }))
    );
    let fixed = case(file).set("prompts.input_tokens=64").good();
    assert_eq!(fixed.config.prompts.input_tokens, Some(Length::Fixed(64)));
}

#[test]
fn variables_and_settings_take_text_as_it_stands_and_the_rest_as_yaml() {
    let resolved = case("model_name: m\n")
        .variables(&[
            ("LEM_NOTES", "a: b #c"),
            ("LEM_CONFIG_NAME", "123"),
            ("LEM_GPUS", "[0, 1]"),
            ("LEM_PROMPTS", "{texts: [x], seed: 1}"),
            ("LEM_PROMPTS__SEED", "2"),
            ("LEM_TAGS__TEAM", "true"),
            ("LEM_INTEGRATIONS__REMOTE_WRITE__URL", "http://h"),
        ])
        .set("tags.a.b=\"quoted\"")
        .set("random_seed=18446744073709551615")
        .good();
    let config = &resolved.config;
    assert_eq!(config.notes.as_deref(), Some("a: b #c"));
    assert_eq!(config.config_name.as_deref(), Some("123"));
    assert_eq!(config.gpus, [0, 1]);
    assert_eq!(
        (config.prompts.texts.len(), config.prompts.seed),
        (1, Some(2))
    );
    assert_eq!(config.tags["team"], "true");
    assert_eq!(config.tags["a.b"], "quoted");
    assert_eq!(config.random_seed, u64::MAX);
    let written = config.integrations.remote_write.url.as_ref();
    assert_eq!(written.map(|url| url.expose()), Some("http://h"));
}

#[test]
fn the_ecosystems_variables_beat_the_file_and_lose_to_ours() {
    let file = "model_name: m\nintegrations: {mlflow: {tracking_uri: http://file, experiment_name: file}}\n";
    let resolved = case(file)
        .variables(&[
            ("MLFLOW_TRACKING_URI", "http://theirs"),
            ("MLFLOW_EXPERIMENT_NAME", "theirs"),
            ("LEM_INTEGRATIONS__MLFLOW__EXPERIMENT_NAME", "ours"),
            ("WANDB_PROJECT", "p"),
        ])
        .good();
    let mlflow = &resolved.config.integrations.mlflow;
    assert_eq!(
        mlflow.tracking_uri.as_ref().unwrap().expose(),
        "http://theirs"
    );
    assert_eq!(mlflow.experiment_name.as_deref(), Some("ours"));
    assert_eq!(
        resolved.config.integrations.wandb.project.as_deref(),
        Some("p")
    );
    assert_eq!(
        resolved.origins["integrations.mlflow.tracking_uri"],
        origin("environment", "MLFLOW_TRACKING_URI")
    );
}

#[test]
fn variables_and_settings_alone_are_enough() {
    let mut case = case("");
    case.sources.file = None;
    let case = case
        .variables(&[("LEM_MODEL_NAME", "hf:o/n")])
        .set("integrations.mlflow.enabled=true");
    let resolved = case.good();
    assert_eq!(resolved.config.model_name.as_deref(), Some("hf:o/n"));
    assert!(resolved.config.integrations.mlflow.enabled);
    assert!(resolved.files.is_empty());
}
