//! Log-probabilities of given tokens.

use tch::Kind;

use super::TorchEngine;
use super::failure::Doing;
use super::model::Keep;
use super::sampling::ids;
use super::shim::Inference;
use crate::engine::EngineError;

/// Rows of logits at a time, which bounds their memory.
const LOGIT_ROWS: usize = 256;

pub(super) fn score(engine: &mut TorchEngine, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
    let shape = &engine.model.shape;
    shape.limits().scorable(tokens)?;
    let Some(last) = tokens.len().checked_sub(1).filter(|&last| last > 0) else {
        return Ok(Vec::new());
    };
    engine.reserve_positions(last)?;
    let _inference = Inference::begin()?;
    let device = engine.place.device;
    let all = ids(tokens)
        .and_then(|t| t.f_to_device(device))
        .doing("sending the tokens")?;
    let input = all
        .f_narrow(0, 0, last as i64)
        .and_then(|t| t.f_view([1, -1]))
        .doing("sending the tokens")?;
    let hidden = engine.model.pass(&input, Keep::Prompt(None))?;
    let mut scores = Vec::with_capacity(last);
    for first in (0..last).step_by(LOGIT_ROWS) {
        let rows = LOGIT_ROWS.min(last - first) as i64;
        let part = |t: &tch::Tensor, from: usize| t.f_narrow(0, from as i64, rows);
        let logits = engine
            .model
            .logits(&part(&hidden, first).doing("computing logits")?)?;
        let some = logits
            .f_log_softmax(-1, Kind::Float)
            .and_then(|all_of_them| {
                let targets = part(&all, first + 1)?.f_view([-1, 1])?;
                all_of_them.f_gather(1, &targets, false)?.f_view([-1])
            })
            .and_then(|t| t.f_to_device(tch::Device::Cpu))
            .doing("computing log-probabilities")?;
        scores.extend(Vec::<f32>::try_from(&some).doing("reading log-probabilities")?);
    }
    Ok(scores)
}
