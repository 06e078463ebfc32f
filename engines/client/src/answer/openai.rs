//! Objects of `/v1/chat/completions` and `/v1/completions`, streamed or in one piece.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::lenient::{Count, Text};
use super::{Chunk, error_message, filled};
use crate::{Part, Usage};

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(default)]
    usage: Option<OpenAiUsage>,
    #[serde(default)]
    timings: Option<Timings>,
    #[serde(default)]
    metrics: Option<IgnoredAny>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    /// `error` in the form that older servers send.
    #[serde(borrow, default)]
    object: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    /// In place of `delta` where the answer comes in one piece.
    #[serde(borrow, default)]
    message: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Option<Text<'a>>,
    #[serde(borrow, default)]
    finish_reason: Option<Text<'a>>,
    #[serde(default)]
    token_ids: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow, default)]
    reasoning: Option<Text<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Text<'a>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default)]
    arguments: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct OpenAiUsage {
    #[serde(default)]
    prompt_tokens: Count,
    #[serde(default)]
    completion_tokens: Count,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
    #[serde(default)]
    completion_tokens_details: Option<Details>,
    /// SGLang has it here.
    #[serde(default)]
    reasoning_tokens: Count,
}

#[derive(Default, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Count,
    #[serde(default)]
    reasoning_tokens: Count,
}

/// llama.cpp's.
#[derive(Deserialize)]
struct Timings {
    #[serde(default)]
    predicted_n: Count,
}

pub fn read(json: &[u8]) -> Result<Chunk<'_>, serde_json::Error> {
    let object: Object<'_> = serde_json::from_slice(json)?;
    let mut chunk = Chunk {
        usage: object.usage.map(usage),
        timings: object.timings.is_some() || object.metrics.is_some(),
        running: object.timings.and_then(|t| t.predicted_n.0),
        ..Chunk::default()
    };
    if object.error.is_some_and(|e| e.get() != "null")
        || object.object.is_some_and(|o| o.0 == "error")
    {
        chunk.error = Some(error_message(json).unwrap_or_default());
    }
    // One choice is asked for. Should there be more, they are one output of several parts.
    for choice in object.choices.into_iter().flatten() {
        if let Some(ids) = choice.token_ids {
            if chunk.ids.is_empty() {
                chunk.ids = ids;
            } else {
                chunk.ids.extend(ids);
            }
        }
        if let Some(text) = choice.text {
            chunk.has_output = true;
            chunk.answer = filled(Some(text))
                .map(|t| (Part::Answer, t))
                .or(chunk.answer);
        }
        if let Some(delta) = choice.delta.or(choice.message) {
            chunk.has_output = true;
            take(delta, &mut chunk);
        }
        chunk.finish = filled(choice.finish_reason).or(chunk.finish);
    }
    Ok(chunk)
}

fn take<'a>(delta: Delta<'a>, chunk: &mut Chunk<'a>) {
    if let Some(reasoning) = filled(delta.reasoning_content).or_else(|| filled(delta.reasoning)) {
        chunk.reasoning = Some(reasoning);
    }
    if let Some(text) = filled(delta.content).or_else(|| filled(delta.refusal)) {
        chunk.answer = Some((Part::Answer, text));
        return;
    }
    for function in delta
        .tool_calls
        .into_iter()
        .flatten()
        .filter_map(|c| c.function)
    {
        if let Some(text) = filled(function.arguments).or_else(|| filled(function.name)) {
            chunk.answer = Some((Part::ToolCall, text));
        }
    }
}

fn usage(told: OpenAiUsage) -> Usage {
    let prompt = told.prompt_tokens_details.unwrap_or_default();
    let output = told.completion_tokens_details.unwrap_or_default();
    Usage {
        prompt_tokens: told.prompt_tokens.0,
        output_tokens: told.completion_tokens.0,
        cached_tokens: prompt.cached_tokens.0,
        reasoning_tokens: output.reasoning_tokens.0.or(told.reasoning_tokens.0),
    }
}
