//! The static key-value cache of a batch.

use tch::{Device, Kind, Tensor};

use super::failure::Doing;
use crate::engine::EngineError;
use crate::engine::candle::llama::Shape;

/// The room is made in steps of so many positions: attention's kernels want masks whose
/// rows are aligned, and batches of like lengths find the cache of the one before.
const STEP: usize = 64;

/// Keys and values of each layer: sequences × heads × positions × head size.
#[derive(Debug)]
pub struct Cache {
    pub keys: Vec<Tensor>,
    pub values: Vec<Tensor>,
    pub rows: usize,
    pub positions: usize,
}

impl Cache {
    /// Zeros, because what is masked is multiplied by 0, and 0 × garbage may not be 0.
    pub fn new(
        shape: &Shape,
        rows: usize,
        positions: usize,
        kind: Kind,
        device: Device,
    ) -> Result<Self, EngineError> {
        let positions = positions.next_multiple_of(STEP);
        let size = [rows, shape.kv_heads, positions, shape.head_size].map(|n| n as i64);
        let made = || {
            (0..shape.layers)
                .map(|_| Tensor::f_zeros(size, (kind, device)))
                .collect::<Result<Vec<_>, _>>()
                .doing("making room for keys and values")
        };
        Ok(Self {
            keys: made()?,
            values: made()?,
            rows,
            positions,
        })
    }

    pub fn fits(&self, rows: usize, positions: usize) -> bool {
        self.rows == rows && self.positions == positions.next_multiple_of(STEP)
    }

    /// Keeps these rows only, one layer after the other, so that little memory is held twice.
    pub fn keep(&mut self, rows: &Tensor) -> Result<(), EngineError> {
        for tensor in self.keys.iter_mut().chain(&mut self.values) {
            *tensor = tensor
                .f_index_select(0, rows)
                .doing("letting finished sequences go")?;
        }
        self.rows = rows.size().first().map_or(0, |&n| n as usize);
        Ok(())
    }
}
