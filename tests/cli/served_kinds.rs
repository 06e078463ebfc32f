//! What the kinds of servers that cannot run here answer, by their documentation, played by a
//! scripted server: fields that each is sent, and what lem makes of what each tells.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use lem_testkit::{FakeServer, Request, Response};
use serde_json::{Value, json};

use crate::support::{Bench, of_kind, records, run_dir, stderr};

fn run(bench: &Bench, config: &str) -> std::path::PathBuf {
    std::fs::write(bench.path().join("served.yaml"), config).unwrap();
    let out = bench.verb(&["run", "served.yaml", "--format", "json"], &[]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    run_dir(&serde_json::from_slice(&out.stdout).unwrap())
}

fn metric(run: &Path, id: &str) -> Value {
    let records = records(run);
    of_kind(&records, "metric")
        .find(|m| m["id"] == id && m["cycle"].is_null())
        .unwrap_or_else(|| panic!("no {id}"))
        .clone()
}

fn number(run: &Path, id: &str) -> f64 {
    let metric = metric(run, id);
    metric["value"]["number"]
        .as_f64()
        .unwrap_or_else(|| panic!("{metric}"))
}

fn sse(events: &[Value]) -> Response {
    let mut body: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
    body += "data: [DONE]\n\n";
    Response::bytes(200, body).header("content-type", "text/event-stream")
}

/// One token a chunk, but the last two together.
fn completion(request: &Request, ids: bool, metrics: bool) -> Response {
    let asked: Value = serde_json::from_slice(&request.body).unwrap();
    let n = asked["max_tokens"].as_u64().unwrap();
    let mut events: Vec<Value> = Vec::new();
    let mut sent = 0;
    while sent < n {
        let here = if sent + 2 == n { 2 } else { 1 };
        let mut choice =
            json!({"index": 0, "text": "w ".repeat(here as usize), "finish_reason": null});
        if ids {
            choice["token_ids"] = (sent..sent + here).collect();
        }
        sent += here;
        events.push(json!({
            "choices": [choice],
            "usage": {"prompt_tokens": 8, "completion_tokens": sent, "total_tokens": 8 + sent},
        }));
    }
    events.push(json!({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}));
    let mut last = json!({
        "choices": [],
        "usage": {"prompt_tokens": 8, "completion_tokens": n, "total_tokens": 8 + n,
                  "prompt_tokens_details": {"cached_tokens": 2}},
    });
    if metrics {
        last["metrics"] = json!({"time_to_first_token_ms": 12.0, "queue_time_ms": 4.0,
                                 "generation_time_ms": 30.0, "mean_itl_ms": 5.0});
    }
    events.push(last);
    sse(&events)
}

fn vllm(served: &AtomicU64, request: &Request) -> Response {
    match request.path.as_str() {
        "/health" => Response::new(200),
        "/version" => Response::json(200, &json!({"version": "0.32.0"})),
        "/v1/models" => Response::json(
            200,
            &json!({"data": [{"id": "org/name", "max_model_len": 4096}]}),
        ),
        "/tokenize" => {
            let asked: Value = serde_json::from_slice(&request.body).unwrap();
            let words = asked["prompt"].as_str().unwrap().split(' ');
            let tokens: Vec<u64> = words.map(|w| w.len() as u64).collect();
            Response::json(200, &json!({"count": tokens.len(), "tokens": tokens}))
        }
        "/detokenize" => {
            let asked: Value = serde_json::from_slice(&request.body).unwrap();
            let tokens = asked["tokens"].as_array().unwrap();
            let words: Vec<String> = tokens
                .iter()
                .map(|t| "x".repeat(t.as_u64().unwrap() as usize))
                .collect();
            Response::json(200, &json!({"prompt": words.join(" ")}))
        }
        "/v1/completions" => {
            served.fetch_add(1, Ordering::SeqCst);
            completion(request, true, true)
        }
        "/metrics" => {
            let n = served.load(Ordering::SeqCst);
            Response::text(
                200,
                format!(
                    "# TYPE vllm:e2e_request_latency_seconds histogram\n\
                     vllm:e2e_request_latency_seconds_count{{engine=\"0\"}} {n}\n\
                     vllm:e2e_request_latency_seconds_sum{{engine=\"0\"}} {}\n\
                     vllm:request_queue_time_seconds_count{{engine=\"0\"}} {n}\n\
                     vllm:request_queue_time_seconds_sum{{engine=\"0\"}} {}\n\
                     vllm:generation_tokens_total{{engine=\"0\"}} {}\n\
                     vllm:num_preemptions_total{{engine=\"0\"}} 0\n\
                     vllm:kv_cache_usage_perc{{engine=\"0\"}} 0.25\n",
                    n as f64 * 0.5,
                    n as f64 * 0.004,
                    n * 6,
                ),
            )
        }
        _ => Response::new(404),
    }
}

#[test]
fn vllm_is_asked_by_tokens_and_tells_its_own_times() {
    let served: &'static AtomicU64 = Box::leak(Box::default());
    let server = FakeServer::start(|request| vllm(served, request));
    let bench = Bench::new();
    let run = run(
        &bench,
        &format!(
            "model_name: org/name\nbackend: vllm\nserver: {{ url: '{}/v1' }}\nnum_input_prompts: 4\nnum_cycles: 2\n\
             max_output_tokens: 6\nprompts: {{ type: synthetic, input_tokens: 8, output_tokens: 6, shared_prefix_tokens: 5 }}\n\
             traffic: {{ concurrency: 2 }}\nmeasurement: {{ interval_ms: 20, warmup: {{ min_rounds: 1, max_rounds: 1 }} }}\n",
            server.url()
        ),
    );
    let asked: Vec<Value> = server
        .requests()
        .iter()
        .filter(|r| r.path == "/v1/completions")
        .map(|r| serde_json::from_slice(&r.body).unwrap())
        .collect();
    assert_eq!(asked.len(), 2 + 8);
    for body in &asked {
        assert_eq!(body["prompt"].as_array().unwrap().len(), 8, "exact: {body}");
        assert_eq!(body["prompt"][4], asked[0]["prompt"][4], "one prefix");
        assert_eq!(
            (&body["min_tokens"], &body["ignore_eos"]),
            (&json!(6), &json!(true))
        );
        assert_eq!(body["return_token_ids"], true);
        assert_eq!(body["temperature"], 0.0);
    }
    // What one cycle leaves in the cache, the next does not find.
    let salts: std::collections::BTreeSet<&str> = asked
        .iter()
        .map(|b| b["cache_salt"].as_str().unwrap())
        .collect();
    assert_eq!(salts.len(), 3, "warm-up and two cycles");

    let all = records(&run);
    let started = of_kind(&all, "run_started").next().unwrap().clone();
    assert_eq!(started["model"]["engine_version"], "0.32.0");
    assert_eq!(started["model"]["context_length"], 4096);
    let request = of_kind(&all, "span")
        .find(|s| s["span"] == "request")
        .unwrap()["request"]
        .clone();
    assert_eq!(request["chunk_tokens"], json!([1, 1, 1, 1, 2]));
    assert_eq!(request["true_token_times"], false);
    assert_eq!(request["engine"]["queue_s"], 0.004);
    assert_eq!(request["engine"]["cached_tokens"], 2);

    let mean = |id: &str| {
        metric(&run, id)["value"]["histogram"]["mean"]
            .as_f64()
            .unwrap()
    };
    assert!((mean("latency.engine_ttft") - 0.012).abs() < 1e-9);
    assert!((mean("latency.engine_prefill") - 0.008).abs() < 1e-9);
    assert!((number(&run, "engine.queue") - 0.004).abs() < 1e-9);
    assert!((number(&run, "engine.e2e") - 0.5).abs() < 1e-9);
    assert!((number(&run, "engine.output_tokens") - 24.0).abs() < 1e-9);
    assert_eq!(number(&run, "engine.kv_cache_usage"), 0.25);
    let absent = metric(&run, "engine.prefill")["value"]["absent"].clone();
    let absent = absent.as_str().unwrap();
    assert!(
        absent.contains("vllm:request_prefill_time_seconds"),
        "{absent}"
    );
    assert!(
        metric(&run, "latency.itl")["value"]["absent"].is_string(),
        "chunks are not tokens"
    );
    let warned: Vec<_> = of_kind(&all, "warning")
        .map(|w| w["code"].as_str().unwrap())
        .collect();
    assert!(warned.contains(&"server.cache_warm"), "{warned:?}");
    assert!(!warned.contains(&"server.shared"), "{warned:?}");
}

#[test]
fn tensorrt_llm_is_sent_no_field_that_it_would_refuse() {
    const KNOWN: [&str; 14] = [
        "model",
        "prompt",
        "max_tokens",
        "min_tokens",
        "ignore_eos",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "top_k",
        "repetition_penalty",
        "seed",
        "add_special_tokens",
        "stop",
    ];
    let server = FakeServer::start(|request| match request.path.as_str() {
        "/health" => Response::new(200),
        "/version" => Response::json(200, &json!({"version": "1.2.0"})),
        "/v1/models" => Response::json(200, &json!({"data": [{"id": "org/name"}]})),
        "/v1/completions" => {
            let asked: Value = serde_json::from_slice(&request.body).unwrap();
            let unknown = asked
                .as_object()
                .unwrap()
                .keys()
                .find(|k| !KNOWN.contains(&k.as_str()));
            match unknown {
                Some(field) => Response::json(
                    400,
                    &json!({"message": format!("Extra inputs are not permitted: {field}")}),
                ),
                None => completion(request, false, false),
            }
        }
        _ => Response::new(404),
    });
    let bench = Bench::new();
    let run = run(
        &bench,
        &format!(
            "model_name: hf:org/name\nbackend: tensorrt-llm\nserver: {{ url: '{}' }}\nnum_input_prompts: 2\nnum_cycles: 1\n\
             max_output_tokens: 6\nmin_output_tokens: 6\nprompts: {{ type: synthetic, input_tokens: 8 }}\n\
             decoder: {{ temperature: 0.5, top_k: 5, top_p: 0.9, repetition_penalty: 1.1, do_sample: true }}\n\
             measurement: {{ interval_ms: 20, warmup: {{ min_rounds: 1, max_rounds: 1 }} }}\n",
            server.url()
        ),
    );
    assert_eq!(number(&run, "tokens.output"), 12.0);
    assert_eq!(number(&run, "tokens.input"), 16.0, "the server's own count");
    let absent = metric(&run, "engine.queue")["value"]["absent"].clone();
    assert!(
        absent.as_str().unwrap().contains("return_perf_metrics"),
        "{absent}"
    );
    let all = records(&run);
    let warned: Vec<_> = of_kind(&all, "warning")
        .map(|w| w["code"].as_str().unwrap())
        .collect();
    assert!(warned.contains(&"prompts.approximate"), "{warned:?}");
}

#[test]
fn ollama_and_tgi_are_asked_in_their_own_words() {
    let bench = Bench::new();
    let ollama = FakeServer::start(|request| match request.path.as_str() {
        "/api/version" => Response::json(200, &json!({"version": "0.9.0"})),
        "/v1/models" => Response::json(200, &json!({"data": [{"id": "m:latest"}]})),
        "/api/generate" => {
            let mut body = String::new();
            for i in 0..3 {
                body += &format!(
                    "{}\n",
                    json!({"model": "m", "response": format!("w{i} "), "done": false})
                );
            }
            body += &format!(
                "{}\n",
                json!({
                    "model": "m", "response": "", "done": true, "done_reason": "length",
                    "prompt_eval_count": 4, "prompt_eval_duration": 5_000_000, "eval_count": 3,
                    "eval_duration": 60_000_000, "total_duration": 70_000_000,
                })
            );
            Response::bytes(200, body).header("content-type", "application/x-ndjson")
        }
        _ => Response::new(404),
    });
    let config = |backend: &str, url: &str| {
        format!(
            "model_name: m\nbackend: {backend}\nserver: {{ url: '{url}' }}\nnum_input_prompts: 2\nnum_cycles: 1\nmax_output_tokens: 3\n\
             prompts: {{ texts: [one, two] }}\nmeasurement: {{ interval_ms: 20, warmup: {{ min_rounds: 1, max_rounds: 1 }} }}\n"
        )
    };
    let told = run(&bench, &config("ollama", &ollama.url()));
    let asked = ollama.requests();
    let asked = asked.iter().find(|r| r.path == "/api/generate").unwrap();
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body["model"], "m:latest");
    assert_eq!(body["options"]["num_predict"], 3);
    assert_eq!(body["options"]["temperature"], 0.0);
    assert_eq!(number(&told, "tokens.output"), 6.0);
    assert_eq!(number(&told, "tokens.input"), 8.0);
    let mean = metric(&told, "latency.engine_prefill")["value"]["histogram"]["mean"].clone();
    assert_eq!(mean, 0.005);

    let tgi = FakeServer::start(|request| match request.path.as_str() {
        "/health" => Response::new(200),
        "/info" => Response::json(200, &json!({"version": "3.3.0", "model_id": "m"})),
        "/generate_stream" => {
            let token = |id: u64, last: bool| {
                let details =
                    json!({"finish_reason": "length", "generated_tokens": 3, "input_length": 5});
                json!({
                    "index": id, "token": {"id": id, "text": "w ", "logprob": -0.1, "special": false},
                    "generated_text": if last { json!("w w w ") } else { Value::Null },
                    "details": if last { details } else { Value::Null },
                })
            };
            let events: Vec<String> = (1..=3)
                .map(|i| format!("data:{}\n\n", token(i, i == 3)))
                .collect();
            Response::bytes(200, events.concat()).header("content-type", "text/event-stream")
        }
        _ => Response::new(404),
    });
    let told = run(&bench, &config("tgi", &tgi.url()));
    let asked = tgi.requests();
    let asked = asked.iter().find(|r| r.path == "/generate_stream").unwrap();
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body["parameters"]["max_new_tokens"], 3);
    assert_eq!(body["parameters"]["do_sample"], false);
    assert!(
        body["parameters"].get("temperature").is_none(),
        "0 is refused there"
    );
    assert_eq!(number(&told, "tokens.output"), 6.0);
    let all = records(&told);
    let started = of_kind(&all, "run_started").next().unwrap();
    assert_eq!(started["model"]["engine_version"], "3.3.0");
}
