//! Hugging Face transformers through its worker, against the embedded engine on the same file.

use lem::config::{Backend, Config, QuantizedWeights, Worker};
use lem::engine::candle::{LoadOptions, load};
use lem::engine::worker::check::Verdict;
use lem::engine::worker::{WorkerEngine, check_configured, open};
use lem::engine::{Cancel, Engine, Event, EventSink, Phase, Sampling, TokenIds};
use lem_record::FinishReason;
use serde_json::Value;

use crate::support::*;

fn python() -> Option<String> {
    let python = std::env::var("LEM_TEST_TRANSFORMERS_PYTHON").ok();
    if python.is_none() {
        eprintln!(
            "skipped: LEM_TEST_TRANSFORMERS_PYTHON names no Python with torch and transformers (scripts/transformers-env)"
        );
    }
    python
}

fn config(python: String, model: &str) -> Config {
    Config {
        model_name: Some(model.into()),
        backend: Backend::Transformers,
        worker: Worker {
            python: Some(python),
            device: Some("cpu".into()),
            timeout_s: 600.0,
            ..Worker::default()
        },
        ..Config::default()
    }
}

#[derive(Default)]
struct Kept(Vec<Event>);

impl EventSink for Kept {
    fn event(&mut self, event: Event) {
        self.0.push(event);
    }
}

fn counts(
    engine: &mut dyn Engine,
    requests: &[lem::engine::Request],
) -> Vec<(u64, usize, FinishReason)> {
    let mut kept = Kept::default();
    let work = work(requests.to_vec(), 2, Sampling::default());
    engine
        .generate(&work, &mut kept, &Cancel::default())
        .unwrap();
    let mut counts: Vec<(u64, usize, FinishReason)> = kept
        .0
        .iter()
        .filter_map(|event| match event {
            Event::Finished {
                request, reason, ..
            } => Some((*request, tokens(&kept, *request), *reason)),
            _ => None,
        })
        .collect();
    counts.sort_by_key(|(request, ..)| *request);
    counts
}

fn tokens(kept: &Kept, of: u64) -> usize {
    let is = |e: &&Event| matches!(e, Event::Tokens { request, ids: TokenIds::One(_), .. } if *request == of);
    kept.0.iter().filter(is).count()
}

fn perplexity(scores: &[f32]) -> f64 {
    let sum: f64 = scores.iter().map(|p| f64::from(*p)).sum();
    (-sum / scores.len() as f64).exp()
}

/// The same file in both engines: tokens, counts and scores.
#[test]
fn it_agrees_with_the_embedded_engine_on_the_same_file() {
    let (Some(python), Some(file)) = (python(), real_model()) else {
        return;
    };
    let files = gguf_files(&file);
    let options = LoadOptions {
        quantized: QuantizedWeights::Dequantize,
        ..options()
    };
    let mut candle = load(&files, &options).unwrap();
    let mut worker = open(&config(python, file.to_str().unwrap()), Some(&files)).unwrap();

    let golden: Value = serde_json::from_str(include_str!("../data/smollm2-golden.json")).unwrap();
    let text = golden["text"].as_str().unwrap();
    let ids = candle.encode(text, false).unwrap();
    assert_eq!(worker.encode(text, false).unwrap(), ids);
    assert_eq!(worker.decode(&ids).unwrap(), candle.decode(&ids).unwrap());
    let prompts = [
        "What is the capital of France?",
        "Say hello.",
        "Name a colour.",
    ];
    let encoded: Vec<Vec<u32>> = prompts
        .iter()
        .map(|p| candle.encode(p, true).unwrap())
        .collect();
    for (prompt, tokens) in prompts.iter().zip(&encoded) {
        assert_eq!(&worker.encode(prompt, true).unwrap(), tokens);
    }

    // Exact lengths, of which each request has its own.
    let requests: Vec<_> = encoded
        .iter()
        .zip([4, 7, 5])
        .zip(0..)
        .map(|((tokens, length), id)| request(id, tokens, length, length))
        .collect();
    let expected = [(0, 4), (1, 7), (2, 5)].map(|(id, n)| (id, n, FinishReason::Length));
    assert_eq!(counts(&mut worker, &requests), expected);
    assert_eq!(counts(&mut candle, &requests), expected);

    // transformers' own numbers of another day, and candle's of the same weights.
    let theirs = worker.score(&ids).unwrap();
    let (most, mean) = differences(&theirs, &golden["logprobs"]);
    assert!(most < 2e-3 && mean < 2e-4, "largest {most}, mean {mean}");
    let (theirs, ours) = (
        perplexity(&theirs),
        perplexity(&candle.score(&ids).unwrap()),
    );
    eprintln!("perplexity: transformers {theirs:.5}, candle {ours:.5}");
    assert!((theirs / ours - 1.0).abs() < 1e-3, "{theirs} and {ours}");

    described(&worker, &candle);
    it_goes_through_its_phases_and_stops(&mut worker, &encoded[0]);
    it_stops_when_cancelled(&mut worker, &encoded[0]);
    it_profiles(&mut worker, &encoded[0]);
}

fn described(worker: &WorkerEngine, candle: &dyn Engine) {
    let (theirs, ours) = (worker.describe(), candle.describe());
    assert_eq!(theirs.parameters, ours.parameters);
    assert_eq!(theirs.active_parameters, ours.active_parameters);
    assert_eq!(theirs.layers, ours.layers);
    assert_eq!(theirs.key_value_heads, ours.key_value_heads);
    assert_eq!(theirs.head_size, ours.head_size);
    assert_eq!(theirs.vocabulary, ours.vocabulary);
    assert_eq!(theirs.context_length, ours.context_length);
    assert_eq!(theirs.weight_type.as_deref(), Some("f32"));
    assert_eq!(theirs.weight_bytes, ours.parameters.map(|n| 4 * n));
    assert_eq!(theirs.engine, "transformers");
    let can = worker.capabilities();
    assert!(can.true_token_times && can.phase_boundaries && can.score && !can.in_process);
}

fn it_goes_through_its_phases_and_stops(worker: &mut WorkerEngine, prompt: &[u32]) {
    let mut kept = Kept::default();
    let work = work(vec![request(0, prompt, 0, 40)], 1, Sampling::default());
    worker
        .generate(&work, &mut kept, &Cancel::default())
        .unwrap();
    let phases: Vec<Option<Phase>> = kept
        .0
        .iter()
        .filter_map(|event| match event {
            Event::Phase { phase, .. } => Some(*phase),
            _ => None,
        })
        .collect();
    assert_eq!(phases, [Some(Phase::Prefill), Some(Phase::Decode), None]);
    let stopped = |e: &Event| {
        matches!(
            e,
            Event::Finished {
                reason: FinishReason::Stop,
                ..
            }
        )
    };
    assert!(kept.0.iter().any(stopped), "{:?}", kept.0);
    let ids: Vec<u32> = kept
        .0
        .iter()
        .filter_map(|event| match event {
            Event::Tokens {
                ids: TokenIds::One(id),
                ..
            } => Some(*id),
            _ => None,
        })
        .collect();
    let answer = worker.decode(&ids).unwrap();
    assert!(answer.contains("Paris"), "{answer}");
}

fn it_stops_when_cancelled(worker: &mut WorkerEngine, prompt: &[u32]) {
    struct After(Cancel, Vec<Event>);
    impl EventSink for After {
        fn event(&mut self, event: Event) {
            if matches!(event, Event::Tokens { .. }) {
                self.0.cancel();
            }
            self.1.push(event);
        }
    }
    let cancel = Cancel::default();
    let mut after = After(cancel.clone(), Vec::new());
    let work = work(vec![request(0, prompt, 2000, 2000)], 1, Sampling::default());
    worker.generate(&work, &mut after, &cancel).unwrap();
    let cancelled = |e: &Event| {
        matches!(
            e,
            Event::Finished {
                reason: FinishReason::Cancelled,
                ..
            }
        )
    };
    assert!(after.1.iter().any(cancelled));
    assert!(after.1.len() < 500, "{} events", after.1.len());
}

fn it_profiles(worker: &mut WorkerEngine, prompt: &[u32]) {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.json");
    let work = work(vec![request(0, prompt, 2, 2)], 1, Sampling::default());
    let told = worker
        .profile(
            &work,
            trace.to_str(),
            &mut Kept::default(),
            &Cancel::default(),
        )
        .unwrap();
    // Products with the matrices (2 FLOPs a weight), for the prompt's tokens and one more; the
    // head works for two positions only. Attention comes on top.
    let counted = told["flops_total"].as_f64().unwrap();
    let d = worker.describe();
    let head = f64::from(d.vocabulary.unwrap()) * f64::from(d.hidden_size.unwrap());
    let body = d.parameters.unwrap() as f64 - head;
    let least = 2.0 * body * (prompt.len() + 1) as f64 + 2.0 * 2.0 * head;
    assert!(
        (0.98..1.1).contains(&(counted / least)),
        "{counted} and {least}"
    );
    assert!(told["operators"].as_array().unwrap().len() > 10);
    assert!(trace.metadata().unwrap().len() > 1000);
}

/// The protocol, and random weights of a shape alone.
#[test]
fn it_holds_to_the_protocol_with_random_weights() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let shape = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "torch_dtype": "float32", "hidden_act": "silu",
        "bos_token_id": 1, "eos_token_id": 2,
    });
    std::fs::write(folder.path().join("config.json"), shape.to_string()).unwrap();
    let mut config = config(python, folder.path().to_str().unwrap());
    config.load_format = lem::config::LoadFormat::Dummy;
    config.pytorch.attn_implementation = Some("sdpa".into());
    config.pytorch.cache_implementation = Some("static".into());
    let findings = check_configured(&config, None).unwrap();
    for finding in &findings {
        assert_ne!(finding.verdict, Verdict::Fail, "{finding:?}");
    }
    let skipped: Vec<&str> = findings
        .iter()
        .filter(|f| f.verdict == Verdict::Skip)
        .map(|f| f.requirement)
        .collect();
    assert_eq!(skipped, ["encodes and decodes text"]);
}

#[test]
fn a_python_without_torch_says_what_to_install() {
    let folder = tempfile::tempdir().unwrap();
    // A Python with nothing but its own library.
    let bare = folder.path().join("python");
    std::fs::write(&bare, "#!/bin/sh\nexec python3 -I -S \"$@\"\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&bare, mode).unwrap();
    let error = open(&config(bare.display().to_string(), "org/name"), None)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("Install transformers into"), "{error}");
}
