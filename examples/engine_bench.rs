//! Prefill and decode speed of the embedded engine, as one line of JSON.
//!
//!     cargo run --release --example engine_bench -- MODEL.gguf [THREADS] [PROMPT] [OUTPUT] [BATCH]
//!
//! Random prompt tokens, exact output length, the best of three rounds after one to warm up.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;

use lem::config::{LoadFormat, Precision, QuantizedWeights};
use lem::engine::candle::{LoadOptions, load};
use lem::engine::{Cancel, Engine, Event, EventSink, Phase, Request, Sampling, Work};
use lem::model::{ModelFiles, ModelFormat};

#[derive(Default)]
struct Events(Vec<Event>);

impl EventSink for Events {
    fn event(&mut self, event: Event) {
        self.0.push(event);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: u32| -> Result<u32, std::num::ParseIntError> {
        arguments.get(i).map_or(Ok(default), |a| a.parse())
    };
    let path = arguments.first().ok_or("give the path of a GGUF file")?;
    let (prompt, output, batch) = (number(2, 512)?, number(3, 128)?, number(4, 1)?);
    let quantized = match std::env::var("DEQUANTIZE") {
        Ok(_) => QuantizedWeights::Dequantize,
        Err(_) => QuantizedWeights::Native,
    };
    let precision = match std::env::var("PRECISION").as_deref() {
        Ok("bf16") => Precision::Bf16,
        Ok("fp16") => Precision::Fp16,
        _ => Precision::Auto,
    };
    let files = ModelFiles {
        name: path.clone(),
        source: path.clone(),
        sha256: None,
        format: ModelFormat::Gguf(PathBuf::from(path)),
    };
    let options = LoadOptions {
        threads: arguments.get(1).map(|t| t.parse()).transpose()?,
        quantized,
        precision,
        load_format: LoadFormat::Auto,
        seed: 1,
    };
    let begun = std::time::Instant::now();
    let mut engine = load(&files, &options)?;
    let load_s = begun.elapsed().as_secs_f64();
    let vocabulary = engine.describe().vocabulary.unwrap_or(1);
    let requests = (0..u64::from(batch))
        .map(|id| Request {
            id,
            tokens: (0..prompt)
                .map(|i| (i * 7919 + id as u32 * 104_729 + 1000) % vocabulary)
                .collect::<Arc<[u32]>>(),
            text: None,
            max_output_tokens: output,
            min_output_tokens: output,
        })
        .collect();
    let work = Work {
        requests,
        batch_size: batch as usize,
        sampling: Sampling::default(),
        due_ns: Vec::new(),
    };
    let (mut prefill, mut decode) = (f64::INFINITY, f64::INFINITY);
    for round in 0..4 {
        let mut events = Events::default();
        engine.generate(&work, &mut events, &Cancel::default())?;
        let mut times = [0_u64; 3];
        for event in &events.0 {
            if let Event::Phase { phase, at_ns } = event {
                match phase {
                    Some(Phase::Prefill) => times[0] = *at_ns,
                    Some(_) => times[1] = *at_ns,
                    None => times[2] = *at_ns,
                }
            }
        }
        if round > 0 {
            prefill = prefill.min((times[1] - times[0]) as f64 / 1e9);
            decode = decode.min((times[2] - times[1]) as f64 / 1e9);
        }
    }
    println!(
        "{}",
        serde_json::json!({
            "model": path,
            "threads": engine.describe().threads,
            "prompt_tokens": prompt,
            "output_tokens": output,
            "batch": batch,
            "load_s": load_s,
            "weight_bytes": engine.describe().weight_bytes,
            "weight_type": engine.describe().weight_type,
            "prefill_tokens_per_s": f64::from(prompt * batch) / prefill,
            "decode_tokens_per_s": f64::from((output - 1) * batch) / decode,
        })
    );
    Ok(())
}
