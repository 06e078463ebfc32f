//! What a build does not do is told by name.

use lem::config::{Built, Finding, Severity, unbuilt};

use super::support::{Case, case};

fn told(case: &Case) -> String {
    let built = Built {
        backends: vec!["candle"],
        sinks: vec!["files", "mlflow"],
    };
    let findings: Vec<String> = unbuilt(&case.good(), &built)
        .iter()
        .map(Finding::to_string)
        .collect();
    case.plain(&findings.join("\n"))
}

#[test]
fn a_plain_run_asks_for_nothing_that_is_missing() {
    let case = case(
        "model_name: m\nintegrations: {mlflow: {enabled: true}, files: {enabled: true, path: p}}\ncandle: {threads: 2}\n",
    );
    assert_eq!(told(&case), "");
}

#[test]
fn each_part_is_refused_or_warned_about_where_it_is_asked_for() {
    let case = case(
        "model_name: m
adapter: a
streaming: false
profiling: {enabled: true}
quality: {enabled: true}
server: {url: 'http://h'}
worker: {command: [w]}
traffic: {mode: poisson, target_qps: 1, concurrency: 4}
pytorch: {torch_compile: true}
vllm: {speculative: {method: ngram}}
integrations:
  wandb: {enabled: true}
  remote-write: {enabled: true, url: 'http://h'}
",
    )
    .variables(&[("LEM_INTEGRATIONS__OTLP__ENABLED", "true")]);
    insta::assert_snapshot!(told(&case));
}

#[test]
fn a_backend_that_is_not_built_is_refused_and_its_section_is_not_warned_about() {
    let case = case("model_name: m\nbackend: vllm\nvllm: {block_size: 16}\ncandle: {threads: 1}\n");
    let findings = unbuilt(
        &case.good(),
        &Built {
            backends: vec!["candle"],
            sinks: vec![],
        },
    );
    let codes: Vec<_> = findings
        .iter()
        .map(|f| (f.severity, f.key.as_deref().unwrap()))
        .collect();
    assert_eq!(
        codes,
        [(Severity::Error, "backend"), (Severity::Warning, "candle")]
    );
}
