//! Where to ask, and in which words.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

/// A text that must not be seen: it goes into requests and nowhere else.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The kind of API behind the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// llama.cpp's own `/completion`
    LlamaCpp,
    /// text-generation-inference's `/generate_stream`
    Tgi,
    /// Ollama's `/api/generate`
    OllamaGenerate,
    /// Ollama's `/api/chat`
    OllamaChat,
}

impl Api {
    /// Path below the base URL.
    pub const fn path(self, stream: bool) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::LlamaCpp => "/completion",
            Self::Tgi if stream => "/generate_stream",
            Self::Tgi => "/generate",
            Self::OllamaGenerate => "/api/generate",
            Self::OllamaChat => "/api/chat",
        }
    }

    /// Takes messages; the others take a text, and some take token ids.
    pub const fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::OllamaChat)
    }

    pub const fn takes_token_ids(self) -> bool {
        matches!(self, Self::Completions | Self::LlamaCpp)
    }
}

/// How the server is told that an output must not end early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExactLength {
    /// It cannot be told.
    #[default]
    Unsupported,
    /// `ignore_eos: true`, where the minimum equals the maximum.
    IgnoreEos,
    /// `min_tokens`.
    MinTokens,
    /// Both.
    IgnoreEosAndMinTokens,
}

/// What the server can be asked for beyond the plain API. A server that refuses unknown
/// fields must not be sent them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `stream_options.include_usage`
    pub include_usage: bool,
    /// `stream_options.continuous_usage_stats`: the running count on each chunk.
    pub continuous_usage: bool,
    /// `return_token_ids` (vLLM), `return_tokens` (llama.cpp's own API).
    pub token_ids: bool,
    /// `timings_per_token` (llama.cpp): its running count on each chunk.
    pub timings_per_token: bool,
    pub exact_length: ExactLength,
    /// `max_completion_tokens` in place of `max_tokens`.
    pub max_completion_tokens: bool,
}

impl Features {
    /// Any OpenAI-compatible server.
    pub const fn openai() -> Self {
        Self {
            include_usage: true,
            continuous_usage: false,
            token_ids: false,
            timings_per_token: false,
            exact_length: ExactLength::Unsupported,
            max_completion_tokens: false,
        }
    }

    pub const fn vllm() -> Self {
        Self {
            continuous_usage: true,
            token_ids: true,
            exact_length: ExactLength::IgnoreEosAndMinTokens,
            ..Self::openai()
        }
    }

    pub const fn sglang() -> Self {
        Self {
            continuous_usage: true,
            exact_length: ExactLength::IgnoreEosAndMinTokens,
            ..Self::openai()
        }
    }

    pub const fn tensorrt_llm() -> Self {
        Self {
            continuous_usage: true,
            exact_length: ExactLength::IgnoreEosAndMinTokens,
            ..Self::openai()
        }
    }

    pub const fn llama_cpp() -> Self {
        Self {
            token_ids: true,
            timings_per_token: true,
            exact_length: ExactLength::IgnoreEos,
            ..Self::openai()
        }
    }
}

/// How a certificate is judged, for `https`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities to trust beside the machine's own, PEM.
    pub extra_roots_pem: Option<String>,
}

/// One server.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://127.0.0.1:8000`, with or without a path before the API's own. `/v1` at its end
    /// is taken as part of the API's path.
    pub base_url: String,
    /// In place of the API's own path.
    pub path: Option<String>,
    pub api: Api,
    /// Goes into each request; needed by all but llama.cpp's and TGI's own APIs.
    pub model: Option<String>,
    pub stream: bool,
    pub features: Features,
    /// `Authorization: Bearer …`
    pub api_key: Option<Secret>,
    /// More headers; their values are held back from every text.
    pub headers: Vec<(String, Secret)>,
    /// More fields of the body (sampling, and what else the server knows).
    pub extra_body: Map<String, Value>,
    pub tls: Tls,
    pub connect_timeout: Duration,
}

impl Target {
    pub fn new(base_url: impl Into<String>, api: Api) -> Self {
        Self {
            base_url: base_url.into(),
            path: None,
            api,
            model: None,
            stream: true,
            features: Features::default(),
            api_key: None,
            headers: Vec::new(),
            extra_body: Map::new(),
            tls: Tls::default(),
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// A target or plan that cannot work whatever the server says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}. {remedy}")]
pub struct TargetError {
    pub what: String,
    pub remedy: String,
}

impl TargetError {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
