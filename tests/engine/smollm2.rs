//! The real model against transformers' numbers for it.

use lem::config::QuantizedWeights;
use lem::engine::candle::{CandleEngine, LoadOptions, load};
use lem::engine::{Engine, Sampling};
use serde_json::Value;

use crate::support::*;

fn golden() -> Value {
    serde_json::from_str(include_str!("../data/smollm2-golden.json")).unwrap()
}

fn model(quantized: QuantizedWeights) -> Option<CandleEngine> {
    let options = LoadOptions {
        quantized,
        ..options()
    };
    Some(load(&gguf_files(&real_model()?), &options).unwrap())
}

/// How often the likeliest next token is transformers', where its lead is not within `noise`.
fn same_first_choice(engine: &mut CandleEngine, golden: &Value, noise: f64) {
    let tokens = tokens(&golden["tokens"]);
    // Every fourth, to save time.
    let requests = (1..=tokens.len())
        .step_by(4)
        .map(|n| request(n as u64 - 1, &tokens[..n], 1, 1))
        .collect();
    let events = run(engine, &work(requests, 8, Sampling::default())).unwrap();
    let mut compared = 0;
    for (i, first) in golden["top1"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
        .step_by(4)
    {
        if golden["top1_margin"][i].as_f64().unwrap() > noise {
            let token = events.tokens(i as u64)[0];
            assert_eq!(
                u64::from(token),
                first.as_u64().unwrap(),
                "after {} tokens",
                i + 1
            );
            compared += 1;
        }
    }
    assert!(compared > 10, "only {compared} compared");
}

#[test]
fn unpacked_weights_give_transformers_probabilities() {
    let Some(mut engine) = model(QuantizedWeights::Dequantize) else {
        return;
    };
    let golden = golden();
    let scores = engine.score(&tokens(&golden["tokens"])).unwrap();
    let (most, mean) = differences(&scores, &golden["logprobs"]);
    eprintln!("unpacked: largest {most:.6}, mean {mean:.6}");
    // Both compute in f32, in another order.
    assert!(most < 2e-4 && mean < 4e-5, "largest {most}, mean {mean}");
    same_first_choice(&mut engine, &golden, 0.01);
}

#[test]
fn packed_weights_stay_close_to_transformers() {
    let Some(mut engine) = model(QuantizedWeights::Native) else {
        return;
    };
    let golden = golden();
    let scores = engine.score(&tokens(&golden["tokens"])).unwrap();
    let (most, mean) = differences(&scores, &golden["logprobs"]);
    eprintln!("packed: largest {most:.6}, mean {mean:.6}");
    // Activations have 8 bits here and 24 there.
    assert!(most < 0.4 && mean < 0.08, "largest {most}, mean {mean}");
    same_first_choice(&mut engine, &golden, 0.5);
}

#[test]
fn the_tokenizer_is_transformers() {
    let Some(engine) = model(QuantizedWeights::Native) else {
        return;
    };
    let golden = golden();
    let cases = golden["strings"].as_array().unwrap();
    assert!(cases.len() > 30);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        assert_eq!(
            engine.encode(text, false).unwrap(),
            tokens(&case["tokens"]),
            "{text:?}"
        );
    }
    assert_eq!(
        engine
            .encode(golden["text"].as_str().unwrap(), false)
            .unwrap(),
        tokens(&golden["tokens"])
    );
    let chat = engine
        .encode(golden["chat"]["user"].as_str().unwrap(), true)
        .unwrap();
    assert_eq!(chat, tokens(&golden["chat"]["tokens"]));
    // The digits that transformers' reader of GGUF does not split.
    assert_eq!(
        engine.encode(" ٣", false).unwrap()[0],
        engine.encode(" ", false).unwrap()[0]
    );
}

#[test]
fn it_answers_and_stops() {
    let Some(mut engine) = model(QuantizedWeights::Native) else {
        return;
    };
    let prompts = [
        "What is the capital of France?",
        "Say hello.",
        "What is 2 + 2?",
        "Name a colour.",
    ];
    let requests: Vec<_> = prompts
        .iter()
        .zip(0..)
        .map(|(prompt, id)| request(id, &engine.encode(prompt, true).unwrap(), 0, 60))
        .collect();
    let together = run(&mut engine, &work(requests.clone(), 4, Sampling::default())).unwrap();
    for (request, id) in requests.into_iter().zip(0..) {
        let alone = run(&mut engine, &work(vec![request], 1, Sampling::default())).unwrap();
        assert_eq!(together.tokens(id), alone.tokens(id));
    }
    let answer = engine.decode(&together.tokens(0)).unwrap();
    assert!(answer.contains("Paris"), "{answer}");
    assert_eq!(together.reason(0), Some(lem_record::FinishReason::Stop));
}

#[test]
fn it_is_described() {
    let Some(engine) = model(QuantizedWeights::Native) else {
        return;
    };
    let d = engine.describe();
    assert_eq!(d.parameters, Some(134_515_008));
    assert_eq!(d.active_parameters, d.parameters);
    assert_eq!(d.weight_type.as_deref(), Some("mixed (q4_1, q8_0)"));
    // The file without its vocabulary: nothing is held twice.
    assert_eq!(d.weight_bytes, Some(98_362_432 - 1_785_664));
}
