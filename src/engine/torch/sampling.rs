//! Choosing the next tokens on the device, so that no step waits for the host.
//!
//! In the order of transformers: repetition penalty, temperature, top-k, top-p, draw.
//! The random numbers are drawn beforehand, from the seed and the request's id alone, so
//! that neither order nor batch changes them; they are the embedded engine's.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::failure::Doing;
use crate::engine::{EngineError, Request, Sampling};

#[derive(Debug)]
pub struct Sampler {
    temperature: f64,
    top_k: i64,
    top_p: f64,
    penalty: f64,
    /// Rows × draws, from 0 to 1; absent where nothing is drawn.
    draws: Option<Tensor>,
    /// Rows × vocabulary: what has appeared; absent without a penalty.
    seen: Option<Tensor>,
    /// Tokens that end an answer.
    ends: Option<Tensor>,
}

impl Sampler {
    pub fn new(
        sampling: &Sampling,
        requests: &[&Request],
        vocabulary: usize,
        ends: &[u32],
        device: Device,
    ) -> Result<Self, EngineError> {
        Self::made(sampling, requests, vocabulary, ends, device).doing("preparing the sampling")
    }

    fn made(
        sampling: &Sampling,
        requests: &[&Request],
        vocabulary: usize,
        ends: &[u32],
        device: Device,
    ) -> Result<Self, tch::TchError> {
        let rows = requests.len() as i64;
        let draws = (sampling.temperature > 0.0)
            .then(|| {
                let most = requests.iter().map(|r| r.max_output_tokens).max();
                let most = most.unwrap_or(1).max(1) as usize;
                let mut numbers = Vec::with_capacity(requests.len() * most);
                for request in requests {
                    let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
                    rng.set_stream(request.id);
                    numbers.extend((0..most).map(|_| rng.random::<f64>() as f32));
                }
                Tensor::f_from_slice(&numbers)?
                    .f_view([rows, most as i64])?
                    .f_to_device(device)
            })
            .transpose()?;
        let seen = (sampling.repetition_penalty != 1.0)
            .then(|| {
                let seen = Tensor::f_zeros([rows, vocabulary as i64], (Kind::Bool, device))?;
                for (row, request) in (0..).zip(requests) {
                    let prompt = ids(&request.tokens)?.f_to_device(device)?;
                    let _ = seen.f_select(0, row)?.f_index_fill_(0, &prompt, 1)?;
                }
                Ok::<_, tch::TchError>(seen)
            })
            .transpose()?;
        let ends = (!ends.is_empty())
            .then(|| {
                let known: Vec<u32> = ends
                    .iter()
                    .copied()
                    .filter(|&e| (e as usize) < vocabulary)
                    .collect();
                ids(&known)?.f_to_device(device)
            })
            .transpose()?;
        Ok(Self {
            temperature: sampling.temperature,
            top_k: i64::from(sampling.top_k.unwrap_or(0)),
            top_p: sampling.top_p.unwrap_or(1.0),
            penalty: sampling.repetition_penalty,
            draws,
            seen,
            ends,
        })
    }

    /// The next token of some rows, from their logits. `first` is the first of the rows;
    /// `draw` counts the tokens before; `short` says of which rows the end is not allowed.
    pub fn next(
        &mut self,
        logits: &Tensor,
        first: usize,
        draw: usize,
        short: &[bool],
    ) -> Result<Tensor, EngineError> {
        self.try_next(logits, first as i64, draw as i64, short)
            .doing("choosing the next token")
    }

    fn try_next(
        &mut self,
        logits: &Tensor,
        first: i64,
        draw: i64,
        short: &[bool],
    ) -> Result<Tensor, tch::TchError> {
        let rows = short.len() as i64;
        let mut logits = logits.shallow_clone();
        if let Some(ends) = &self.ends
            && short.contains(&true)
        {
            // The logits are the step's own: nobody reads them after this.
            if short.iter().all(|&s| s) {
                let _ = logits.f_index_fill_(1, ends, f64::NEG_INFINITY)?;
            } else {
                for row in (0..rows).filter(|&row| short[row as usize]) {
                    let _ = logits
                        .f_select(0, row)?
                        .f_index_fill_(0, ends, f64::NEG_INFINITY)?;
                }
            }
        }
        let seen = self
            .seen
            .as_ref()
            .map(|seen| seen.f_narrow(0, first, rows))
            .transpose()?;
        if let Some(seen) = &seen {
            logits = logits.f_to_kind(Kind::Float)?;
            let shrunk = logits.f_div_scalar(self.penalty)?;
            let grown = logits.f_mul_scalar(self.penalty)?;
            let punished = shrunk.f_where_self(&logits.f_gt(0.0)?, &grown)?;
            logits = punished.f_where_self(seen, &logits)?;
        }
        let next = match &self.draws {
            None => logits.f_argmax(-1, true)?,
            Some(draws) => {
                let most = draws.size2()?.1;
                let draw = draws
                    .f_narrow(0, first, rows)?
                    .f_narrow(1, draw.min(most - 1), 1)?;
                self.drawn(&logits, &draw)?
            }
        };
        if let Some(mut seen) = seen {
            let _ = seen.f_scatter_value_(1, &next, 1)?;
        }
        next.f_view([rows])
    }

    /// The token at which the sum of the likeliest ones' probabilities passes `draw`.
    fn drawn(&self, logits: &Tensor, draw: &Tensor) -> Result<Tensor, tch::TchError> {
        let logits = logits
            .f_to_kind(Kind::Float)?
            .f_div_scalar(self.temperature)?;
        let vocabulary = logits.size2()?.1;
        let (ordered, tokens) = if self.top_k > 0 && self.top_k < vocabulary {
            logits.f_topk(self.top_k, -1, true, true)?
        } else {
            logits.f_sort_stable(true, -1, true)?
        };
        let mut likely = ordered.f_softmax(-1, Kind::Float)?;
        if self.top_p < 1.0 {
            // What came before a token must not have reached the sum yet.
            let before = likely.f_cumsum(-1, Kind::Float)?.f_sub(&likely)?;
            let out = before.f_ge(self.top_p)?;
            // The likeliest always stays.
            let _ = out.f_narrow(1, 0, 1)?.f_fill_(0)?;
            let _ = likely.f_masked_fill_(&out, 0.0)?;
        }
        let sums = likely.f_cumsum(-1, Kind::Float)?;
        let count = sums.size2()?.1;
        let target = sums.f_narrow(1, count - 1, 1)?.f_mul(draw)?;
        let kept = likely
            .f_gt(0.0)?
            .f_sum_dim_intlist([-1].as_slice(), true, Kind::Int64)?;
        let place = sums
            .f_le_tensor(&target)?
            .f_sum_dim_intlist([-1].as_slice(), true, Kind::Int64)?
            .f_minimum(&kept.f_sub_scalar(1)?)?
            .f_clamp_min(0)?;
        tokens.f_gather(1, &place, false)
    }

    /// Keeps these rows only.
    pub fn keep(&mut self, rows: &Tensor) -> Result<(), EngineError> {
        for tensor in [&mut self.draws, &mut self.seen].into_iter().flatten() {
            *tensor = tensor
                .f_index_select(0, rows)
                .doing("letting finished sequences go")?;
        }
        Ok(())
    }
}

/// Token ids as torch wants them.
pub fn ids(tokens: &[u32]) -> Result<Tensor, tch::TchError> {
    let wide: Vec<i64> = tokens.iter().map(|&t| i64::from(t)).collect();
    Tensor::f_from_slice(&wide)
}
