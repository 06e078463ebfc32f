//! The torch engine, against transformers' numbers, against itself and against the
//! embedded engine.

use lem::config::{LoadFormat, Precision};
use lem::engine::torch::{LoadOptions, TorchEngine, load};
use lem::engine::{Cancel, Engine, EngineError, Event, Phase, Sampling, Work};
use lem::model::{ModelFiles, ModelFormat};
use lem_record::{FinishReason, Stamp};
use safetensors::Dtype;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    END, Events, differences, gguf, golden, request, safetensors, tokens, values, work,
};

const VARIANTS: [&str; 4] = ["llama", "qwen2", "mistral", "qwen3"];

fn options() -> LoadOptions {
    LoadOptions {
        device: Some("cpu".into()),
        gpu: None,
        threads: Some(2),
        cuda_graphs: false,
        library_path: None,
        precision: Precision::Auto,
        load_format: LoadFormat::Auto,
        seed: 1,
    }
}

fn torch_golden() -> Value {
    serde_json::from_str(include_str!("../data/torch-golden.json")).unwrap()
}

fn variant(name: &str) -> Value {
    match name {
        "qwen3" => torch_golden()["qwen3"].clone(),
        _ => golden()["variants"][name].clone(),
    }
}

fn tiny(name: &str) -> (TempDir, TorchEngine) {
    tiny_with(name, &options())
}

fn tiny_with(name: &str, options: &LoadOptions) -> (TempDir, TorchEngine) {
    let folder = TempDir::new().unwrap();
    let files = safetensors(folder.path(), &variant(name), Dtype::F32);
    let engine = load(&files, options).unwrap();
    (folder, engine)
}

fn run(engine: &mut TorchEngine, work: &Work) -> Result<Events, EngineError> {
    let mut events = Events::default();
    engine.generate(work, &mut events, &Cancel::default())?;
    Ok(events)
}

fn prompts() -> Vec<Vec<u32>> {
    [100, 1, 17, 64, 17]
        .into_iter()
        .zip(10..)
        .map(|(n, seed)| {
            values(seed, n)
                .iter()
                .map(|v| ((v + 0.5) * 299.0) as u32)
                .collect()
        })
        .collect()
}

#[test]
fn probabilities_are_transformers() {
    let golden = golden();
    for name in VARIANTS {
        let (_folder, mut engine) = tiny(name);
        let scores = engine.score(&tokens(&golden["tokens"])).unwrap();
        let (most, _) = differences(&scores, &variant(name)["logprobs"]);
        assert!(most < 5e-5, "{name}: off by {most}");
    }
}

#[test]
fn greedy_answers_are_transformers_alone_and_in_a_batch_of_unequal_lengths() {
    let golden = golden();
    let all = tokens(&golden["tokens"]);
    let torch = torch_golden();
    let lengths: Vec<usize> = serde_json::from_value(torch["lengths"].clone()).unwrap();
    for name in VARIANTS {
        let (_folder, mut engine) = tiny(name);
        let answers = &torch["greedy"][name];
        let outputs = answers[0].as_array().unwrap().len() as u32;
        // The script's answers do not stop at an end of text.
        let requests: Vec<_> = lengths
            .iter()
            .zip(0..)
            .map(|(&n, id)| request(id, &all[..n], 0, outputs))
            .collect();
        let until_end = |answer: &[u32]| -> Vec<u32> {
            let end = answer.iter().position(|&t| t == END);
            answer[..end.map_or(answer.len(), |e| e + 1)].to_vec()
        };
        for batch in [1, 2, 3] {
            let events = run(
                &mut engine,
                &work(requests.clone(), batch, Sampling::default()),
            )
            .unwrap();
            for (id, answer) in (0..).zip(answers.as_array().unwrap()) {
                assert_eq!(
                    events.tokens(id),
                    until_end(&tokens(answer)),
                    "{name}, request {id}, batch {batch}"
                );
            }
        }
    }
}

fn same_alone_and_together(sampling: &Sampling) {
    let (_folder, mut engine) = tiny("llama");
    let requests: Vec<_> = prompts()
        .iter()
        .zip(0..)
        .map(|(tokens, id)| request(id, tokens, 3, 20 + 3 * id as u32))
        .collect();
    let alone: Vec<_> = requests
        .iter()
        .map(|r| run(&mut engine, &work(vec![r.clone()], 1, sampling.clone())).unwrap())
        .collect();
    for batch in [2, 4, 5, 100] {
        let together = run(
            &mut engine,
            &work(requests.clone(), batch, sampling.clone()),
        )
        .unwrap();
        for (id, alone) in (0..).zip(&alone) {
            assert!(!alone.tokens(id).is_empty());
            assert_eq!(
                together.tokens(id),
                alone.tokens(id),
                "request {id}, batch {batch}"
            );
            assert_eq!(together.reason(id), alone.reason(id));
        }
    }
}

#[test]
fn answers_are_the_same_alone_and_together() {
    same_alone_and_together(&Sampling::default());
    same_alone_and_together(&sampled());
}

fn sampled() -> Sampling {
    Sampling {
        temperature: 0.8,
        top_k: Some(50),
        top_p: Some(0.95),
        repetition_penalty: 1.1,
        seed: 7,
    }
}

#[test]
fn sampling_is_the_embedded_engines() {
    let folder = TempDir::new().unwrap();
    let files = safetensors(folder.path(), &variant("llama"), Dtype::F32);
    let mut torch = load(&files, &options()).unwrap();
    let mut candle = lem::engine::candle::load(&files, &crate::support::options()).unwrap();
    let whole = Sampling {
        top_k: None,
        top_p: None,
        ..sampled()
    };
    for sampling in [sampled(), whole] {
        let requests: Vec<_> = prompts()
            .iter()
            .zip(0..)
            .map(|(tokens, id)| request(id, tokens, 12, 12))
            .collect();
        let work = work(requests, 5, sampling);
        let ours = run(&mut torch, &work).unwrap();
        let theirs = crate::support::run(&mut candle, &work).unwrap();
        for id in 0..5 {
            assert_eq!(ours.tokens(id), theirs.tokens(id), "request {id}");
        }
    }
}

#[test]
fn phases_and_tokens_come_in_order_and_at_true_times() {
    let (_folder, mut engine) = tiny("qwen2");
    let requests: Vec<_> = prompts()
        .iter()
        .zip(0..)
        .map(|(tokens, id)| request(id, tokens, 9, 9))
        .collect();
    let before = Stamp::mono_ns();
    let events = run(&mut engine, &work(requests, 5, Sampling::default())).unwrap();
    let after = Stamp::mono_ns();
    let phases: Vec<(Option<Phase>, u64)> = events
        .all
        .iter()
        .filter_map(|e| match e {
            Event::Phase { phase, at_ns } => Some((*phase, *at_ns)),
            _ => None,
        })
        .collect();
    let [
        (Some(Phase::Prefill), start),
        (Some(Phase::Decode), edge),
        (None, end),
    ] = phases[..]
    else {
        panic!("{phases:?}");
    };
    assert!(before <= start && start < edge && edge < end && end <= after);
    for id in 0..5 {
        let times: Vec<u64> = events
            .all
            .iter()
            .filter_map(|e| match e {
                Event::Tokens { request, at_ns, .. } if *request == id => Some(*at_ns),
                _ => None,
            })
            .collect();
        assert_eq!(times.len(), 9);
        assert!(times.windows(2).all(|w| w[0] < w[1]));
        assert!(
            start < times[0] && times[0] <= edge,
            "the first token is prefill's"
        );
        assert!(edge < times[1] && times[8] <= end);
        assert_eq!(events.reason(id), Some(FinishReason::Length));
    }
}

#[test]
fn a_cancelled_run_says_so_for_every_request() {
    let (_folder, mut engine) = tiny("llama");
    let cancel = Cancel::default();
    let mut events = Events {
        cancel_after: Some((12, cancel.clone())),
        ..Events::default()
    };
    let requests: Vec<_> = prompts()
        .iter()
        .zip(0..)
        .map(|(tokens, id)| request(id, tokens, 200, 200))
        .collect();
    engine
        .generate(
            &work(requests, 2, Sampling::default()),
            &mut events,
            &cancel,
        )
        .unwrap();
    for id in 0..5 {
        assert_eq!(events.reason(id), Some(FinishReason::Cancelled), "{id}");
    }
    // The engine is as good as before.
    let again = run(
        &mut engine,
        &work(vec![request(9, &[1, 2], 3, 3)], 1, Sampling::default()),
    );
    assert_eq!(again.unwrap().tokens(9).len(), 3);
}

#[test]
fn requests_that_cannot_be_answered_fail_alone() {
    let (_folder, mut engine) = tiny("llama");
    let requests = vec![
        request(0, &[], 1, 1),
        request(1, &[1, 300], 1, 1),
        request(2, &[1, 2], 0, 600),
        request(3, &[1, 2], 2, 2),
    ];
    let events = run(&mut engine, &work(requests, 4, Sampling::default())).unwrap();
    for (id, why) in [(0, "no tokens"), (1, "token 300"), (2, "context of 512")] {
        assert!(events.failure(id).unwrap().contains(why), "{id}");
    }
    assert_eq!(events.tokens(3).len(), 2);
}

#[test]
fn sixteen_bits_come_close_and_are_told() {
    let golden = golden();
    for (precision, name, allowed) in [
        (Precision::Bf16, "bf16", 0.6),
        (Precision::Fp16, "f16", 0.1),
    ] {
        let options = LoadOptions {
            precision,
            ..options()
        };
        let (_folder, mut engine) = tiny_with("llama", &options);
        assert_eq!(engine.describe().weight_type.as_deref(), Some(name));
        assert_eq!(engine.describe().compute_type.as_deref(), Some(name));
        let scores = engine.score(&tokens(&golden["tokens"])).unwrap();
        let (most, _) = differences(&scores, &variant("llama")["logprobs"]);
        assert!(most < allowed, "{name}: off by {most}");
        assert!(most > 1e-5, "{name} is too good to be true");
    }
}

#[test]
fn a_files_own_type_is_kept() {
    let folder = TempDir::new().unwrap();
    let files = safetensors(folder.path(), &variant("mistral"), Dtype::BF16);
    let engine = load(&files, &options()).unwrap();
    let description = engine.describe();
    assert_eq!(description.weight_type.as_deref(), Some("bf16"));
    assert_eq!(
        description.weight_bytes,
        description.parameters.map(|p| 2 * p)
    );
    // 2 layers × 2 heads × 32 × keys and values × 2 bytes.
    assert_eq!(description.kv_bytes_per_token, Some(512));
    assert_eq!(description.engine, "torch");
    assert!(description.engine_version.starts_with("2.11.0"));
    assert_eq!(description.device, "cpu");
    assert_eq!(description.threads, Some(2));
}

#[test]
fn descriptions_agree_with_the_embedded_engines() {
    for name in ["llama", "qwen2", "mistral"] {
        let folder = TempDir::new().unwrap();
        let files = safetensors(folder.path(), &variant(name), Dtype::F32);
        let torch = load(&files, &options()).unwrap();
        let candle = lem::engine::candle::load(&files, &crate::support::options()).unwrap();
        let (ours, theirs) = (torch.describe(), candle.describe());
        assert_eq!(ours.parameters, theirs.parameters, "{name}");
        assert_eq!(ours.active_parameters, theirs.active_parameters, "{name}");
        assert_eq!(ours.weight_bytes, theirs.weight_bytes, "{name}");
        assert_eq!(ours.tied_embeddings, theirs.tied_embeddings, "{name}");
    }
}

#[test]
fn random_weights_need_a_shape_only_and_follow_the_seed() {
    let folder = TempDir::new().unwrap();
    let mut config = variant("llama")["config"].clone();
    config["torch_dtype"] = "bfloat16".into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let files = ModelFiles {
        name: "shape".into(),
        source: folder.path().display().to_string(),
        sha256: None,
        format: ModelFormat::Safetensors {
            config: folder.path().join("config.json"),
            weights: Vec::new(),
            tokenizer: None,
            tokenizer_config: None,
            generation_config: None,
        },
    };
    let answer = |seed| {
        let options = LoadOptions {
            load_format: LoadFormat::Dummy,
            seed,
            ..options()
        };
        let mut engine = load(&files, &options).unwrap();
        assert!(engine.describe().random_weights);
        assert_eq!(engine.describe().weight_type.as_deref(), Some("bf16"));
        let error = engine.encode("text", false).unwrap_err();
        assert!(error.remedy.contains("synthetic"));
        engine.score(&[1, 2, 3, 4, 5, 6, 7]).unwrap()
    };
    assert_eq!(answer(1), answer(1));
    assert_ne!(answer(1), answer(2));
    let error = load(&files, &options()).unwrap_err();
    assert!(error.what.contains("tokenizer.json"), "{error}");
}

#[test]
fn what_cannot_be_loaded_is_told_with_the_way_out() {
    let folder = TempDir::new().unwrap();
    let kind = candle_core::quantized::GgmlDType::F32;
    let files = gguf(folder.path(), &variant("llama"), kind);
    let error = load(&files, &options()).unwrap_err();
    assert!(
        error.what.contains("GGUF") && error.remedy.contains("candle"),
        "{error}"
    );

    let files = safetensors(folder.path(), &variant("llama"), Dtype::F32);
    let on = |device: &str| LoadOptions {
        device: Some(device.into()),
        ..options()
    };
    let error = load(&files, &on("tpu")).unwrap_err();
    assert!(
        error.what.contains("tpu") && error.remedy.contains("cuda:0"),
        "{error}"
    );
    if !std::path::Path::new("/dev/nvidiactl").exists() {
        let error = load(&files, &on("cuda")).unwrap_err();
        assert!(error.remedy.contains("torch.device"), "{error}");
    }
    let schedule = Work {
        due_ns: vec![0],
        ..work(vec![request(0, &[1], 1, 1)], 1, Sampling::default())
    };
    let mut engine = load(&files, &options()).unwrap();
    let error = run(&mut engine, &schedule).err().unwrap();
    assert!(error.remedy.contains("traffic.mode"), "{error}");
}

#[test]
fn the_profiler_counts_what_the_architecture_says_attention_included() {
    for name in VARIANTS {
        let (folder, mut engine) = tiny(name);
        let prompts = prompts();
        let requests: Vec<_> = [0, 1, 2]
            .iter()
            .map(|&id| request(id, &prompts[0], 10, 10))
            .collect();
        let work = work(requests, 3, Sampling::default());
        let trace = folder.path().join("trace.json");
        let profile = engine
            .profile(&work, &trace, &Cancel::default())
            .unwrap()
            .unwrap();
        let cost = lem::analysis::FlopsCost::of(engine.describe()).unwrap();
        let estimated = 3.0 * cost.request(100, 10);
        let off = (estimated - profile.flops) / profile.flops;
        assert!(off.abs() < 0.02, "{name}: off by {off}");
        // 2 layers; half of the prompt's square, and each step's own length.
        let heads = f64::from(engine.describe().attention_heads.unwrap());
        let size = heads * f64::from(engine.describe().head_size.unwrap());
        let contexts: f64 = (101..=109).map(f64::from).sum();
        let attention = 3.0 * 2.0 * 4.0 * size * (100.0 * 100.0 / 2.0 + contexts);
        assert_eq!(profile.attention_flops, attention, "{name}");
        assert!(profile.seconds > 0.0 && profile.peak_bytes.is_some());
        assert!(
            profile
                .operators
                .iter()
                .any(|o| o.name == "aten::mm" && o.flops > 0.0)
        );
        let trace: Value = serde_json::from_slice(&std::fs::read(&trace).unwrap()).unwrap();
        assert!(trace["traceEvents"].as_array().unwrap().len() > 100);
    }
}
