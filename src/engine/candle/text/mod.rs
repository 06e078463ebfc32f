//! Between text and tokens.

mod gguf;
mod template;
mod tokenizer_json;

use tokenizers::Tokenizer;

pub use gguf::from_gguf;
pub use template::Template;
pub use tokenizer_json::from_files;

use crate::engine::EngineError;

/// A tokenizer with what belongs to it. Absent for random weights without one.
#[derive(Debug)]
pub struct Text {
    pub tokenizer: Tokenizer,
    pub template: Option<Template>,
    /// Any of these ends an answer. Sorted.
    pub end_of_text: Vec<u32>,
}

impl Text {
    pub fn encode(&self, text: &str, chat: bool) -> Result<Vec<u32>, EngineError> {
        let failed = |error: tokenizers::Error| {
            EngineError::new(
                format!("the tokenizer failed on a text: {error}"),
                "Check the prompts; report the text if it is an ordinary one",
            )
        };
        // A template writes its special tokens out; adding them would double them.
        let encoding = match (&self.template, chat) {
            (Some(template), true) => self.tokenizer.encode(template.user_turn(text)?, false),
            (None, true) => {
                return Err(EngineError::new(
                    "prompts.chat_template is on, but the model has no chat template",
                    "Set prompts.chat_template to false, or choose an instruction-tuned model",
                ));
            }
            (_, false) => self.tokenizer.encode(text, true),
        };
        Ok(encoding.map_err(failed)?.get_ids().to_vec())
    }

    pub fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        self.tokenizer.decode(tokens, true).map_err(|error| {
            EngineError::new(
                format!("the tokenizer failed on {} tokens: {error}", tokens.len()),
                "Report this as a defect",
            )
        })
    }
}
