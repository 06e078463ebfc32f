//! Log-probabilities of given tokens.

use super::llama::{Cache, Segment};
use super::{CandleEngine, failed, vector};
use crate::engine::EngineError;

/// Tokens in one step.
const STEP_ROWS: usize = 256;
/// Rows of logits at a time, which bounds their memory.
const LOGIT_ROWS: usize = 32;

pub(super) fn score(engine: &mut CandleEngine, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
    let CandleEngine {
        model,
        pool,
        scratch,
        ..
    } = engine;
    let shape = &model.shape;
    shape.limits().scorable(tokens)?;
    let Some(last) = tokens.len().checked_sub(1) else {
        return Ok(Vec::new());
    };
    let cache =
        Cache::new(shape, last).map_err(|what| EngineError::new(what, "Score shorter texts"))?;
    let mut caches = [cache];
    let mut scores = Vec::with_capacity(last);
    for (first, inputs) in (0..)
        .step_by(STEP_ROWS)
        .zip(tokens[..last].chunks(STEP_ROWS))
    {
        let segment = Segment {
            cache: 0,
            position: first,
            length: inputs.len(),
        };
        pool.install(|| model.step(inputs, &[segment], &mut caches, scratch))
            .map_err(failed)?;
        let rows: Vec<usize> = (0..inputs.len()).collect();
        for rows in rows.chunks(LOGIT_ROWS) {
            let logits = pool
                .install(|| model.logits(rows, scratch))
                .map_err(failed)?;
            let targets = &tokens[first + rows[0] + 1..];
            for (logits, &target) in logits.chunks(shape.vocabulary).zip(targets) {
                let logit = f64::from(logits[target as usize]);
                scores.push((logit - vector::log_sum_exp(logits)) as f32);
            }
        }
    }
    Ok(scores)
}
