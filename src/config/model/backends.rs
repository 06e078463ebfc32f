use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Address;

/// The embedded engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Candle {
    /// Threads; left out: one a physical core.
    #[schemars(range(min = 1, max = 4_096))]
    pub threads: Option<u32>,
    /// What becomes of quantised weights.
    pub quantized: QuantizedWeights,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuantizedWeights {
    #[default]
    /// Quantised in memory; unpacked in the kernels.
    Native,
    /// Unpacked to floating point when loading.
    Dequantize,
}

/// libtorch in this process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Torch {
    /// `cpu`, `cuda` or `cuda:0`; left out: the first of `gpus`, else a GPU where there is one.
    pub device: Option<String>,
    /// Threads on the CPU; left out: as torch chooses.
    #[schemars(range(min = 1, max = 4_096))]
    pub threads: Option<u32>,
    /// Decode with CUDA graphs: one launch a token in place of hundreds.
    pub cuda_graphs: bool,
    /// Folder of `libtorch_cuda.so` (`torch/lib` of a Python's torch 2.11); left out: `LD_LIBRARY_PATH`.
    pub library_path: Option<String>,
}

/// Keys of version 2 for the PyTorch backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pytorch {
    /// Load the weights in 4 bits (bitsandbytes).
    pub load_in_4bit: Option<bool>,
    /// Load the weights in 8 bits (bitsandbytes).
    pub load_in_8bit: Option<bool>,
    /// Attention: `eager`, `sdpa` or `flash_attention_2`.
    pub attn_implementation: Option<String>,
    /// Compile the model: `true`, `false` or the mode of `torch.compile`.
    pub torch_compile: Option<Value>,
    /// Backend of `torch.compile`.
    pub torch_compile_backend: Option<String>,
    /// Keep keys and values between steps.
    pub use_cache: Option<bool>,
    /// Kind of key-value cache: `static`, `sliding_window`, …
    pub cache_implementation: Option<String>,
    /// Beam search: `enabled`, `num_beams`, …
    pub beam_search: Option<Value>,
    /// Speculative decoding with a smaller model: `model`, `num_tokens`.
    pub assisted_generation: Option<Value>,
}

/// Launch options of vLLM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vllm {
    /// Most sequences in one step.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_num_seqs: Option<u32>,
    /// Most tokens in one step.
    pub max_num_batched_tokens: Option<u32>,
    /// Share of the GPU's memory to take.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub gpu_memory_utilization: Option<f64>,
    /// GPUs that share each layer.
    #[schemars(range(min = 1, max = 1_024))]
    pub tensor_parallel_size: Option<u32>,
    /// GPUs that share the layers between them.
    #[schemars(range(min = 1, max = 1_024))]
    pub pipeline_parallel_size: Option<u32>,
    /// Reuse the cache of a common prefix.
    pub enable_prefix_caching: Option<bool>,
    /// Cut long prompts into chunks.
    pub enable_chunked_prefill: Option<bool>,
    /// Type of the key-value cache.
    pub kv_cache_dtype: Option<String>,
    /// Tokens in a block of the cache.
    #[schemars(range(min = 1, max = 1_024))]
    pub block_size: Option<u32>,
    /// Longest context, tokens.
    pub max_model_len: Option<u32>,
    /// No CUDA graphs.
    pub enforce_eager: Option<bool>,
    /// Quantisation of the weights: `awq`, `gptq`, `fp8`, …
    pub quantization: Option<String>,
    pub speculative: VllmSpeculative,
    /// LoRA adapters.
    pub lora: Option<Value>,
}

/// Speculative decoding in vLLM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VllmSpeculative {
    /// The draft model.
    pub model: Option<String>,
    /// Draft tokens a step.
    pub num_tokens: Option<u32>,
    /// `ngram`, `eagle`, `draft_model`, …
    pub method: Option<String>,
    /// Shortest n-gram to look up.
    pub prompt_lookup_min: Option<u32>,
    /// Longest n-gram to look up.
    pub prompt_lookup_max: Option<u32>,
    /// GPUs that share the draft model.
    pub draft_tp_size: Option<u32>,
}

/// Launch options of TensorRT-LLM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tensorrt {
    /// Folder of a built engine.
    pub engine_path: Option<String>,
    /// Most sequences in one step.
    pub max_batch_size: Option<u32>,
    /// Optimisation level of the builder.
    #[schemars(range(min = 0, max = 5))]
    pub builder_opt_level: Option<u32>,
    /// GPUs that share each layer.
    #[schemars(range(min = 1, max = 1_024))]
    pub tp_size: Option<u32>,
    /// GPUs that share the layers between them.
    #[schemars(range(min = 1, max = 1_024))]
    pub pp_size: Option<u32>,
    /// Quantisation of the weights: `fp8`, `int8_sq`, `int4_awq`, …
    pub quantization: Option<String>,
    /// Kind of key-value cache: `paged` or `continuous`.
    pub kv_cache_type: Option<String>,
    /// Cut long prompts into chunks.
    pub enable_chunked_context: Option<bool>,
    /// Reuse the cache of a common prefix.
    pub enable_kv_cache_reuse: Option<bool>,
    /// The draft model.
    pub draft_model: Option<String>,
    /// Draft tokens a step.
    pub num_draft_tokens: Option<u32>,
}

/// A server: one to attach to, or how to launch one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of a server that is already running: lem attaches to it and never stops it.
    /// Left out: lem launches a server, owns it and stops it at the end.
    pub url: Option<Address>,
    /// How requests are put. Left out: `completions` for vLLM, SGLang and TensorRT-LLM, which take
    /// prompts as tokens there, `chat` for `openai`, and for llama.cpp, TGI and Ollama their own
    /// interface, which tells more.
    pub api: Option<ServerApi>,
    /// Name of the environment variable that holds the server's API key; never the key itself.
    /// Left out: `OPENAI_API_KEY` for the backend `openai`, none for the others.
    pub api_key_env: Option<String>,
    /// Name under which the server has the model. Left out: the only one that it lists, else `model_name`.
    pub model: Option<String>,
    /// The program to launch with its first arguments, instead of the backend's own
    /// (`[python, -m, vllm.entrypoints.cli.main, serve]`); the rest of the command line follows.
    pub command: Vec<String>,
    /// Further arguments of the launched server; they come last.
    pub args: Vec<String>,
    /// Port of the launched server. Left out: a free one.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// How long a launched server may take until it is ready, seconds: it may have a model to download.
    #[schemars(range(min = 1.0, max = 86_400.0))]
    pub ready_timeout_s: f64,
    /// Longest time for one request, seconds.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub request_timeout_s: f64,
    /// Longest silence within one answer, seconds; then it has failed.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub stall_timeout_s: f64,
    /// Fields that go into every request as they are.
    pub extra_body: Option<Value>,
    /// Where the server tells its metrics. Left out: the backend's own path at the server's address.
    pub metrics_url: Option<Address>,
    /// Read the server's metrics also within a cycle, this often, seconds. Left out: before and
    /// after it only, so that the reading disturbs nothing.
    #[schemars(range(min = 0.1, max = 3_600.0))]
    pub metrics_interval_s: Option<f64>,
    /// Have a launched vLLM tell each of its steps, and split the energy of mixed batches by them.
    pub iterations: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            url: None,
            api: None,
            api_key_env: None,
            model: None,
            command: Vec::new(),
            args: Vec::new(),
            port: None,
            ready_timeout_s: 900.0,
            request_timeout_s: 600.0,
            stall_timeout_s: 120.0,
            extra_body: None,
            metrics_url: None,
            metrics_interval_s: None,
            iterations: false,
        }
    }
}

/// Which of the OpenAI interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServerApi {
    /// `/v1/completions`: the prompt as it is, as tokens where the server takes them.
    Completions,
    /// `/v1/chat/completions`: the prompt as one user turn in the server's chat template.
    Chat,
}

/// A program that speaks the worker protocol. The backend `transformers` is one that lem brings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// The program and its arguments. For the backend `transformers` it replaces lem's own.
    pub command: Vec<String>,
    /// Python with torch and transformers, for the backend `transformers`; left out: `python3`.
    pub python: Option<String>,
    /// Where the model runs: `cpu`, `cuda:0`, …; left out: the worker's choice.
    pub device: Option<String>,
    /// Passed to the worker as it stands: what only this worker knows.
    pub options: Option<Value>,
    /// A worker that is asked something and is silent so long is ended, seconds.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub timeout_s: f64,
    /// As `timeout_s`, while it starts and loads the model.
    #[schemars(range(min = 0.1, max = 86_400.0))]
    pub load_timeout_s: f64,
    /// How long a worker may take to stop when cancelled, and to end, seconds.
    #[schemars(range(min = 0.1, max = 3_600.0))]
    pub stop_timeout_s: f64,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            python: None,
            device: None,
            options: None,
            timeout_s: 120.0,
            load_timeout_s: 1_800.0,
            stop_timeout_s: 10.0,
        }
    }
}
