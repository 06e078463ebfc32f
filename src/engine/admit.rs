//! What an engine in this process can be asked, by the limits of its model.

use lem_record::{FinishReason, Stamp};

use super::{EngineError, Event, Request};

/// What a model knows and holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub vocabulary: usize,
    pub context: usize,
}

impl Limits {
    /// Why a request cannot be answered.
    pub fn answerable(&self, request: &Request) -> Result<(), String> {
        if request.tokens.is_empty() {
            return Err("the prompt has no tokens; check the prompts".into());
        }
        if request.max_output_tokens == 0 {
            return Err("no output is asked for; set max_output_tokens to 1 or more".into());
        }
        if let Some(token) = self.unknown(&request.tokens) {
            return Err(format!(
                "the prompt has token {token}, but the model knows {} only; \
                 was it encoded for another model?",
                self.vocabulary
            ));
        }
        let needed = request.tokens.len() as u64 + u64::from(request.max_output_tokens);
        if needed > self.context as u64 {
            return Err(format!(
                "{} input and {} output tokens exceed the model's context of {}; lower \
                 max_input_tokens or max_output_tokens",
                request.tokens.len(),
                request.max_output_tokens,
                self.context
            ));
        }
        Ok(())
    }

    /// Why a text cannot be scored.
    pub fn scorable(&self, tokens: &[u32]) -> Result<(), EngineError> {
        if tokens.len() > self.context {
            return Err(EngineError::new(
                format!(
                    "a text of {} tokens exceeds the model's context of {}",
                    tokens.len(),
                    self.context
                ),
                "Score it in windows",
            ));
        }
        match self.unknown(tokens) {
            None => Ok(()),
            Some(token) => Err(EngineError::new(
                format!(
                    "token {token} is not one of the model's {}",
                    self.vocabulary
                ),
                "Encode the text with this model's tokenizer",
            )),
        }
    }

    fn unknown(&self, tokens: &[u32]) -> Option<u32> {
        let unknown = |token: &&u32| **token as usize >= self.vocabulary;
        tokens.iter().find(unknown).copied()
    }
}

/// A request that was cancelled, as an event of now.
pub fn cancelled(request: &Request) -> Event {
    Event::Finished {
        request: request.id,
        reason: FinishReason::Cancelled,
        at_ns: Stamp::mono_ns(),
    }
}
