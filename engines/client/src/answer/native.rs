//! Objects of llama.cpp's, TGI's and Ollama's own APIs.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::lenient::{Count, Text};
use super::{Chunk, Told, error_message, filled};
use crate::{Part, Usage};

fn error(error: Option<&RawValue>, json: &[u8]) -> Option<Told> {
    error
        .filter(|e| e.get() != "null")
        .map(|_| error_message(json).unwrap_or_default())
}

#[derive(Deserialize)]
struct LlamaCpp<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(default)]
    tokens: Option<Vec<u32>>,
    #[serde(default)]
    stop: bool,
    #[serde(borrow, default)]
    stop_type: Option<Text<'a>>,
    #[serde(default)]
    tokens_predicted: Count,
    #[serde(default)]
    tokens_evaluated: Count,
    #[serde(default)]
    timings: Option<LlamaCppTimings>,
    #[serde(default)]
    prompt_progress: Option<IgnoredAny>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct LlamaCppTimings {
    #[serde(default)]
    cache_n: Count,
}

/// Each object counts the tokens so far, the one about the prompt's progress 0.
pub fn llama_cpp(json: &[u8]) -> Result<Chunk<'_>, serde_json::Error> {
    let object: LlamaCpp<'_> = serde_json::from_slice(json)?;
    let progress = object.prompt_progress.is_some();
    Ok(Chunk {
        has_output: object.content.is_some() && !progress,
        answer: filled(object.content).map(|text| (Part::Answer, text)),
        ids: object.tokens.unwrap_or_default(),
        running: object.tokens_predicted.0.filter(|_| !progress),
        usage: object.stop.then_some(Usage {
            prompt_tokens: object.tokens_evaluated.0,
            output_tokens: object.tokens_predicted.0,
            cached_tokens: object.timings.as_ref().and_then(|t| t.cache_n.0),
            reasoning_tokens: None,
        }),
        timings: object.timings.is_some(),
        finish: if object.stop {
            filled(object.stop_type).or(Some("stop".into()))
        } else {
            None
        },
        last: object.stop,
        error: error(object.error, json),
        ..Chunk::default()
    })
}

#[derive(Deserialize)]
struct Tgi<'a> {
    #[serde(borrow, default)]
    token: Option<TgiToken<'a>>,
    #[serde(borrow, default)]
    generated_text: Option<Text<'a>>,
    #[serde(borrow, default)]
    details: Option<TgiDetails<'a>>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct TgiToken<'a> {
    id: u32,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct TgiDetails<'a> {
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
    #[serde(default)]
    generated_tokens: Count,
    #[serde(default)]
    input_length: Count,
}

/// Each object of a stream is one token; the last has the whole text beside it.
pub fn tgi(json: &[u8]) -> Result<Chunk<'_>, serde_json::Error> {
    let object: Tgi<'_> = serde_json::from_slice(json)?;
    let mut chunk = Chunk {
        error: error(object.error, json),
        last: object.generated_text.is_some(),
        has_output: object.token.is_some() || object.generated_text.is_some(),
        ..Chunk::default()
    };
    if let Some(details) = object.details {
        chunk.usage = Some(Usage {
            prompt_tokens: details.input_length.0,
            output_tokens: details.generated_tokens.0,
            ..Usage::default()
        });
        chunk.finish = filled(details.finish_reason);
    }
    let text = match object.token {
        Some(token) => {
            chunk.ids.push(token.id);
            token.text
        }
        None => object.generated_text,
    };
    chunk.answer = filled(text).map(|text| (Part::Answer, text));
    Ok(chunk)
}

#[derive(Deserialize)]
struct Ollama<'a> {
    #[serde(borrow, default)]
    response: Option<Text<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    message: Option<OllamaMessage<'a>>,
    #[serde(default)]
    done: bool,
    #[serde(borrow, default)]
    done_reason: Option<Text<'a>>,
    #[serde(default)]
    prompt_eval_count: Count,
    #[serde(default)]
    eval_count: Count,
    #[serde(default)]
    eval_duration: Option<IgnoredAny>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OllamaMessage<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    thinking: Option<Text<'a>>,
}

pub fn ollama(json: &[u8]) -> Result<Chunk<'_>, serde_json::Error> {
    let object: Ollama<'_> = serde_json::from_slice(json)?;
    let (content, thinking) = match object.message {
        Some(message) => (message.content, message.thinking),
        None => (object.response, object.thinking),
    };
    Ok(Chunk {
        has_output: content.is_some() || thinking.is_some(),
        reasoning: filled(thinking),
        answer: filled(content).map(|text| (Part::Answer, text)),
        usage: object.done.then_some(Usage {
            prompt_tokens: object.prompt_eval_count.0,
            output_tokens: object.eval_count.0,
            ..Usage::default()
        }),
        timings: object.eval_duration.is_some(),
        finish: if object.done {
            filled(object.done_reason).or(Some("stop".into()))
        } else {
            None
        },
        last: object.done,
        error: error(object.error, json),
        ..Chunk::default()
    })
}
