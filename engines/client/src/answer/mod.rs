//! One JSON object of an answer, whichever API it is of, in one shape.

mod lenient;
mod native;
mod openai;

use std::borrow::Cow;

use lenient::Text;

use crate::{Api, Part, Usage};

/// What one object says. What it does not say is empty or absent.
#[derive(Debug, Default, PartialEq)]
pub struct Chunk<'a> {
    /// At most one of reasoning and answer in most servers; both are told, in this order.
    pub reasoning: Option<Cow<'a, str>>,
    pub answer: Option<(Part, Cow<'a, str>)>,
    pub ids: Vec<u32>,
    /// The output holds something (a message, a delta, a text), be it empty: the object is not
    /// just about usage.
    pub has_output: bool,
    /// The server's count so far, where its API is known to give it on each chunk.
    pub running: Option<u64>,
    pub usage: Option<Usage>,
    /// The object holds times that the server took.
    pub timings: bool,
    pub finish: Option<Cow<'a, str>>,
    /// By this API the object is the stream's last.
    pub last: bool,
    pub error: Option<Told>,
}

/// An error object.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub message: String,
    pub code: Option<String>,
}

/// Reads one object; the error says where it is wrong.
pub fn read(api: Api, json: &[u8]) -> Result<Chunk<'_>, serde_json::Error> {
    match api {
        Api::Chat | Api::Completions => openai::read(json),
        Api::LlamaCpp => native::llama_cpp(json),
        Api::Tgi => native::tgi(json),
        Api::OllamaGenerate | Api::OllamaChat => native::ollama(json),
    }
}

/// The error that a body with a bad status tells, however the server dresses it.
pub fn error_message(json: &[u8]) -> Option<Told> {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Option<serde_json::Value>,
        message: Option<String>,
        detail: Option<serde_json::Value>,
        code: Option<serde_json::Value>,
    }
    let body: Body = serde_json::from_slice(json).ok()?;
    if let Some(error) = body.error.as_ref().filter(|e| !e.is_null()) {
        return Some(told(error));
    }
    let message = body.message.or_else(|| body.detail.as_ref().map(as_text))?;
    Some(Told {
        message,
        code: body.code.as_ref().map(as_text),
    })
}

fn told(error: &serde_json::Value) -> Told {
    let field = |name: &str| error.get(name).filter(|v| !v.is_null());
    Told {
        message: field("message").map_or_else(|| as_text(error), as_text),
        code: field("code").or_else(|| field("type")).map(as_text),
    }
}

fn as_text(value: &serde_json::Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A text that is there and not empty.
fn filled(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|t| t.0).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests;
