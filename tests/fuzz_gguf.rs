//! Broken GGUF files: an error, never a panic, never much memory.
//!
//! `LEM_FUZZ_SECONDS` (default 2) says how long. A failure prints the seed, and
//! `LEM_FUZZ_SEED` repeats it.
#![cfg(feature = "candle")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

#[allow(dead_code)]
#[path = "engine/support.rs"]
mod support;

use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use candle_core::quantized::GgmlDType;
use lem::engine::candle::gguf::{Expect, Header};
use lem::engine::candle::load;
use lem::model::ModelFormat;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Address space beyond what the test has when it starts. An allocation over it aborts.
const MEMORY: u64 = 3 << 30;

fn small() -> Vec<u8> {
    let folder = tempfile::TempDir::new().unwrap();
    let variant = &support::golden()["variants"]["qwen2"];
    let files = support::gguf(folder.path(), variant, GgmlDType::Q4_1);
    let ModelFormat::Gguf(path) = files.format else {
        unreachable!()
    };
    std::fs::read(path).unwrap()
}

/// The head of the real model, where it is there.
fn real() -> Option<Vec<u8>> {
    let file = std::fs::File::open(support::real_model()?).unwrap();
    let mut head = Vec::new();
    file.take(2 << 20).read_to_end(&mut head).unwrap();
    Some(head)
}

/// Damages a file in a few places. Most damage is in the header, so that most of it counts.
fn damage(file: &[u8], header: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut file = file.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        if file.len() < 16 {
            break;
        }
        let end = header.min(file.len() - 8);
        let at = match rng.random_range(0..4) {
            0 => rng.random_range(0..end.min(64)),
            1 => rng.random_range(0..end.min(2000)),
            _ => rng.random_range(0..end),
        };
        match rng.random_range(0..7) {
            0 => file[at] = rng.random(),
            1 => file[at] ^= 1 << rng.random_range(0..8),
            2 => {
                let numbers = [
                    0,
                    1,
                    7,
                    255,
                    1 << 16,
                    1 << 31,
                    1 << 32,
                    1 << 40,
                    1 << 62,
                    u64::MAX,
                ];
                let number = numbers[rng.random_range(0..numbers.len())];
                file[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            3 => file[at..at + 4].copy_from_slice(&rng.random_range(0_u32..40).to_le_bytes()),
            4 => file.truncate(at),
            5 => {
                let piece = file[at..(at + rng.random_range(1..64)).min(file.len())].to_vec();
                file.splice(at..at, piece);
            }
            _ => {
                let to = (at + rng.random_range(1..64)).min(file.len());
                file.drain(at..to);
            }
        }
    }
    file
}

#[test]
fn damaged_files_are_errors() {
    let seconds = std::env::var("LEM_FUZZ_SECONDS").map_or(2.0, |s| s.parse().unwrap());
    let only: Option<u64> = std::env::var("LEM_FUZZ_SEED")
        .ok()
        .map(|s| s.parse().unwrap());
    let small = small();
    // Sizes of headers: what is before the data.
    let small_header = Header::read(Cursor::new(&small), small.len() as u64, Expect::WholeFile)
        .unwrap()
        .tensors
        .values()
        .map(|t| t.offset as usize)
        .min()
        .unwrap();
    let real = real();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("damaged.gguf");
    let before = getrlimit(Resource::As);
    let used: u64 = std::fs::read_to_string("/proc/self/statm")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 4096;
    setrlimit(
        Resource::As,
        Rlimit {
            current: Some(used + MEMORY),
            maximum: before.maximum,
        },
    )
    .unwrap();
    let begun = Instant::now();
    let (mut runs, mut loaded) = (0, 0);
    let first = only.unwrap_or(1);
    for seed in first.. {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let from_real = real.as_ref().filter(|_| rng.random_ratio(1, 8));
        let header = if from_real.is_some() {
            1_785_664
        } else {
            small_header
        };
        let file = damage(from_real.unwrap_or(&small), header, &mut rng);
        let whole = rng.random_ratio(1, 4) && from_real.is_none();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let bytes = file.len() as u64;
            let read = Header::read(Cursor::new(&file), bytes, Expect::HeaderOnly);
            let read = read.is_ok() as usize;
            if !whole {
                return read;
            }
            // The whole way: shape, tokenizer, weights, and an answer where it loads.
            std::fs::write(&path, &file).unwrap();
            match load(&support::gguf_files(&path), &support::options()) {
                Err(_) => 0,
                Ok(mut engine) => {
                    let request = support::request(0, &[1, 2, 3], 0, 3);
                    let work = support::work(vec![request], 1, Default::default());
                    support::run(&mut engine, &work).unwrap();
                    1
                }
            }
        }));
        match result {
            Ok(fine) => loaded += fine,
            Err(_) => panic!("seed {seed} panicked: repeat it with LEM_FUZZ_SEED={seed}"),
        }
        runs += 1;
        if only.is_some() || begun.elapsed() > Duration::from_secs_f64(seconds) {
            break;
        }
    }
    setrlimit(Resource::As, before).unwrap();
    eprintln!("{runs} damaged files, {loaded} of them still read");
    if only.is_none() {
        // The damage must reach both ends: files that are refused, and files that are read.
        assert!(
            runs > 50 && loaded > 0 && loaded < runs,
            "{loaded} of {runs}"
        );
    }
}

#[test]
fn claims_are_not_believed() {
    let small = small();
    let read = |change: fn(&mut Vec<u8>)| {
        let mut file = small.clone();
        change(&mut file);
        Header::read(Cursor::new(&file), file.len() as u64, Expect::WholeFile)
            .map_err(|e| e.to_string())
    };
    assert!(read(|_| {}).is_ok());
    type Change = fn(&mut Vec<u8>);
    fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
    let cases: [(Change, &str); 7] = [
        (|f| f.clear(), "the magic"),
        (|f| put(f, 0, b"GGML"), "begin with GGUF"),
        (|f| put(f, 4, &9_u32.to_le_bytes()), "version 9"),
        (|f| put(f, 4, &3_u32.to_be_bytes()), "big-endian"),
        (|f| put(f, 8, &u64::MAX.to_le_bytes()), "tensors"),
        (|f| put(f, 16, &(1_u64 << 15).to_le_bytes()), "metadata"),
        (|f| f.truncate(f.len() - 1000), "cut off"),
    ];
    for (change, part) in cases {
        let error = read(change).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}
