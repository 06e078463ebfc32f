//! Which sequences share a batch changes no answer.

use lem::engine::Sampling;
use tempfile::TempDir;

use crate::support::*;

fn prompts() -> Vec<Vec<u32>> {
    // One longer than a prefill step, one of a single token.
    [300, 1, 17, 64, 40]
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

fn same_alone_and_together(engine: &mut lem::engine::candle::CandleEngine, sampling: &Sampling) {
    let requests: Vec<_> = prompts()
        .iter()
        .zip(0..)
        .map(|(tokens, id)| request(id, tokens, 3, 20 + 3 * id as u32))
        .collect();
    let alone: Vec<_> = requests
        .iter()
        .map(|r| run(engine, &work(vec![r.clone()], 1, sampling.clone())).unwrap())
        .collect();
    for batch in [2, 4, 5, 100] {
        let together = run(engine, &work(requests.clone(), batch, sampling.clone())).unwrap();
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
fn greedy_answers_are_the_same_alone_and_together() {
    for name in ["llama", "mistral"] {
        let (_folder, mut engine) = tiny(name);
        same_alone_and_together(&mut engine, &Sampling::default());
    }
}

#[test]
fn quantised_answers_are_the_same_alone_and_together() {
    let folder = TempDir::new().unwrap();
    let variant = &golden()["variants"]["qwen2"];
    let files = gguf(
        folder.path(),
        variant,
        candle_core::quantized::GgmlDType::Q4_1,
    );
    let mut engine = lem::engine::candle::load(&files, &options()).unwrap();
    same_alone_and_together(&mut engine, &Sampling::default());
}

#[test]
fn sampled_answers_are_the_same_alone_and_together() {
    let (_folder, mut engine) = tiny("llama");
    let sampling = Sampling {
        temperature: 0.8,
        top_k: Some(50),
        top_p: Some(0.95),
        repetition_penalty: 1.1,
        seed: 7,
    };
    same_alone_and_together(&mut engine, &sampling);
}

#[test]
fn the_answer_is_what_scoring_finds_likely() {
    // Decoding one token at a time and scoring in one go are different paths.
    let (_folder, mut engine) = tiny("qwen2");
    let prompt = &prompts()[3];
    let events = run(
        &mut engine,
        &work(vec![request(0, prompt, 30, 30)], 1, Sampling::default()),
    )
    .unwrap();
    let mut tokens = prompt.clone();
    for token in events.tokens(0) {
        tokens.push(token);
        let scored = *lem::engine::Engine::score(&mut engine, &tokens)
            .unwrap()
            .last()
            .unwrap();
        // The likeliest of 300 has at least its fair share.
        assert!(scored > -(300_f32.ln()), "{scored}");
        for other in [(token + 1) % 299, (token + 77) % 299] {
            *tokens.last_mut().unwrap() = other;
            let less = *lem::engine::Engine::score(&mut engine, &tokens)
                .unwrap()
                .last()
                .unwrap();
            assert!(less <= scored + 1e-4);
        }
        *tokens.last_mut().unwrap() = token;
    }
}
