//! Mutated bytes: an answer each time, and never a panic. Runs for `LEM_FUZZ_SECONDS`
//! seconds; 2 without it.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use rand::prelude::*;
use rand_chacha::ChaCha8Rng;

use super::*;

/// Pieces that the fields of version 2 can hold, and cannot.
const PIECES: &[&str] = &[
    "null",
    "0",
    "0.0",
    "-0.0",
    "-1",
    "1e308",
    "1e-308",
    "1e999",
    "18446744073709551616",
    "NaN",
    "Infinity",
    "\"\"",
    "\"true_streaming\"",
    "\"2026-01-24T15:00:00\"",
    "\"9999-12-31T23:59:59.999999999\"",
    "[]",
    "{}",
    "[[]]",
    "[1,",
    "{\"a\":",
    "]",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\u{feff}",
    "é",
    "true",
    "false",
    "\"process_index\": 1,",
    "\"measurement_config_hash\": \"x\",",
    "\"experiment_id\": \"0\",",
    "\"energy_tracking_failed\": true,",
    "\"aggregation\": {\"num_processes\": 3},",
];

fn spoil(rng: &mut ChaCha8Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds.choose(rng).unwrap().clone();
    for _ in 0..rng.random_range(0..8) {
        let at = rng.random_range(0..=bytes.len());
        let end = rng.random_range(at..=bytes.len().min(at + 40));
        match rng.random_range(0..5) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, PIECES.choose(rng).unwrap().bytes())),
            // In the place of a value, so that it is often still JSON.
            2 => {
                let from = bytes
                    .iter()
                    .skip(at)
                    .position(|b| *b == b':')
                    .map_or(at, |i| at + i + 1);
                let to = bytes
                    .iter()
                    .skip(from)
                    .position(|b| matches!(b, b',' | b'}' | b']'))
                    .map_or(from, |i| from + i);
                bytes.splice(from..to, PIECES.choose(rng).unwrap().bytes());
            }
            3 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = rng.random();
                }
            }
        }
    }
    bytes
}

#[test]
fn no_bytes_make_it_panic_or_lose_a_value() {
    let variable = |name: &str| std::env::var(name).ok();
    let seconds = variable("LEM_FUZZ_SECONDS")
        .and_then(|s| s.parse().ok())
        .unwrap_or(2.0);
    let seed = variable("LEM_FUZZ_SEED")
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(rand::random);
    println!("LEM_FUZZ_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let seeds: Vec<Vec<u8>> = names().iter().map(|name| bytes(name)).collect();
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut runs, mut good) = (0_u64, 0_u64);
    while Instant::now() < until {
        let bytes = spoil(&mut rng, &seeds);
        runs += 1;
        match migrate(&bytes, "f.json", &Options::default()) {
            Ok(result) => {
                good += 1;
                // As another reader sees it; numbers that stand as text are the only difference.
                let text_only = result
                    .migration
                    .as_ref()
                    .unwrap()
                    .notes
                    .iter()
                    .any(|n| n.code == "number.as-text");
                match serde_json::from_slice::<Value>(&bytes) {
                    Ok(original) if !text_only => sound(&result, &original),
                    _ => assert_valid(&result),
                }
            }
            Err(refused) => {
                let told = refused.to_string();
                assert!(told.len() < 10_000, "{} bytes", told.len());
            }
        }
    }
    println!("{runs} files, {good} of them good");
    assert!(runs > 10 && good > 0, "{runs} files, {good} of them good");
}
