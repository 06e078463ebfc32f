//! Engines that are worker processes.

use crate::support::case;

#[test]
fn a_worker_needs_a_command() {
    let errors = case("model_name: m\nbackend: worker\n").errors();
    assert!(errors.contains("`worker.command`"), "{errors}");
    case("model_name: m\nbackend: worker\nworker: {command: [w], options: {a: [1]}}\n").good();
}

#[test]
fn what_transformers_does_not_generate_token_by_token_is_refused() {
    let text = |more: &str| format!("model_name: o/m\nbackend: transformers\npytorch: {more}\n");
    for wrong in [
        "{beam_search: {enabled: true, num_beams: 4}}",
        "{beam_search: {num_beams: 2}}",
        "{assisted_generation: {model: o/small, num_tokens: 5}}",
    ] {
        let errors = case(&text(wrong)).errors();
        assert!(errors.contains("greedily or by sampling only"), "{errors}");
    }
    case(&text(
        "{beam_search: {enabled: false, num_beams: 1}, assisted_generation: {model: null}}",
    ))
    .good();
}

#[test]
fn a_sum_is_taken_only_for_what_lem_finds_itself() {
    let sum = "0".repeat(64);
    let text =
        |name: &str| format!("model_name: {name}\nbackend: transformers\nmodel_sha256: '{sum}'\n");
    for good in ["'pypi:p==1#m.gguf'", "./m.gguf"] {
        case(&text(good)).good();
    }
    for wrong in [
        "org/name",
        "hf:org/name",
        "'hf:org/name#m.gguf'",
        "./folder",
    ] {
        let errors = case(&text(wrong)).errors();
        assert!(errors.contains("`model_sha256`"), "{errors}");
    }
}
