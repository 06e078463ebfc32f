//! `tokenizer.json` and the small files beside it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{Template, Text};
use crate::engine::EngineError;
use crate::engine::candle::files::{MAX_FILE_BYTES, read_bounded, read_json};

/// `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    /// A template, or named ones.
    chat_template: Option<Value>,
    bos_token: Option<Value>,
    eos_token: Option<Value>,
}

/// `generation_config.json`.
#[derive(Debug, Default, Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<Value>,
}

/// `end_of_text`: what `config.json` says.
pub fn from_files(
    tokenizer: &Path,
    config: Option<&Path>,
    generation: Option<&Path>,
    end_of_text: Option<&Value>,
) -> Result<Text, EngineError> {
    let bytes = read_bounded(tokenizer, MAX_FILE_BYTES)?;
    let mut parsed = Tokenizer::from_bytes(&bytes).map_err(|error| {
        EngineError::new(
            format!("{} cannot be understood: {error}", tokenizer.display()),
            "Download the file again",
        )
    })?;
    // Lengths are the workload's business.
    parsed.with_padding(None);
    let _ = parsed.with_truncation(None);
    let config: TokenizerConfig = config.map(read_json).transpose()?.unwrap_or_default();
    let generation: GenerationConfig = generation.map(read_json).transpose()?.unwrap_or_default();
    let (bos, eos) = (
        word(config.bos_token.as_ref()),
        word(config.eos_token.as_ref()),
    );
    let mut ends: BTreeSet<u32> = ids(end_of_text)
        .chain(ids(generation.eos_token_id.as_ref()))
        .collect();
    ends.extend(parsed.token_to_id(&eos));
    let template = config
        .chat_template
        .as_ref()
        .and_then(default_template)
        .map(|source| Template::new(source.to_owned(), bos, eos));
    Ok(Text {
        tokenizer: parsed,
        template,
        end_of_text: ends.into_iter().collect(),
    })
}

/// A text, or an object with the text as `content`.
fn word(token: Option<&Value>) -> String {
    token
        .and_then(|t| t.as_str().or_else(|| t.get("content")?.as_str()))
        .unwrap_or_default()
        .to_owned()
}

fn ids(value: Option<&Value>) -> impl Iterator<Item = u32> {
    let many = value.and_then(Value::as_array).into_iter().flatten();
    many.chain(value)
        .filter_map(|id| u32::try_from(id.as_u64()?).ok())
}

fn default_template(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| {
        let named = value.as_array()?;
        let default = named
            .iter()
            .find(|t| t.get("name").is_some_and(|n| n == "default"));
        default.or(named.first())?.get("template")?.as_str()
    })
}
