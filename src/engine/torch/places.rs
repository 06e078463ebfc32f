//! Where the next token of each sequence stands, kept on the device.

use tch::{Device, Kind, Tensor};

use super::failure::Doing;
use crate::engine::EngineError;

/// Sequences at places of their own. Nothing here waits for the host.
#[derive(Debug)]
pub struct Places {
    /// Position of each row's next token.
    pub at: Tensor,
    /// 0, 1, 2, …
    pub rows: Tensor,
}

impl Places {
    pub fn new(positions: &[usize], device: Device) -> Result<Self, EngineError> {
        let wide: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
        let count = wide.len() as i64;
        Tensor::f_from_slice(&wide)
            .and_then(|at| {
                Ok(Self {
                    at: at.f_to_device(device)?,
                    rows: Tensor::f_arange(count, (Kind::Int64, device))?,
                })
            })
            .doing("sending the positions")
    }

    /// Hides what lies behind each row's place among the first `length`.
    pub fn mask(&self, length: i64, kind: Kind) -> Result<Tensor, EngineError> {
        let device = self.at.device();
        Tensor::f_arange(length, (Kind::Int64, device))
            .and_then(|keys| {
                let hidden = keys.f_gt_tensor(&self.at.f_view([-1, 1])?)?;
                Tensor::f_zeros(hidden.size(), (kind, device))?
                    .f_masked_fill(&hidden, f64::NEG_INFINITY)?
                    .f_view([-1, 1, 1, length])
            })
            .doing("making the mask")
    }

    pub fn advance(&mut self) -> Result<(), EngineError> {
        self.at
            .f_add_scalar_(1)
            .map(drop)
            .doing("moving the positions on")
    }
}
