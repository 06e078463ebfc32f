//! Cosines and sines of the rotary embedding, for each position.

use tch::{Device, Kind, Tensor};

use super::failure::Doing;
use crate::engine::EngineError;
use crate::engine::candle::llama::Rope;

/// Rows are positions. The sine of a head's first half is negative, so that turning is
/// `x · cos + halves-swapped(x) · sin`.
#[derive(Debug)]
pub struct Tables {
    pub cos: Tensor,
    pub sin: Tensor,
}

impl Tables {
    pub fn new(
        rope: &Rope,
        positions: usize,
        kind: Kind,
        device: Device,
    ) -> Result<Self, EngineError> {
        let pairs = rope.frequencies().len();
        let mut cos = Vec::with_capacity(positions * 2 * pairs);
        let mut sin = Vec::with_capacity(positions * 2 * pairs);
        for position in 0..positions {
            let turns = rope.frequencies().iter().map(|f| position as f64 * f);
            cos.extend(turns.clone().map(|t| t.cos() as f32));
            cos.extend_from_within(cos.len() - pairs..);
            sin.extend(turns.clone().map(|t| -t.sin() as f32));
            sin.extend(turns.map(|t| t.sin() as f32));
        }
        let shape = [positions as i64, 2 * pairs as i64];
        let placed = |values: &[f32]| {
            Tensor::f_from_slice(values)
                .and_then(|t| t.f_reshape(shape))
                .and_then(|t| t.f_to_kind(kind))
                .and_then(|t| t.f_to_device(device))
                .doing("preparing the rotary embedding")
        };
        Ok(Self {
            cos: placed(&cos)?,
            sin: placed(&sin)?,
        })
    }

    pub fn positions(&self) -> usize {
        self.cos.size().first().map_or(0, |&n| n as usize)
    }
}
