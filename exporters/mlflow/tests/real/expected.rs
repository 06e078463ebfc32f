//! What the official client should find of the golden run, worked out from its
//! records and the catalogue, not by the encoder.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::collections::BTreeMap;

use lem_record::catalogue::{self, Bound};
use lem_record::{MetricValue, Record};
use lem_testkit::golden::{CYCLES, Golden, STARTED_AT};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Points by key: step, Unix ms, value.
type History = BTreeMap<String, Vec<(i64, i64, f64)>>;

pub fn facts(golden: &Golden) -> Value {
    let mut history = History::new();
    let mut artifacts = BTreeMap::new();
    for envelope in &golden.envelopes {
        match &envelope.record {
            Record::Artifact(artifact) => {
                // MLflow refuses a # in a path
                artifacts.insert(artifact.path.replace('#', "_"), artifact.sha256.clone());
            }
            Record::Table(table) => {
                let body = json!({"columns": table.columns, "data": table.rows}).to_string();
                let path = format!("tables/{}.json", table.name);
                artifacts.insert(path, hex::encode(Sha256::digest(body.as_bytes())));
            }
            Record::Metric(_) => metric(&envelope.record, &mut history),
            Record::Samples(samples) => {
                for (row, t) in samples.t_ns.iter().enumerate() {
                    let step = ((t - STARTED_AT.mono_ns) / 1_000_000) as i64;
                    for column in &samples.columns {
                        let Some(value) = column.values[row] else {
                            continue;
                        };
                        for (key, scale) in sampled(&samples.source, &column.metric) {
                            let at = STARTED_AT.unix_ns / 1_000_000 + step;
                            history
                                .entry(key)
                                .or_default()
                                .push((step, at, value * scale));
                        }
                    }
                }
            }
            _ => {}
        }
    }
    for points in history.values_mut() {
        points.sort_by(|a, b| a.partial_cmp(b).unwrap());
    }
    let latest: BTreeMap<_, _> = history
        .iter()
        .map(|(key, points)| (key, points.last().unwrap().2))
        .collect();
    json!({
        "info": {
            "name": "golden run",
            "status": "FINISHED",
            "start_time": STARTED_AT.unix_ns / 1_000_000,
            "lifecycle_stage": "active",
        },
        "params": {
            "model_name": "golden/model",
            "backend": "candle",
            "num_cycles": "3",
            "batching.batch_size": "2",
            "decoder.temperature": "0.7",
            "decoder.stop": "[\"\\n\",\"###\"]",
            "measurement.interval_ms": "100",
            "lem.backend": "golden",
            "gen_ai.request.model": "golden/model",
        },
        "tags": {
            "lem.run_id": "golden-0001",
            "lem.version": "0.1.0",
            "lem.status": "finished",
            "mlflow.runName": "golden run",
            "mlflow.user": "golden",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": "0123456789abcdef0123456789abcdef01234567",
            "team": "gr\u{fc}n",
            "mlflow.loggedArtifacts": "[{\"path\":\"tables/cycles.json\",\"type\":\"table\"}]",
            "lem.absent": "{\"energy/memory_joules\":\"no sensor reads the memory's power\"}",
        },
        "latest": latest,
        "history": history,
        "datasets": [{
            "name": "golden-prompts",
            "digest": "0f1e2d3c",
            "source_type": "local",
            "source": "{\"uri\":\"prompts.jsonl\"}",
            "schema": "{\"prompt\":\"string\"}",
            "profile": "{\"num_rows\":6}",
            "tags": {"mlflow.data.context": "evaluation"},
        }],
        "artifacts": artifacts,
    })
}

fn metric(record: &Record, history: &mut History) {
    let Record::Metric(metric) = record else {
        return;
    };
    if metric.id == "run.info" {
        return;
    }
    let def = catalogue::find(&metric.id).unwrap();
    let key = |q, bound| def.key(&metric.attributes, &["hw.id".to_owned()], q, bound);
    let step = i64::from(metric.cycle.unwrap_or(CYCLES));
    let at = STARTED_AT.unix_ns_at(metric.t_ns) / 1_000_000;
    let mut put = |key: String, value| history.entry(key).or_default().push((step, at, value));
    match &metric.value {
        MetricValue::Absent(_) => {}
        MetricValue::Number(value) => put(key(None, None), *value),
        MetricValue::Histogram(h) => {
            for (q, value) in [
                ("mean", h.mean),
                ("p50", h.p50),
                ("p90", h.p90),
                ("p99", h.p99),
            ] {
                put(key(Some(q), None), value);
            }
        }
    }
    if let Some(interval) = metric.interval {
        put(key(None, Some(Bound::Low)), interval.low);
        put(key(None, Some(Bound::High)), interval.high);
    }
}

/// The keys that a sampled metric of the golden run is read back under.
fn sampled(source: &str, metric: &str) -> Vec<(String, f64)> {
    let index = source.trim_start_matches("gpu");
    let gpu = source.starts_with("gpu");
    let own = match metric {
        "sample.power" => format!("{source}_power_watts"),
        "sample.energy" => format!("{source}_energy_joules"),
        "sample.gpu_utilization" => format!("{source}_utilization_ratio"),
        "sample.gpu_memory_used" => format!("{source}_memory_used_bytes"),
        "sample.temperature" => format!("{source}_temperature_celsius"),
        "sample.clock" => format!("{source}_sm_clock_hertz"),
        "sample.throttled" => format!("{source}_throttled_thermal"),
        "sample.cpu_utilization" => "cpu_utilization_ratio".to_owned(),
        other => panic!("{other} is new in the golden run"),
    };
    let mut keys = vec![(format!("sample/{own}"), 1.0)];
    match metric {
        "sample.power" if gpu => keys.push((format!("system/gpu_{index}_power_usage_watts"), 1.0)),
        "sample.gpu_utilization" => {
            keys.push((format!("system/gpu_{index}_utilization_percentage"), 100.0));
        }
        "sample.gpu_memory_used" => {
            keys.push((format!("system/gpu_{index}_memory_usage_megabytes"), 1e-6));
        }
        "sample.cpu_utilization" => {
            keys.push(("system/cpu_utilization_percentage".to_owned(), 100.0));
        }
        _ => {}
    }
    keys
}
