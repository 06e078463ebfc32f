//! Files of version 2 load, and say what has moved.

use lem::config::{Backend, BatchingStrategy, Precision, TrafficMode};

use super::support::case;

#[test]
fn a_file_of_version_2_loads_with_a_note_for_each_old_key() {
    let example = std::fs::read_to_string("configs/v2-style.yaml").unwrap();
    let case = case(&example);
    let config = case.good().config;
    assert_eq!(config.backend, Backend::Transformers);
    assert_eq!(config.fp_precision, Precision::Fp16);
    assert_eq!(config.batching.batch_size, 4);
    assert_eq!(config.batching.strategy, BatchingStrategy::Static);
    assert_eq!(
        config.prompts.dataset.as_deref(),
        Some("ai-energy-score/text_generation")
    );
    assert_eq!(config.prompts.sample_size, Some(32));
    assert_eq!(config.prompts.column.as_deref(), Some("text"));
    assert_eq!(config.gpus, [0]);
    assert_eq!(config.measurement.warmup.min_rounds, 5);
    assert_eq!(config.measurement.warmup.max_rounds, 5);
    assert_eq!(config.traffic.mode, TrafficMode::Closed);
    assert_eq!(config.pytorch.attn_implementation.as_deref(), Some("sdpa"));
    assert_eq!(config.random_seed, 42);
    insta::assert_snapshot!(case.notes());
}

#[test]
fn traffic_that_was_on_stays_on() {
    let config =
        case("model_name: m\ntraffic_simulation: {enabled: true, target_qps: 2, seed: 3}\n")
            .good()
            .config;
    assert_eq!(
        config.traffic.mode,
        TrafficMode::Poisson,
        "what version 2 did by default"
    );
    assert_eq!(
        (config.traffic.target_qps, config.traffic.seed),
        (Some(2.0), Some(3))
    );
}

#[test]
fn old_keys_take_part_in_the_layers_by_their_new_names() {
    let case = case("model_name: m\npytorch: {batch_size: 2}\ngpu_list: [1]\n")
        .variables(&[
            ("LEM_PYTORCH__BATCH_SIZE", "8"),
            ("LLM_ENERGY_RESULTS_DIR", "/r"),
        ])
        .set("gpu_list=[2]");
    let resolved = case.good();
    assert_eq!(resolved.config.batching.batch_size, 8);
    assert_eq!(resolved.config.gpus, [2]);
    assert_eq!(resolved.config.io.results_dir, "/r");
    let newer = case.set("batching.batch_size=16").good();
    assert_eq!(newer.config.batching.batch_size, 16);
}

#[test]
fn where_old_and_new_are_both_given_the_new_one_counts() {
    let case = case("model_name: m\npytorch: {batch_size: 2}\nbatching: {batch_size: 4}\n");
    assert_eq!(case.good().config.batching.batch_size, 4);
    assert!(
        case.notes().contains("the old key has no effect"),
        "{}",
        case.notes()
    );
}

#[test]
fn an_old_key_with_a_wrong_value_is_told_by_its_new_name_at_its_old_place() {
    let errors = case("model_name: m\npytorch:\n  batch_size: many\n").errors();
    assert!(
        errors.contains("`batching.batch_size` is text: `many`"),
        "{errors}"
    );
    assert!(errors.contains("a.yaml:3:15"), "{errors}");
}

#[test]
fn a_configuration_as_version_2_wrote_it_out_loads() {
    let text = include_str!("data/effective-v2.json");
    let config = case(text).good().config;
    assert_eq!(config.batching.batch_size, 8);
    assert_eq!(config.prompts.dataset, None);
}

#[test]
fn a_dataset_may_be_a_bare_name() {
    let config = case("model_name: m\ndataset: org/set\n").good().config;
    assert_eq!(config.prompts.dataset.as_deref(), Some("org/set"));
}
