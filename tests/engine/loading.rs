//! What loads, what is refused, and what is said about it.

use candle_core::quantized::GgmlDType;
use lem::config::{LoadFormat, Precision, QuantizedWeights};
use lem::engine::candle::{LoadOptions, load};
use lem::engine::{Engine, Sampling};
use lem::model::{ModelFiles, ModelFormat};
use safetensors::Dtype;
use serde_json::json;
use tempfile::TempDir;

use crate::support::*;

#[test]
fn a_description_is_complete() {
    let folder = TempDir::new().unwrap();
    let files = gguf(
        folder.path(),
        &golden()["variants"]["qwen2"],
        GgmlDType::Q8_0,
    );
    let engine = load(&files, &options()).unwrap();
    let d = engine.describe();
    assert_eq!(d.architecture.as_deref(), Some("qwen2"));
    // By hand: two layers of attention with biases, MLP and norms; two tables; the last norm.
    let layer = 64 * 64 * 2 + 64 * 32 * 2 + (64 + 32 + 32) + 3 * 64 * 96 + 2 * 64;
    let parameters = 2 * layer + 2 * 300 * 64 + 64;
    assert_eq!(d.parameters, Some(parameters));
    assert_eq!(d.active_parameters, Some(parameters - 300 * 64));
    assert_eq!(
        (d.layers, d.hidden_size, d.intermediate_size),
        (Some(2), Some(64), Some(96))
    );
    assert_eq!(
        (d.attention_heads, d.key_value_heads, d.head_size),
        (Some(4), Some(2), Some(16))
    );
    assert_eq!((d.vocabulary, d.context_length), (Some(300), Some(512)));
    assert_eq!(d.tied_embeddings, Some(false));
    assert_eq!(d.weight_type.as_deref(), Some("q8_0"));
    assert_eq!(d.compute_type.as_deref(), Some("int8"));
    // Keys and values of two layers and two heads of 16, four bytes each.
    assert_eq!(d.kv_bytes_per_token, Some(2 * 2 * 2 * 16 * 4));
    assert_eq!(d.threads, Some(2));
    assert_eq!((d.engine.as_str(), d.device.as_str()), ("candle", "cpu"));
    assert!(!d.random_weights);
    // 34 bytes for 32 weights; the tables' last tile of eight rows is not full.
    let packed = (2 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96) + 2 * 304 * 64) * 34 / 32;
    let floats = (2 * (128 + 2 * 64) + 64) * 4;
    assert_eq!(d.weight_bytes, Some(packed + floats));
}

#[test]
fn unpacked_weights_are_described_as_what_they_became() {
    let folder = TempDir::new().unwrap();
    let files = gguf(
        folder.path(),
        &golden()["variants"]["qwen2"],
        GgmlDType::Q8_0,
    );
    let options = LoadOptions {
        quantized: QuantizedWeights::Dequantize,
        precision: Precision::Bf16,
        ..options()
    };
    let engine = load(&files, &options).unwrap();
    assert_eq!(engine.describe().weight_type.as_deref(), Some("bf16"));
    assert_eq!(engine.describe().compute_type.as_deref(), Some("f32"));
}

#[test]
fn a_precision_for_quantised_weights_is_refused() {
    let folder = TempDir::new().unwrap();
    let files = gguf(
        folder.path(),
        &golden()["variants"]["qwen2"],
        GgmlDType::Q8_0,
    );
    let options = LoadOptions {
        precision: Precision::Fp16,
        ..options()
    };
    let error = load(&files, &options).unwrap_err();
    assert!(error.remedy.contains("candle.quantized"), "{error}");
}

#[test]
fn random_weights_need_the_shape_only() {
    let dummy = LoadOptions {
        load_format: LoadFormat::Dummy,
        ..options()
    };
    let folder = TempDir::new().unwrap();
    let mut files = safetensors(folder.path(), &golden()["variants"]["llama"], Dtype::F32);
    if let ModelFormat::Safetensors {
        weights, tokenizer, ..
    } = &mut files.format
    {
        weights.clear();
        *tokenizer = None;
    }
    let mut engine = load(&files, &dummy).unwrap();
    assert!(engine.describe().random_weights);
    assert!(
        engine
            .encode("hello", false)
            .unwrap_err()
            .remedy
            .contains("synthetic")
    );
    let events = run(
        &mut engine,
        &work(vec![request(0, &[1], 8, 8)], 1, Sampling::default()),
    )
    .unwrap();
    assert_eq!(events.tokens(0).len(), 8);
    assert!(
        engine
            .score(&[1, 2, 3])
            .unwrap()
            .iter()
            .all(|s| s.is_finite())
    );

    // A GGUF file that ends after its header.
    let files = gguf(
        folder.path(),
        &golden()["variants"]["qwen2"],
        GgmlDType::Q4_1,
    );
    let ModelFormat::Gguf(path) = &files.format else {
        unreachable!()
    };
    let whole = std::fs::read(path).unwrap();
    let full = load(&files, &options()).unwrap().describe().clone();
    std::fs::write(path, &whole[..whole.len() - 20_000]).unwrap();
    let error = load(&files, &options()).unwrap_err();
    assert!(error.what.contains("cut off"), "{error}");
    let mut engine = load(&files, &dummy).unwrap();
    assert_eq!(engine.describe().weight_bytes, full.weight_bytes);
    assert_eq!(engine.describe().weight_type.as_deref(), Some("q4_1"));
    assert!(
        engine
            .score(&[1, 2, 3])
            .unwrap()
            .iter()
            .all(|s| s.is_finite())
    );
}

#[test]
fn random_weights_that_memory_cannot_hold_are_refused() {
    let folder = TempDir::new().unwrap();
    let mut config = golden()["variants"]["llama"]["config"].clone();
    config["hidden_size"] = json!(1 << 20);
    config["intermediate_size"] = json!(1 << 20);
    config["num_attention_heads"] = json!(1 << 10);
    config["num_key_value_heads"] = json!(1 << 10);
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let files = ModelFiles {
        name: "huge".into(),
        source: "huge".into(),
        sha256: None,
        format: ModelFormat::Safetensors {
            config: folder.path().join("config.json"),
            weights: Vec::new(),
            tokenizer: None,
            tokenizer_config: None,
            generation_config: None,
        },
    };
    let options = LoadOptions {
        load_format: LoadFormat::Dummy,
        ..options()
    };
    let error = load(&files, &options).unwrap_err();
    assert!(error.what.contains("GiB"), "{error}");
}

#[test]
fn text_and_chat_become_tokens_and_text_again() {
    let (_other, engine) = tiny("llama");
    let tokens = engine.encode("the thing in the end", false).unwrap();
    assert_eq!(engine.decode(&tokens).unwrap(), "the thing in the end");
    let chat = engine.encode("hello", true).unwrap();
    assert_eq!(engine.decode(&chat).unwrap(), "[USER] hello\n[MODEL]");
    let folder = TempDir::new().unwrap();
    let files = gguf(
        folder.path(),
        &golden()["variants"]["qwen2"],
        GgmlDType::F32,
    );
    let engine = load(&files, &options()).unwrap();
    let (_tiny, other) = tiny("qwen2");
    for text in ["the thing", "  12 ß 日", "a<|endoftext|>b"] {
        assert_eq!(
            engine.encode(text, false).unwrap(),
            other.encode(text, false).unwrap()
        );
    }
    assert!(
        engine
            .encode("hello", true)
            .unwrap_err()
            .remedy
            .contains("chat_template")
    );
}

/// Loads a variant after its `config.json` was changed.
fn with_config(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let folder = TempDir::new().unwrap();
    let files = safetensors(folder.path(), &golden()["variants"]["llama"], Dtype::F32);
    let path = folder.path().join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
    load(&files, &options()).unwrap_err().to_string()
}

#[test]
fn models_that_would_run_wrongly_are_refused() {
    for (key, value, part) in [
        (
            "architectures",
            json!(["GemmaForCausalLM"]),
            "GemmaForCausalLM",
        ),
        ("sliding_window", json!(128), "sliding window"),
        ("quantization_config", json!({"bits": 4}), "quantised"),
        ("hidden_act", json!("gelu"), "gelu"),
        (
            "rope_scaling",
            json!({"rope_type": "yarn", "factor": 4.0}),
            "yarn",
        ),
        ("rope_scaling", json!({"rope_type": "linear"}), "factor"),
        ("num_key_value_heads", json!(3), "evenly"),
        ("num_attention_heads", json!(0), "attention heads"),
        ("head_dim", json!(20), "multiple"),
        ("rms_norm_eps", json!(-1.0), "epsilon"),
        ("vocab_size", json!(u32::MAX), "vocabulary"),
        ("hidden_size", json!(128), "q_proj.weight"),
        ("hidden_size", json!("big"), "cannot be understood"),
    ] {
        let error = with_config(|config| config[key] = value);
        assert!(error.contains(part), "{key}: {error}");
    }
}

#[test]
fn broken_files_are_refused_with_their_name() {
    let folder = TempDir::new().unwrap();
    let files = safetensors(folder.path(), &golden()["variants"]["llama"], Dtype::F32);
    let path = folder.path().join("model.safetensors");
    let whole = std::fs::read(&path).unwrap();
    for broken in [
        &b""[..],
        &whole[..7],
        &whole[..100],
        &whole[..whole.len() - 1],
        &[0xff; 64][..],
    ] {
        std::fs::write(&path, broken).unwrap();
        let error = load(&files, &options()).unwrap_err().to_string();
        assert!(error.contains("model.safetensors"), "{error}");
    }
    std::fs::write(&path, &whole).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
    let error = load(&files, &options()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    let error = load(&gguf_files(&folder.path().join("none.gguf")), &options()).unwrap_err();
    assert!(error.what.contains("none.gguf"), "{error}");
}

#[test]
fn a_chat_template_that_never_ends_is_stopped() {
    let folder = TempDir::new().unwrap();
    let files = safetensors(folder.path(), &golden()["variants"]["llama"], Dtype::F32);
    let load_with = |template: &str| {
        let config = json!({"chat_template": template}).to_string();
        std::fs::write(folder.path().join("tokenizer_config.json"), config).unwrap();
        load(&files, &options())
    };
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    let engine = load_with(endless).unwrap();
    assert!(engine.encode("x", true).unwrap_err().what.contains("fuel"));
    let engine = load_with("{{ raise_exception('no system role') }}").unwrap();
    assert!(
        engine
            .encode("x", true)
            .unwrap_err()
            .what
            .contains("no system role")
    );
    // A template that cannot be read is in the way of chats only.
    let engine = load_with("{% if %}").unwrap();
    assert!(engine.encode("x", false).is_ok());
    assert!(
        engine
            .encode("x", true)
            .unwrap_err()
            .what
            .contains("template")
    );
}
