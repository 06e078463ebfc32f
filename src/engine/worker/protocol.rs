//! The lines that go to and from a worker. `docs/worker-protocol.md` is the long form.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::engine::{Request, Sampling, Work};

/// What both sides must speak. Fields and events may be added without a new number.
pub const VERSION: u32 = 1;

/// A line to the worker.
#[derive(Serialize)]
pub struct Ask<'a, T> {
    pub id: u64,
    #[serde(rename = "do")]
    pub verb: &'a str,
    #[serde(flatten)]
    pub body: T,
}

#[derive(Serialize)]
pub struct Nothing {}

#[derive(Serialize)]
pub struct Hello<'a> {
    pub protocol: u32,
    pub host: &'a str,
}

#[derive(Deserialize)]
pub struct HelloBack {
    pub protocol: u32,
    pub name: String,
    #[serde(default)]
    pub version: String,
}

#[derive(Deserialize)]
pub struct Pong {
    pub at_ns: u64,
}

/// Everything a worker may need to know of the configuration.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Load {
    /// As the configuration names it, or the file or folder where lem found it.
    pub model: String,
    /// Of the hub's repository, where the name says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// In the hub's repository, where the name says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// `auto`, `fp32`, `fp16` or `bf16`.
    pub dtype: String,
    /// `auto`, or `dummy` for random weights.
    pub load_format: String,
    pub seed: u64,
    /// `cpu`, `cuda:0`, …; absent: the worker's choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Indices into the GPUs that are visible; empty: the worker's choice.
    pub gpus: Vec<u32>,
    pub batch_size: u32,
    pub max_input_tokens: u32,
    pub max_output_tokens: u32,
    /// `worker.options` as it stands.
    pub options: Value,
    /// The sections of these names, without the keys that are not set.
    pub pytorch: Value,
    pub vllm: Value,
    pub tensorrt: Value,
}

/// What the loaded worker can do. What it does not mention it cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Can {
    /// Each time of a token is that of this token.
    pub true_token_times: bool,
    /// `phase` events are exact.
    pub phase_boundaries: bool,
    pub encode: bool,
    pub score: bool,
    pub cancel: bool,
    pub profile: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Loaded {
    pub can: Can,
}

#[derive(Serialize)]
pub struct Encode<'a> {
    pub text: &'a str,
    pub chat: bool,
}

#[derive(Serialize)]
pub struct Tokens<'a> {
    pub tokens: &'a [u32],
}

#[derive(Deserialize)]
pub struct Encoded {
    pub tokens: Vec<u32>,
}

#[derive(Deserialize)]
pub struct Decoded {
    pub text: String,
}

#[derive(Deserialize)]
pub struct Scored {
    pub logprobs: Vec<f32>,
}

#[derive(Serialize)]
pub struct Cancel {
    pub of: u64,
}

#[derive(Serialize)]
pub struct Generate<'a> {
    pub requests: Vec<Asked<'a>>,
    pub batch_size: usize,
    pub sampling: Drawing,
    /// A file for a trace, where `do` is `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<&'a str>,
}

#[derive(Serialize)]
pub struct Asked<'a> {
    pub id: u64,
    pub tokens: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<&'a str>,
    pub min_output_tokens: u32,
    pub max_output_tokens: u32,
}

#[derive(Serialize)]
pub struct Drawing {
    pub temperature: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    pub repetition_penalty: f64,
    pub seed: u64,
}

impl<'a> Generate<'a> {
    pub fn of(work: &'a Work) -> Self {
        let asked = |request: &'a Request| Asked {
            id: request.id,
            tokens: &request.tokens,
            text: request.text.as_deref(),
            min_output_tokens: request.min_output_tokens,
            max_output_tokens: request.max_output_tokens,
        };
        Self {
            requests: work.requests.iter().map(asked).collect(),
            batch_size: work.batch_size,
            sampling: Drawing::of(&work.sampling),
            trace: None,
        }
    }
}

impl Drawing {
    fn of(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            repetition_penalty: sampling.repetition_penalty,
            seed: sampling.seed,
        }
    }
}

/// A line from the worker: an answer (`ok` or `error`), or an event on the way to one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Said {
    /// The line that this is about.
    pub id: Option<u64>,
    pub ok: Option<Box<RawValue>>,
    pub error: Option<Fault>,
    pub event: Option<String>,
    pub at_ns: Option<u64>,
    pub phase: Option<String>,
    pub request: Option<u64>,
    pub requests: Vec<u64>,
    /// Pairs of request and token.
    pub tokens: Vec<(u64, u32)>,
    /// Pairs of request and number of tokens, where their ids are not known.
    pub counts: Vec<(u64, u32)>,
    pub reason: Option<String>,
    /// What the engine itself tells of a request (`told`).
    pub values: serde_json::Map<String, Value>,
    #[serde(flatten)]
    pub fault: Fault,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Fault {
    pub what: String,
    pub remedy: String,
}
