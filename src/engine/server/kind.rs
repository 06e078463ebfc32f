//! What is known of each kind of server, as data.

use lem_client::{Api, ExactLength, Features};

use crate::config::{Backend, ServerApi};

/// How a server makes tokens of a text when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// `/tokenize` with `prompt` or `messages`, `/detokenize` with `tokens`.
    Vllm,
    /// `/tokenize` and `/detokenize` with `content`, `/apply-template` for chats.
    LlamaCpp,
}

#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub backend: Backend,
    /// What people call it.
    pub name: &'static str,
    /// Its own interface, where it tells more than OpenAI's.
    pub api: Api,
    /// What it can be asked for.
    pub features: Features,
    /// `/v1/completions` takes a prompt as a list of tokens.
    pub takes_tokens: bool,
    pub tokenizer: Option<Tokenizer>,
    /// Names of fields that are no part of OpenAI's interface; `None` where the server has none.
    pub top_k: Option<&'static str>,
    pub repetition_penalty: Option<&'static str>,
    /// Fields of every request: what makes the server tell more, or keeps requests apart.
    pub asks: &'static [(&'static str, Value)],
    /// Path that answers 200 once it is ready.
    pub ready: &'static str,
    /// Paths at which the version may be.
    pub version: &'static [(&'static str, &'static str)],
    /// Path of its metrics; `None` where there are none.
    pub metrics: Option<&'static str>,
}

/// A constant value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    /// Text that is new for each cycle: what one leaves in a cache, the next does not find.
    Salt,
}

/// Nothing beyond the plain interface.
const PLAIN: Features = Features {
    include_usage: false,
    continuous_usage: false,
    token_ids: false,
    exact_length: ExactLength::Unsupported,
    max_completion_tokens: false,
    timings_per_token: false,
};

const VLLM: Kind = Kind {
    backend: Backend::Vllm,
    name: "vLLM",
    api: Api::Completions,
    features: Features::vllm(),
    takes_tokens: true,
    tokenizer: Some(Tokenizer::Vllm),
    top_k: Some("top_k"),
    repetition_penalty: Some("repetition_penalty"),
    asks: &[("cache_salt", Value::Salt)],
    ready: "/health",
    version: &[("/version", "/version")],
    metrics: Some("/metrics"),
};

const SGLANG: Kind = Kind {
    backend: Backend::Sglang,
    name: "SGLang",
    api: Api::Completions,
    features: Features::sglang(),
    takes_tokens: true,
    tokenizer: Some(Tokenizer::Vllm),
    top_k: Some("top_k"),
    repetition_penalty: Some("repetition_penalty"),
    asks: &[],
    ready: "/health",
    version: &[
        ("/server_info", "/version"),
        ("/get_server_info", "/version"),
    ],
    metrics: Some("/metrics"),
};

/// Its requests forbid fields that it does not know.
const TENSORRT_LLM: Kind = Kind {
    backend: Backend::TensorrtLlm,
    name: "TensorRT-LLM",
    api: Api::Completions,
    features: Features::tensorrt_llm(),
    takes_tokens: true,
    tokenizer: None,
    top_k: Some("top_k"),
    repetition_penalty: Some("repetition_penalty"),
    asks: &[],
    ready: "/health",
    version: &[("/version", "/version")],
    metrics: Some("/prometheus/metrics"),
};

const LLAMA_CPP: Kind = Kind {
    backend: Backend::LlamaCpp,
    name: "llama.cpp",
    api: Api::LlamaCpp,
    features: Features::llama_cpp(),
    takes_tokens: true,
    tokenizer: Some(Tokenizer::LlamaCpp),
    top_k: Some("top_k"),
    repetition_penalty: Some("repeat_penalty"),
    // A cycle asks what the one before asked: with the cache its prompts would cost nothing.
    asks: &[("cache_prompt", Value::Bool(false))],
    ready: "/health",
    version: &[("/props", "/build_info")],
    metrics: Some("/metrics"),
};

const TGI: Kind = Kind {
    backend: Backend::Tgi,
    name: "Text Generation Inference",
    api: Api::Tgi,
    features: PLAIN,
    takes_tokens: false,
    tokenizer: None,
    top_k: None,
    repetition_penalty: None,
    asks: &[],
    ready: "/health",
    version: &[("/info", "/version")],
    metrics: Some("/metrics"),
};

const OLLAMA: Kind = Kind {
    backend: Backend::Ollama,
    name: "Ollama",
    api: Api::OllamaGenerate,
    features: PLAIN,
    takes_tokens: false,
    tokenizer: None,
    top_k: None,
    repetition_penalty: None,
    asks: &[],
    ready: "/api/version",
    version: &[("/api/version", "/version")],
    metrics: None,
};

const OPENAI: Kind = Kind {
    backend: Backend::Openai,
    name: "the server",
    api: Api::Chat,
    features: Features::openai(),
    takes_tokens: false,
    tokenizer: None,
    top_k: None,
    repetition_penalty: None,
    asks: &[],
    ready: "/v1/models",
    version: &[],
    metrics: None,
};

impl Kind {
    /// The interface that is used, with what may be asked for there.
    pub const fn spoken(&self, chosen: Option<ServerApi>) -> (Api, Features) {
        let api = match chosen {
            None => self.api,
            Some(ServerApi::Chat) => Api::Chat,
            Some(ServerApi::Completions) => Api::Completions,
        };
        let mut features = self.features;
        match (self.api, api) {
            // llama.cpp gives tokens in its own interface only.
            (Api::LlamaCpp, Api::Chat | Api::Completions) => {
                features.token_ids = false;
                features.timings_per_token = true;
            }
            // What these can do beyond OpenAI's interface, they do in their own.
            (Api::Tgi | Api::OllamaGenerate, Api::Chat | Api::Completions) => {
                features = Features::openai();
            }
            _ => {}
        }
        (api, features)
    }

    /// `None` for backends that are no servers.
    pub const fn of(backend: Backend) -> Option<&'static Self> {
        Some(match backend {
            Backend::Vllm => &VLLM,
            Backend::Sglang => &SGLANG,
            Backend::TensorrtLlm => &TENSORRT_LLM,
            Backend::LlamaCpp => &LLAMA_CPP,
            Backend::Tgi => &TGI,
            Backend::Ollama => &OLLAMA,
            Backend::Openai => &OPENAI,
            Backend::Candle | Backend::Torch | Backend::Transformers | Backend::Worker => {
                return None;
            }
        })
    }
}
