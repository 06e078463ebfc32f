//! Mutated files, variables and settings: an answer each time, and never a panic.
//! Runs for `LEM_FUZZ_SECONDS` seconds; 2 without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::fs;
use std::time::{Duration, Instant};

use lem::config::{Built, Environment, Finding, Format, Sources, load, show, unbuilt};
use rand::prelude::*;
use rand_chacha::ChaCha8Rng;

/// Pieces that YAML, or we, treat in a way of their own.
const PIECES: &[&str] = &[
    "\n",
    "\t",
    "  ",
    ": ",
    "- ",
    "? ",
    "#",
    "|",
    ">",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!x ",
    "'",
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "~",
    "null",
    "true",
    ".nan",
    ".inf",
    "-0",
    "1e999",
    "18446744073709551616",
    "-9223372036854775809",
    "0x",
    "0o8",
    "\u{feff}",
    "\r",
    "\u{2028}",
    "é",
    "😀",
    "_extends: a.yaml\n",
    "model_name: m\n",
    "prompts: {input_tokens: ",
    "distribution: normal",
    "tags: ",
    "backend: pytorch\n",
    "dataset: ",
    "traffic_simulation: ",
    "http://u:p@h",
    "://",
    "@",
    "=",
    "__",
    "LEM_",
    "api_key: x",
    "\u{7f}",
    "\u{85}",
];

fn mutate(rng: &mut ChaCha8Rng, seeds: &[String]) -> Vec<u8> {
    let mut bytes = seeds.choose(rng).unwrap().clone().into_bytes();
    let most = if rng.random_bool(0.5) { 2 } else { 9 };
    for _ in 0..rng.random_range(0..most) {
        let at = rng.random_range(0..=bytes.len());
        let end = rng.random_range(at..=bytes.len().min(at + 64));
        match rng.random_range(0..6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, PIECES.choose(rng).unwrap().bytes())),
            2 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            3 => {
                let other = seeds.choose(rng).unwrap().as_bytes();
                let from = rng.random_range(0..=other.len());
                let to = rng.random_range(from..=other.len().min(from + 200));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            4 => {
                let piece = PIECES.choose(rng).unwrap().repeat(rng.random_range(1..300));
                bytes.splice(at..at, piece.bytes());
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

fn text(rng: &mut ChaCha8Rng, seeds: &[String]) -> String {
    let whole = String::from_utf8_lossy(&mutate(rng, seeds)).into_owned();
    let lines: Vec<&str> = whole.lines().collect();
    lines
        .choose(rng)
        .map_or(whole.clone(), |line| (*line).trim().to_owned())
}

#[test]
fn no_input_makes_it_panic() {
    let seconds = std::env::var("LEM_FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(2.0);
    let mut seeds: Vec<String> = fs::read_dir("configs")
        .unwrap()
        .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
        .filter(|text| text.len() < 20_000)
        .collect();
    seeds.push(PIECES.concat());
    let paths: Vec<String> = lem::config::keys::keys()
        .rows
        .iter()
        .map(|row| row.path.clone())
        .collect();
    let variables: Vec<String> = lem::config::keys::keys()
        .rows
        .iter()
        .map(|row| row.variable.clone())
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    let built = Built {
        backends: vec!["candle"],
        sinks: vec![],
    };
    // A new seed each time, told so that a failure can be had again.
    let seed = std::env::var("LEM_FUZZ_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or_else(rand::random);
    println!("LEM_FUZZ_SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut runs, mut good) = (0_u64, 0_u64);
    while Instant::now() < until {
        let given = rng.random_bool(0.9);
        if given {
            fs::write(&file, mutate(&mut rng, &seeds)).unwrap();
        }
        let mut pairs = Vec::new();
        let mut sets = Vec::new();
        let most = if rng.random_bool(0.5) { 1 } else { 4 };
        for _ in 0..rng.random_range(0..most) {
            let value = text(&mut rng, &seeds);
            match rng.random_range(0..4) {
                0 => pairs.push((variables.choose(&mut rng).unwrap().clone(), value)),
                1 => pairs.push((format!("LEM_{}", text(&mut rng, &seeds)), value)),
                2 => sets.push(format!("{}={value}", paths.choose(&mut rng).unwrap())),
                _ => sets.push(value),
            }
        }
        let sources = Sources {
            file: given.then(|| file.clone()),
            environment: Environment::from_iter(pairs),
            sets,
            ..Sources::default()
        };
        runs += 1;
        match load(&sources) {
            Ok(resolved) => {
                good += 1;
                for format in [Format::Yaml, Format::Json] {
                    assert!(!show(&resolved, format, true).is_empty());
                }
                let told: Vec<String> = unbuilt(&resolved, &built)
                    .iter()
                    .chain(&resolved.notes)
                    .map(Finding::to_string)
                    .collect();
                drop(told);
            }
            Err(errors) => {
                assert!(errors.errors().count() > 0);
                let told = errors.to_string();
                assert!(!told.contains("fault of lem's"), "{told}");
                assert!(told.len() < 1 << 20);
            }
        }
    }
    println!("{runs} inputs, {good} of them good");
    assert!(runs > 10 && good > 0, "{runs} inputs, {good} of them good");
}
