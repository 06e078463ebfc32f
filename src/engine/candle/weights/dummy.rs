//! Random weights of the right shape and type: speed and energy are real, quality is not.

use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{GgufModel, Placement, Role, Source};
use crate::config::{Precision, QuantizedWeights};
use crate::engine::EngineError;
use crate::engine::candle::gguf::Storage;
use crate::engine::candle::matrix::{Float, Matrix, Packed, Weights};

/// Standard deviation, as transformers initialises the family.
const DEVIATION: f32 = 0.02;
/// Numbers drawn; they repeat after so many.
const DRAWN: usize = 1 << 16;

/// Stands in for a checkpoint.
#[derive(Debug)]
pub struct Dummy<'a> {
    rng: ChaCha8Rng,
    like: Like<'a>,
}

#[derive(Debug)]
enum Like<'a> {
    Floats(Precision),
    Gguf(&'a GgufModel, Placement),
}

impl<'a> Dummy<'a> {
    pub fn floats(precision: Precision, seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            like: Like::Floats(precision),
        }
    }

    /// Of the types that the file's header names.
    pub fn like(model: &'a GgufModel, placement: Placement, seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            like: Like::Gguf(model, placement),
        }
    }

    fn float(&mut self, n: usize, k: usize, precision: Precision) -> Result<Weights, EngineError> {
        let bound = DEVIATION * 3_f32.sqrt();
        let drawn: Vec<f32> = (0..DRAWN.min(n * k))
            .map(|_| self.rng.random_range(-bound..bound))
            .collect();
        let values = drawn.iter().copied().cycle().take(n * k);
        Ok(Weights::Float(match precision {
            Precision::Fp16 => Float::from_f16(n, k, values.map(f16::from_f32).collect()),
            Precision::Bf16 => Float::from_bf16(n, k, values.map(bf16::from_f32).collect()),
            Precision::Auto | Precision::Fp32 => Float::new(n, k, values.collect(), precision)
                .map_err(|error| {
                    EngineError::new(
                        format!("cannot make random weights: {error}"),
                        "Report this as a defect",
                    )
                })?,
        }))
    }
}

impl Source for Dummy<'_> {
    fn matrix(&mut self, role: Role, n: usize, k: usize) -> Result<Matrix, EngineError> {
        let weights = match self.like {
            Like::Floats(precision) => self.float(n, k, precision)?,
            Like::Gguf(model, placement) => {
                let native = placement.quantized == QuantizedWeights::Native;
                match (model.kind(role, n, k)?.storage(), placement.precision) {
                    (Storage::Quantised(kind), _) if native => {
                        Weights::Packed(Packed::random(&kind, n, k, DEVIATION, &mut self.rng))
                    }
                    (Storage::F16, Precision::Auto) => self.float(n, k, Precision::Fp16)?,
                    (Storage::Bf16, Precision::Auto) => self.float(n, k, Precision::Bf16)?,
                    (_, precision) => self.float(n, k, precision)?,
                }
            }
        };
        Ok(Matrix {
            weights,
            bias: None,
        })
    }

    fn bias(&mut self, _: Role, n: usize) -> Result<Vec<f32>, EngineError> {
        Ok(vec![0.0; n])
    }

    fn vector(&mut self, _: Role, n: usize) -> Result<Vec<f32>, EngineError> {
        Ok(vec![1.0; n])
    }
}
