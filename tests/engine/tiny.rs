//! Small models against transformers: every architecture, rotary scaling and file format.

use candle_core::quantized::GgmlDType;
use lem::config::{Precision, QuantizedWeights};
use lem::engine::Engine;
use lem::engine::candle::{LoadOptions, load};
use safetensors::Dtype;
use tempfile::TempDir;

use crate::support::*;

const VARIANTS: [&str; 3] = ["llama", "qwen2", "mistral"];

#[test]
fn safetensors_give_transformers_probabilities() {
    let golden = golden();
    for name in VARIANTS {
        let (_folder, mut engine) = tiny(name);
        let scores = engine.score(&tokens(&golden["tokens"])).unwrap();
        let (most, _) = differences(&scores, &golden["variants"][name]["logprobs"]);
        assert!(most < 5e-5, "{name}: off by {most}");
    }
}

#[test]
fn the_greedy_token_is_transformers() {
    let golden = golden();
    for name in VARIANTS {
        let (_folder, mut engine) = tiny(name);
        let request = request(0, &tokens(&golden["tokens"]), 1, 1);
        let events = run(&mut engine, &work(vec![request], 1, Default::default())).unwrap();
        let next = golden["variants"][name]["next"].as_u64().unwrap() as u32;
        assert_eq!(events.tokens(0), [next], "{name}");
    }
}

#[test]
fn gguf_gives_the_same_as_safetensors() {
    let golden = golden();
    for name in VARIANTS {
        let variant = &golden["variants"][name];
        for (kind, quantized, allowed) in [
            (GgmlDType::F32, QuantizedWeights::Native, 5e-5),
            (GgmlDType::F16, QuantizedWeights::Native, 5e-2),
            // Eight bits of weights, then eight of activations too.
            (GgmlDType::Q8_0, QuantizedWeights::Dequantize, 0.3),
            (GgmlDType::Q8_0, QuantizedWeights::Native, 0.5),
        ] {
            let folder = TempDir::new().unwrap();
            let files = gguf(folder.path(), variant, kind);
            let options = LoadOptions {
                quantized,
                ..options()
            };
            let mut engine = load(&files, &options).unwrap();
            let scores = engine.score(&tokens(&golden["tokens"])).unwrap();
            let (most, _) = differences(&scores, &variant["logprobs"]);
            assert!(
                most < allowed,
                "{name} {kind:?} {quantized:?}: off by {most}"
            );
        }
    }
}

#[test]
fn sixteen_bit_weights_stay_close_in_every_way_to_ask_for_them() {
    let golden = golden();
    let variant = &golden["variants"]["llama"];
    let tokens = tokens(&golden["tokens"]);
    for (file, precision, held, allowed) in [
        (Dtype::BF16, Precision::Auto, "bf16", 0.5),
        (Dtype::F16, Precision::Auto, "f16", 0.05),
        (Dtype::F32, Precision::Bf16, "bf16", 0.5),
        (Dtype::F32, Precision::Fp16, "f16", 0.05),
        (Dtype::BF16, Precision::Fp32, "f32", 0.5),
    ] {
        let folder = TempDir::new().unwrap();
        let files = safetensors(folder.path(), variant, file);
        let options = LoadOptions {
            precision,
            ..options()
        };
        let mut engine = load(&files, &options).unwrap();
        let described = engine.describe().clone();
        assert_eq!(described.weight_type.as_deref(), Some(held));
        let each = if held == "f32" { 4 } else { 2 };
        // Norms are always f32: two a layer and the last, of 64.
        let expected = (described.parameters.unwrap() - 5 * 64) * each + 5 * 64 * 4;
        assert_eq!(described.weight_bytes, Some(expected));
        let (most, _) = differences(&engine.score(&tokens).unwrap(), &variant["logprobs"]);
        assert!(most < allowed, "{file:?} {precision:?}: off by {most}");
    }
}

#[test]
fn a_score_does_not_depend_on_how_it_is_cut_into_steps() {
    let (_folder, mut engine) = tiny("llama");
    // Longer than a step, shorter than the context.
    let tokens: Vec<u32> = values(5, 500)
        .iter()
        .map(|v| ((v + 0.5) * 299.0) as u32)
        .collect();
    let all = engine.score(&tokens).unwrap();
    let part = engine.score(&tokens[..200]).unwrap();
    assert_eq!(all.len(), 499);
    for (a, b) in all.iter().zip(&part) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
    assert!(engine.score(&[]).unwrap().is_empty());
    assert!(engine.score(&[1]).unwrap().is_empty());
    let long = engine.score(&vec![1; 513]).unwrap_err();
    assert!(
        long.what.contains("513") && long.what.contains("512"),
        "{long}"
    );
    assert!(engine.score(&[1, 300]).unwrap_err().what.contains("300"));
}
