//! Prompts of exact length, made of tokens that mean nothing.

use std::collections::HashMap;

use rand::Rng;

use crate::engine::{Engine, EngineError};

use super::seed::{Purpose, rng};

/// So many ids in a row that are no plain text: there is none.
const MOST_MISSES: u32 = 100_000;

/// The prompts, and whether special tokens could be told apart.
pub(super) fn prompts(
    engine: &dyn Engine,
    lengths: &[u32],
    shared: u32,
    seed: u64,
) -> Result<(Vec<Vec<u32>>, bool), EngineError> {
    let vocabulary = engine.describe().vocabulary.filter(|&size| size > 0).ok_or_else(|| {
        EngineError::new(
            "Synthetic prompts are drawn from the model's vocabulary, and the engine does not tell its size",
            "Use prompts.texts, prompts.path or prompts.dataset instead",
        )
    })?;
    let mut plain = Plain {
        engine,
        known: HashMap::new(),
        blind: engine.decode(&[0]).is_err(),
    };
    let mut draw = |purpose: Purpose, length: u32| {
        let mut rng = rng(seed, purpose);
        let drawn = (0..length).map(|_| {
            (0..MOST_MISSES)
                .map(|_| rng.random_range(0..vocabulary))
                .find(|&id| plain.is_plain(id))
                .ok_or_else(|| {
                    EngineError::new(
                        "Synthetic prompts cannot be made: hardly a token of this model's vocabulary stands for text",
                        "Check the model's tokenizer, or use prompts.texts",
                    )
                })
        });
        drawn.collect::<Result<Vec<u32>, _>>()
    };
    let prefix = draw(Purpose::SharedPrefix, shared)?;
    let prompts = lengths.iter().zip(0..).map(|(&length, prompt)| {
        let mut tokens = prefix.clone();
        tokens.truncate(length as usize);
        let rest = length.saturating_sub(shared);
        tokens.extend(draw(Purpose::Tokens(prompt), rest)?);
        Ok(tokens)
    });
    let prompts = prompts.collect::<Result<Vec<_>, EngineError>>()?;
    Ok((prompts, !plain.blind))
}

/// Tells tokens that stand for text from those that steer the model.
struct Plain<'a> {
    engine: &'a dyn Engine,
    known: HashMap<u32, bool>,
    /// No tokenizer (random weights): every id will do.
    blind: bool,
}

impl Plain<'_> {
    fn is_plain(&mut self, id: u32) -> bool {
        if self.blind {
            return true;
        }
        let engine = self.engine;
        let known = self.known.entry(id);
        *known.or_insert_with(|| engine.decode(&[id]).is_ok_and(|text| is_text(&text)))
    }
}

/// Special tokens are left out of a text or spelled in brackets (`<|end|>`, `<s>`,
/// `<0x0A>`, `[INST]`); half a character is no text either. A few ordinary tokens look
/// the same and are not missed.
fn is_text(text: &str) -> bool {
    let bracketed = |open: char, close: char| {
        text.len() > 2 && text.trim().starts_with(open) && text.trim().ends_with(close)
    };
    !text.is_empty()
        && !text.contains(char::REPLACEMENT_CHARACTER)
        && !text.chars().all(char::is_control)
        && !bracketed('<', '>')
        && !bracketed('[', ']')
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn what_steers_a_model_is_no_text() {
        for special in [
            "",
            "<|im_end|>",
            "<s>",
            "<0x0A>",
            "[INST]",
            "\u{FFFD}",
            "\0",
            " <pad>",
        ] {
            assert!(!is_text(special), "{special:?}");
        }
        for plain in [" the", "<", ">", "[]", "a", "\u{e9}", "->", "\n "] {
            assert!(is_text(plain), "{plain:?}");
        }
    }
}
