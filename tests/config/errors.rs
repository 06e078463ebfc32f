//! What a user reads where something is wrong.

use super::support::case;

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let case = case(
        "model_nam: hf:org/name
backend: canlde
num_cycles: 0
num_input_prompts: \"8\"
max_input_tokens: 1_000
gpus: 0
notes: true
batch_size: 4
batching:
  batch_sze: 4
  strategy: 7
decoder:
  temperature: warm
  top_p: 1.5
  top_k: -1
streaming: yes
prompts:
  input_tokens: {distribution: normal, mean: 12, min: 1}
  output_tokens: {distribution: zipf}
measurement: fast
batching.batch_size: 3
min_output_tokens: 64
max_output_tokens: 32
integrations:
  wandb: {api_key: hunter2}
",
    )
    .set("decoder.temprature=1")
    .set("carbon.pue=0.5")
    .variables(&[("LEM_MEASUREMENT__INTERVAL_MS", "often")]);
    let errors = case.errors();
    assert!(!errors.contains("hunter2"), "{errors}");
    insta::assert_snapshot!(errors);
}

#[test]
fn keys_that_contradict_one_another_are_told_with_both_places() {
    let case = case(
        "model_name: m
min_output_tokens: 64
max_output_tokens: 32
gpus: [0, 1, 0]
load_format: dummy
quality: {enabled: true}
measurement: {warmup: {min_rounds: 20}}
prompts:
  texts: [a]
  path: b
  input_tokens: {distribution: uniform, min: 9, max: 3}
  output_tokens: {distribution: normal, mean: 100, stddev: 2, min: 1, max: 64}
integrations: {files: {enabled: true}}
traffic: {mode: poisson}
",
    )
    .set("max_output_tokens=16");
    insta::assert_snapshot!(case.errors());
}

#[test]
fn what_has_no_effect_is_noted() {
    let case = case(
        "model_name: m
num_input_prompts: 2
batching: {batch_size: 8}
decoder: {top_k: 5}
prompts: {type: inline, texts: [a], path: b, split: test}
",
    )
    .variables(&[
        ("LEM_BATCHING_BATCH_SIZE", "4"),
        ("LEM_QUITE_UNRELATED", "4"),
        ("LEM_TEST_MODEL", "/m"),
        ("LEM_CACHE", "/c"),
    ]);
    let unknown: Vec<String> = case
        .good()
        .notes
        .iter()
        .filter(|note| note.code == "unknown-variable")
        .map(|note| note.place.to_string())
        .collect();
    assert_eq!(
        unknown,
        [
            "the variable LEM_BATCHING_BATCH_SIZE",
            "the variable LEM_QUITE_UNRELATED"
        ]
    );
    insta::assert_snapshot!(case.notes());
}

#[test]
fn yaml_that_is_none_is_told_with_its_place() {
    insta::assert_snapshot!(case("model_name: m\nprompts:\n\ttexts: [a]\n").errors());
    insta::assert_snapshot!(case("model_name: 'm\nnum_cycles: 1\n").errors());
    insta::assert_snapshot!(case("model_name: m\na: 1\nmodel_name: n\na: 2\n").errors());
    insta::assert_snapshot!(case("model_name: !env M\n").errors());
    insta::assert_snapshot!(case("- model_name: m\n").errors());
    insta::assert_snapshot!(case("model_name: m\n---\nmodel_name: n\n").errors());
}

#[test]
fn a_setting_that_is_malformed_is_told() {
    let case = case("model_name: m\n")
        .set("num_cycles")
        .set("=3")
        .set("a..b=3")
        .set("gpus=[0")
        .set("gpus=0,1")
        .set("gpus.0=1")
        .set("_extends=b.yaml");
    insta::assert_snapshot!(case.errors());
}

#[test]
fn a_thousand_errors_are_cut_short() {
    let text: String = (0..1_000).map(|n| format!("key{n}: 1\n")).collect();
    let errors = case(&text).load().unwrap_err();
    assert_eq!(errors.errors().count(), 100);
    assert_eq!(errors.more, 901, "with the missing model");
    assert!(
        errors
            .to_string()
            .ends_with("1001 errors in the configuration")
    );
}

#[test]
fn findings_are_json_for_scripts() {
    let errors = case("model_name: m\nnum_cycles: 0\n").load().unwrap_err();
    let json = serde_json::to_value(&errors).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["code"], "value");
    assert_eq!(finding["key"], "num_cycles");
    assert!(finding["place"].as_str().unwrap().ends_with("a.yaml:2:13"));
}
