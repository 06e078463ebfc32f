//! A prompt's tokens, no more of them than allowed.

use std::sync::Arc;

use crate::engine::{Engine, EngineError};

#[derive(Debug)]
pub(super) struct Encoded {
    pub tokens: Vec<u32>,
    /// A text that gives these tokens, where there is one.
    pub text: Option<Arc<str>>,
    pub cut: bool,
}

/// Tokens of a text. One that has too many loses its end: exactly down to the limit,
/// or, in a chat template, as much of the text as it takes for the template to stay whole.
pub(super) fn encode(
    engine: &dyn Engine,
    text: &Arc<str>,
    chat: bool,
    limit: usize,
) -> Result<Encoded, EngineError> {
    let head = enough(engine, text, chat, limit)?;
    let mut tokens = engine.encode(head, chat)?;
    if tokens.len() <= limit {
        // then the head is the whole text
        return Ok(Encoded {
            tokens,
            text: Some(Arc::clone(text)),
            cut: false,
        });
    }
    if chat {
        return longest_fit(engine, head, limit);
    }
    tokens.truncate(limit);
    // cutting between two tokens may cut a character, and the rest may join differently
    let text = engine.decode(&tokens).ok();
    let text = text.filter(|text| {
        engine
            .encode(text, false)
            .is_ok_and(|again| again == tokens)
    });
    Ok(Encoded {
        tokens,
        text: text.map(Arc::from),
        cut: true,
    })
}

/// A beginning of the text that is long enough to be cut, or all of it: of a book, a
/// few pages are tokenised.
fn enough<'a>(
    engine: &dyn Engine,
    text: &'a str,
    chat: bool,
    limit: usize,
) -> Result<&'a str, EngineError> {
    // the end of the head may be tokenised otherwise than in the whole: keep it out of reach
    let want = limit.saturating_add(64);
    let mut bytes = want.saturating_mul(16);
    while bytes < text.len() {
        let head = text.get(..text.floor_char_boundary(bytes)).unwrap_or(text);
        if engine.encode(head, chat)?.len() > want {
            return Ok(head);
        }
        bytes = bytes.saturating_mul(4);
    }
    Ok(text)
}

fn longest_fit(engine: &dyn Engine, text: &str, limit: usize) -> Result<Encoded, EngineError> {
    let frame = engine.encode("", true)?.len();
    if frame > limit {
        return Err(EngineError::new(
            format!(
                "The model's chat template alone takes {frame} tokens, and a prompt may have {limit}"
            ),
            "Raise max_input_tokens (or prompts.input_tokens), or set prompts.chat_template to false",
        ));
    }
    let (mut fits, mut too_long) = (0, text.len());
    let mut best = (engine.encode("", true)?, "");
    while fits + 1 < too_long {
        let mut middle = text.floor_char_boundary(fits + (too_long - fits) / 2);
        if middle <= fits {
            middle = text.ceil_char_boundary(fits + 1);
        }
        if middle >= too_long {
            break; // no more than a character between them
        }
        let head = text.get(..middle).unwrap_or_default();
        let tokens = engine.encode(head, true)?;
        if tokens.len() <= limit {
            fits = middle;
            best = (tokens, head);
        } else {
            too_long = middle;
        }
    }
    let (tokens, head) = best;
    Ok(Encoded {
        tokens,
        text: Some(Arc::from(head)),
        cut: true,
    })
}
