use super::super::{RunResult, assert_valid, schema_json};
use super::{golden_data, result_of};
use crate::analysis::RunData;
use crate::analysis::testing::TestLog;

fn published() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/result.schema.json")
}

#[test]
fn the_published_schema_is_the_code_s() {
    if std::env::var_os("LEM_UPDATE_DOCS").is_some() {
        std::fs::write(published(), schema_json()).unwrap();
    }
    let text = std::fs::read_to_string(published()).unwrap();
    assert!(
        text == schema_json(),
        "docs/result.schema.json is old: run the tests with LEM_UPDATE_DOCS=1"
    );
}

#[test]
fn every_field_of_the_schema_is_described() {
    let schema: serde_json::Value = serde_json::from_str(&schema_json()).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    for name in [
        "prefill_time_ms",
        "decode_energy_j",
        "baseline_power_w",
        "time_series",
        "warnings",
        "exports",
    ] {
        assert!(properties.contains_key(name), "{name}");
    }
    described("the result", properties);
    // Those of other modules are theirs to describe.
    let others = [
        "ModelDescription",
        "Quantity",
        "Uncertainty",
        "Interval",
        "How",
        "RunStatus",
        "Component",
    ];
    for (name, def) in schema["$defs"].as_object().unwrap() {
        // What has no fields is a choice of words.
        if let Some(fields) = def["properties"].as_object()
            && !others.contains(&name.as_str())
        {
            described(name, fields);
        }
    }
}

fn described(of: &str, properties: &serde_json::Map<String, serde_json::Value>) {
    for (name, property) in properties {
        assert!(
            property["description"].is_string(),
            "{name} of {of} has no description"
        );
    }
}

#[test]
fn every_result_is_valid_and_reads_back() {
    let mut modelled = TestLog::modelled();
    modelled.cycle(0, crate::analysis::testing::T0, 50.0);
    let logs = [TestLog::empty(), TestLog::modelled(), modelled];
    let data = logs.iter().map(|log| RunData::from_log(&log.envelopes));
    for data in data.chain([golden_data()]) {
        let result = result_of(&data);
        assert_valid(&result);
        let text = serde_json::to_string(&result).unwrap();
        let again: RunResult = serde_json::from_str(&text).unwrap();
        assert_eq!(again, result);
    }
}

#[test]
fn the_contract_for_scripts_holds() {
    let result = serde_json::to_value(result_of(&golden_data())).unwrap();
    for path in [
        "/latency/ttft_ms/mean",
        "/latency/itl_ms/p50",
        "/latency/tpot_ms/p90",
        "/latency/e2e_ms/p99",
        "/total_energy_j/value",
        "/total_energy_corrected_j/value",
        "/energy_per_output_token_j/value",
        "/prefill_energy_j/how",
        "/baseline_power_w/value",
        "/prefill_time_ms",
        "/decode_tokens_per_sec",
        "/tokens/input",
        "/tokens/output",
        "/cycles/2/prefill_time_ms",
        "/cycles/0/total_energy_j/uncertainty/expanded",
        "/time_series/samples/0/power_w",
        "/time_series/samples/0/memory_gb",
        "/time_series/samples/0/gpu_util",
        "/intervals/prefill_time_ms/low",
        "/warnings",
        "/exports/0/sink",
        "/run_id",
        "/run_dir",
        "/quality/perplexity/reason",
    ] {
        assert!(result.pointer(path).is_some_and(|v| !v.is_null()), "{path}");
    }
    assert_eq!(result["schema_version"], "3.0.0");
    assert_eq!(result["status"], "finished");
    let samples = result["time_series"]["samples"].as_array().unwrap();
    assert!(samples.len() <= 1_000 && samples[0]["t"].as_f64().unwrap() < 0.1);
}

#[test]
fn the_golden_run_gives_this_result() {
    let mut result = result_of(&golden_data());
    // Long, and tested by itself.
    result.time_series.samples.truncate(2);
    result.producer.version = "0.0.0".into();
    insta::assert_json_snapshot!(rounded(serde_json::to_value(&result).unwrap()));
}

/// To nine significant figures: the last ones depend on the processor's arithmetic.
fn rounded(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(n) if n.is_f64() => {
            let text = format!("{:.8e}", n.as_f64().unwrap());
            serde_json::json!(text.parse::<f64>().unwrap())
        }
        Value::Array(items) => items.into_iter().map(rounded).collect(),
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, rounded(v))).collect(),
        other => other,
    }
}
