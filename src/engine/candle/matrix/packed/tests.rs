#![allow(clippy::unwrap_used, clippy::expect_used)]

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::config::Precision;
use crate::engine::candle::gguf::{GgmlType, Storage};
use crate::engine::candle::matrix::{Float, Input, Matrix, Weights, multiply};

const TYPES: [(&str, GgmlDType); 10] = [
    ("q4_0", GgmlDType::Q4_0),
    ("q4_1", GgmlDType::Q4_1),
    ("q5_0", GgmlDType::Q5_0),
    ("q5_1", GgmlDType::Q5_1),
    ("q8_0", GgmlDType::Q8_0),
    ("q2_k", GgmlDType::Q2K),
    ("q3_k", GgmlDType::Q3K),
    ("q4_k", GgmlDType::Q4K),
    ("q5_k", GgmlDType::Q5K),
    ("q6_k", GgmlDType::Q6K),
];

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn pack(name: &str, n: usize, k: usize, raw: &[u8]) -> Packed {
    let kind = GgmlType::from_name(name).unwrap();
    let Storage::Quantised(quantised) = kind.storage() else {
        panic!("{name} is not quantised");
    };
    let (elements, bytes) = (kind.block_elements(), kind.block_bytes());
    assert_eq!(raw.len(), n * k / elements * bytes);
    Packed::new(&quantised, elements, bytes, n, k, raw)
}

/// Weights of a type as candle quantises them: their bytes, and their values by candle.
fn quantised(kind: GgmlDType, n: usize, k: usize) -> (Vec<u8>, Vec<f32>) {
    let tensor = Tensor::from_vec(numbers(n * k, 7), (n, k), &Device::Cpu).unwrap();
    let tensor = QTensor::quantize(&tensor, kind).unwrap();
    let values = tensor.dequantize(&Device::Cpu).unwrap();
    let values = values.flatten_all().unwrap().to_vec1().unwrap();
    (tensor.data().unwrap().into_owned(), values)
}

/// Where in a block the half-precision scales are.
fn halves(name: &str) -> &'static [usize] {
    match name {
        "q4_0" | "q5_0" | "q8_0" => &[0],
        "q2_k" => &[80, 82],
        "q3_k" => &[108],
        "q6_k" => &[208],
        _ => &[0, 2],
    }
}

/// Bytes of any value, but for the half-precision scales, which are made ordinary numbers.
fn any_bytes(name: &str, n: usize, k: usize) -> Vec<u8> {
    let kind = GgmlType::from_name(name).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut raw = vec![0; n * k / kind.block_elements() * kind.block_bytes()];
    for block in raw.chunks_mut(kind.block_bytes()) {
        rng.fill(block);
        for &at in halves(name) {
            let scale = f16::from_f32(rng.random_range(-0.1..0.1));
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    raw
}

fn close(a: &[f32], b: &[f32], tolerance: f32, what: &str) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        let allowed = tolerance * b.abs().max(1.0);
        assert!((a - b).abs() <= allowed, "{what}[{i}]: {a} and {b}");
    }
}

#[test]
fn every_type_unpacks_to_what_candle_says() {
    // Ten rows: the second tile is not full.
    let (n, k) = (10, 512);
    for (name, kind) in TYPES {
        let (raw, values) = quantised(kind, n, k);
        let packed = pack(name, n, k, &raw);
        for (row, expected) in values.chunks(k).enumerate() {
            let mut out = vec![0.0; k];
            packed.row(row, &mut out);
            close(&out, expected, 1e-6, name);
        }
    }
}

#[test]
fn both_sets_of_instructions_multiply_as_the_unpacked_weights_do() {
    let (n, k, m) = (11, 512, 7);
    let x = numbers(m * k, 5);
    for (name, _) in TYPES {
        let packed = pack(name, n, k, &any_bytes(name, n, k));
        let mut input = Input::new(&x, k);
        let group = packed.group();
        let weights = Weights::Packed(packed);
        input.prepare(&weights);
        let Weights::Packed(packed) = &weights else {
            unreachable!()
        };
        let eighth = input.quantised(group);
        let mut expected = Vec::new();
        for row in 0..m {
            let eighth = eighth.row(row);
            for j in 0..n {
                let mut w = vec![0.0; k];
                packed.row(j, &mut w);
                expected.push(
                    w.iter()
                        .enumerate()
                        .map(|(p, w)| {
                            let code = eighth.codes[p / 4].to_le_bytes()[p % 4] as i8;
                            f64::from(*w) * f64::from(code) * f64::from(eighth.scales[p / group])
                        })
                        .sum::<f64>() as f32,
                );
            }
        }
        let mut vector = vec![0.0; m * n];
        packed.partial(eighth, 0..m, 0, &mut vector);
        close(&vector, &expected, 1e-4, name);
        let mut portable = vec![0.0; m * n];
        packed.partial_portable(eighth, 0..m, &mut portable);
        close(&portable, &expected, 1e-4, name);
    }
}

#[test]
fn the_largest_codes_do_not_overflow() {
    let (n, k) = (8, 256);
    for (name, _) in TYPES {
        for fill in [0x00, 0xff, 0x80, 0x7f] {
            let mut raw = any_bytes(name, n, k);
            let kind = GgmlType::from_name(name).unwrap();
            for block in raw.chunks_mut(kind.block_bytes()) {
                for (at, byte) in block.iter_mut().enumerate() {
                    // Ordinary scales, extreme codes.
                    if !halves(name).iter().any(|h| (*h..h + 2).contains(&at)) {
                        *byte = fill;
                    }
                }
            }
            let weights = Weights::Packed(pack(name, n, k, &raw));
            for sign in [1.0, -1.0] {
                let x = vec![sign; k];
                let mut input = Input::new(&x, k);
                input.prepare(&weights);
                let Weights::Packed(packed) = &weights else {
                    unreachable!()
                };
                let mut fast = vec![0.0; n];
                packed.partial(input.quantised(packed.group()), 0..1, 0, &mut fast);
                let mut row = vec![0.0; k];
                for (j, fast) in fast.iter().enumerate() {
                    packed.row(j, &mut row);
                    let sum = row.iter().map(|&w| f64::from(w)).sum::<f64>() as f32 * sign;
                    close(&[*fast], &[sum], 1e-3, name);
                }
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_its_neighbours() {
    let (n, k) = (200, 256);
    let (raw, _) = quantised(GgmlDType::Q4_1, n, k);
    let matrix = Matrix {
        weights: Weights::Packed(pack("q4_1", n, k, &raw)),
        bias: Some(numbers(n, 9)),
    };
    let x = numbers(100 * k, 11);
    let alone: Vec<f32> = x
        .chunks(k)
        .flat_map(|row| {
            let mut out = vec![0.0; n];
            multiply(&mut Input::new(row, k), &mut [(&matrix, &mut out)]).unwrap();
            out
        })
        .collect();
    // One path each: a few rows, rows in one task, rows in several.
    for m in [2, 5, 47, 48, 100] {
        let mut out = vec![0.0; m * n];
        let mut input = Input::new(&x[..m * k], k);
        multiply(&mut input, &mut [(&matrix, &mut out)]).unwrap();
        assert_eq!(out, alone[..m * n], "{m} rows");
    }
}

#[test]
fn random_weights_deviate_as_asked() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (name, _) in TYPES {
        let Storage::Quantised(kind) = GgmlType::from_name(name).unwrap().storage() else {
            unreachable!()
        };
        let packed = Packed::random(&kind, 64, 512, 0.02, &mut rng);
        let mut sum = 0.0;
        let mut row = vec![0.0; 512];
        for i in 0..64 {
            packed.row(i, &mut row);
            sum += row.iter().map(|v| v * v).sum::<f32>();
        }
        let deviation = (sum / (64.0 * 512.0)).sqrt();
        assert!((deviation - 0.02).abs() < 0.001, "{name}: {deviation}");
    }
}

#[test]
fn floats_of_every_width_multiply_alike() {
    // Not a multiple of eight inputs; more outputs than one panel.
    let (n, k) = (600, 67);
    let w = numbers(n * k, 1);
    let x = numbers(20 * k, 2);
    for (precision, tolerance) in [
        (Precision::Fp32, 1e-5),
        (Precision::Fp16, 4e-3),
        (Precision::Bf16, 3e-2),
    ] {
        let weights = Weights::Float(Float::new(n, k, w.clone(), precision).unwrap());
        let matrix = Matrix {
            weights,
            bias: None,
        };
        let expected: Vec<f32> = x
            .chunks(k)
            .flat_map(|x| {
                w.chunks(k)
                    .map(move |w| w.iter().zip(x).map(|(a, b)| a * b).sum())
            })
            .collect();
        // Dot products, and candle's product.
        for m in [1, 3, 8, 20] {
            let mut out = vec![0.0; m * n];
            let mut input = Input::new(&x[..m * k], k);
            multiply(&mut input, &mut [(&matrix, &mut out)]).unwrap();
            close(&out, &expected[..m * n], tolerance, "product");
        }
    }
}
