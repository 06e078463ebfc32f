use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The embedded engine, in this process.
    #[default]
    Candle,
    /// libtorch in this process.
    Torch,
    /// Hugging Face transformers in a worker process (`pytorch` of version 2).
    Transformers,
    /// A vLLM server.
    Vllm,
    /// A TensorRT-LLM server (`tensorrt` of version 2).
    #[serde(rename = "tensorrt-llm")]
    TensorrtLlm,
    /// An SGLang server.
    Sglang,
    /// A llama.cpp server.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// A Text Generation Inference server.
    Tgi,
    /// An Ollama server.
    Ollama,
    /// Any server that speaks the OpenAI API.
    Openai,
    /// Any program that speaks the worker protocol.
    Worker,
}

impl Backend {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Candle => "candle",
            Self::Torch => "torch",
            Self::Transformers => "transformers",
            Self::Vllm => "vllm",
            Self::TensorrtLlm => "tensorrt-llm",
            Self::Sglang => "sglang",
            Self::LlamaCpp => "llama.cpp",
            Self::Tgi => "tgi",
            Self::Ollama => "ollama",
            Self::Openai => "openai",
            Self::Worker => "worker",
        }
    }

    /// Whether the tokens come from a server over HTTP.
    pub const fn is_server(self) -> bool {
        matches!(
            self,
            Self::Vllm
                | Self::TensorrtLlm
                | Self::Sglang
                | Self::LlamaCpp
                | Self::Tgi
                | Self::Ollama
                | Self::Openai
        )
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As the file has it.
    #[default]
    Auto,
    /// 32-bit floating point.
    Fp32,
    /// 16-bit floating point.
    Fp16,
    /// Brain floating point, 16 bits.
    Bf16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoadFormat {
    /// The file's own weights.
    #[default]
    Auto,
    /// Random weights of the right shape.
    Dummy,
}
