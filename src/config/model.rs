//! The shape of the configuration. Comments are the documentation: `docs/config.md`,
//! `configs/schema.json` and `lem config new` are generated from them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A resolved configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What people call this configuration; names the run where `--name` does not.
    pub config_name: Option<String>,
    /// The model: a folder or file, `hf:org/name[@revision]` (a bare `org/name` means that),
    /// or `pypi:package==version#file`. Required.
    pub model_name: Option<String>,
    /// Expected SHA-256 of the model file, lower-case hexadecimal; a mismatch ends the run.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub model_sha256: Option<String>,
    /// Who generates the tokens.
    pub backend: Backend,
    /// Type that weights are loaded in; `auto` keeps the file's own.
    pub fp_precision: Precision,
    /// `dummy` makes random weights of the right shape: speed and energy are real, quality is refused.
    pub load_format: LoadFormat,
    /// A LoRA adapter.
    pub adapter: Option<String>,
    /// How many prompts a cycle answers.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub num_input_prompts: u32,
    /// Longest prompt, tokens; a longer one is cut.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_input_tokens: u32,
    /// Longest answer, tokens.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_output_tokens: u32,
    /// Shortest answer, tokens: the end-of-text token is not allowed before.
    /// Equal to `max_output_tokens`, the length is exact.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub min_output_tokens: u32,
    /// Measured cycles: the unit of replication of every interval.
    #[schemars(range(min = 1, max = 100_000))]
    pub num_cycles: u32,
    /// Seed of everything that is drawn: sampling, prompts, lengths, order.
    pub random_seed: u64,
    /// GPU indices to use and to measure; empty means all that the engine uses.
    pub gpus: Vec<u32>,
    /// Ask the engine for a stream of tokens. The embedded engine always streams.
    pub streaming: bool,

    pub prompts: Prompts,
    pub batching: Batching,
    pub decoder: Decoder,
    pub traffic: Traffic,
    pub measurement: Measurement,
    pub carbon: Carbon,
    pub cost: Cost,
    pub power_model: PowerModel,
    pub profiling: Profiling,
    pub quality: Quality,
    pub candle: Candle,
    pub pytorch: Pytorch,
    pub vllm: Vllm,
    pub tensorrt: Tensorrt,
    pub server: Server,
    pub worker: Worker,
    pub io: Io,
    /// Free tags, shown by every sink.
    pub tags: BTreeMap<String, String>,
    /// A note, shown by the sinks that have a place for one.
    pub notes: Option<String>,
    pub integrations: Integrations,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            config_name: None,
            model_name: None,
            model_sha256: None,
            backend: Backend::default(),
            fp_precision: Precision::default(),
            load_format: LoadFormat::default(),
            adapter: None,
            num_input_prompts: 8,
            max_input_tokens: 512,
            max_output_tokens: 128,
            min_output_tokens: 0,
            num_cycles: 3,
            random_seed: 42,
            gpus: Vec::new(),
            streaming: true,
            prompts: Prompts::default(),
            batching: Batching::default(),
            decoder: Decoder::default(),
            traffic: Traffic::default(),
            measurement: Measurement::default(),
            carbon: Carbon::default(),
            cost: Cost::default(),
            power_model: PowerModel::default(),
            profiling: Profiling::default(),
            quality: Quality::default(),
            candle: Candle::default(),
            pytorch: Pytorch::default(),
            vllm: Vllm::default(),
            tensorrt: Tensorrt::default(),
            server: Server::default(),
            worker: Worker::default(),
            io: Io::default(),
            tags: BTreeMap::new(),
            notes: None,
            integrations: Integrations::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The embedded engine, in this process.
    #[default]
    Candle,
    /// libtorch in this process.
    Torch,
    /// Hugging Face transformers in a worker process (`pytorch` of version 2).
    #[serde(alias = "pytorch")]
    Transformers,
    Vllm,
    #[serde(rename = "tensorrt-llm", alias = "tensorrt")]
    TensorrtLlm,
    Sglang,
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    Tgi,
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
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    Auto,
    #[serde(rename = "fp32", alias = "float32")]
    Fp32,
    #[serde(rename = "fp16", alias = "float16")]
    Fp16,
    #[serde(rename = "bf16", alias = "bfloat16")]
    Bf16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoadFormat {
    #[default]
    Auto,
    Dummy,
}

/// Where the prompts come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prompts {
    /// Left out, it follows from what else is given: `texts`, `path` or `dataset`; else `synthetic`.
    #[serde(rename = "type")]
    pub kind: Option<PromptsKind>,
    /// The prompts themselves, for `inline`.
    pub texts: Vec<String>,
    /// A text file (one prompt a line) or a JSONL file (with `column`), for `file`.
    pub path: Option<String>,
    /// A dataset of the hub, for `huggingface`: Parquet or JSONL.
    pub dataset: Option<String>,
    pub subset: Option<String>,
    pub split: String,
    pub revision: Option<String>,
    /// Column or JSON key that holds the prompt; left out: `prompt`, `text`, `question`, `instruction`
    /// or `content`, the first that is there.
    pub column: Option<String>,
    /// Take this many prompts of the file or dataset before choosing `num_input_prompts` of them.
    pub sample_size: Option<u32>,
    pub shuffle: bool,
    /// Left out: `random_seed`.
    pub seed: Option<u64>,
    /// Wrap each prompt as one user turn in the model's chat template.
    pub chat_template: bool,
    /// Input length of each request, for `synthetic` exact, else the length to cut to.
    pub input_tokens: Option<Length>,
    /// Output length of each request, exact. Left out: up to `max_output_tokens`.
    pub output_tokens: Option<Length>,
}

impl Default for Prompts {
    fn default() -> Self {
        Self {
            kind: None,
            texts: Vec::new(),
            path: None,
            dataset: None,
            subset: None,
            split: "train".into(),
            revision: None,
            column: None,
            sample_size: None,
            shuffle: false,
            seed: None,
            chat_template: false,
            input_tokens: None,
            output_tokens: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PromptsKind {
    Inline,
    File,
    Huggingface,
    Synthetic,
}

/// A number of tokens: fixed, or drawn from a distribution with the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Length {
    Fixed(u32),
    Drawn(Distribution),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "distribution", rename_all = "lowercase", deny_unknown_fields)]
pub enum Distribution {
    /// Every whole number from `min` to `max` alike.
    Uniform { min: u32, max: u32 },
    /// Rounded, and drawn again outside `min` to `max`.
    Normal {
        mean: f64,
        stddev: f64,
        min: u32,
        max: u32,
    },
    /// `mean` and `stddev` of the length itself, not of its logarithm.
    Lognormal {
        mean: f64,
        stddev: f64,
        min: u32,
        max: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// Sequences that run together.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch_size: u32,
    /// `static` takes the prompts in order; `sorted_static` by length, shortest first.
    pub strategy: BatchingStrategy,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            batch_size: 1,
            strategy: BatchingStrategy::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BatchingStrategy {
    #[default]
    Static,
    SortedStatic,
}

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Decoder {
    /// 0 is greedy.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f64,
    /// `false` is greedy whatever the temperature.
    pub do_sample: Option<bool>,
    /// 0 is off.
    pub top_k: Option<u32>,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    #[schemars(range(min = 0.01, max = 100.0))]
    pub repetition_penalty: f64,
    /// Sets the others where they are left out.
    pub preset: Option<DecoderPreset>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            do_sample: None,
            top_k: None,
            top_p: None,
            repetition_penalty: 1.0,
            preset: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecoderPreset {
    Deterministic,
    Standard,
    Creative,
    Factual,
}

/// How requests arrive at a server. Not used by engines in this process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Traffic {
    pub mode: TrafficMode,
    #[schemars(range(min = 1, max = 100_000))]
    pub concurrency: u32,
    pub target_qps: Option<f64>,
    pub trace: Option<String>,
    pub seed: Option<u64>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            mode: TrafficMode::Closed,
            concurrency: 1,
            target_qps: None,
            trace: None,
            seed: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TrafficMode {
    #[default]
    Closed,
    Constant,
    Poisson,
    Gamma,
    Ramp,
    Trace,
}

/// How it is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Measurement {
    /// How often sensors are polled, milliseconds.
    #[schemars(range(min = 1, max = 60_000))]
    pub interval_ms: u32,
    pub warmup: Warmup,
    pub baseline: Baseline,
    /// A cycle longer than this is written to disk in segments of this length, seconds.
    #[schemars(range(min = 1.0, max = 86_400.0))]
    pub segment_s: f64,
    /// Wait between two cycles, seconds.
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub pause_s: f64,
}

impl Default for Measurement {
    fn default() -> Self {
        Self {
            interval_ms: 100,
            warmup: Warmup::default(),
            baseline: Baseline::default(),
            segment_s: 60.0,
            pause_s: 0.0,
        }
    }
}

/// Unmeasured work before the first cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Warmup {
    /// Fewest warm-up rounds (a batch each).
    #[schemars(range(min = 0, max = 10_000))]
    pub min_rounds: u32,
    /// Most warm-up rounds; equal to `min_rounds`, exactly so many.
    #[schemars(range(min = 0, max = 10_000))]
    pub max_rounds: u32,
    /// Steady when the last rounds' times per token spread less than this (coefficient of
    /// variation) and show no trend.
    #[schemars(range(min = 0.0001, max = 1.0))]
    pub tolerance: f64,
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            min_rounds: 2,
            max_rounds: 10,
            tolerance: 0.05,
        }
    }
}

/// The idle baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Baseline {
    /// Measure the idle power before the model is loaded, with it loaded, and after the run
    /// (`--measure-baseline`).
    pub enabled: bool,
    /// How long each is observed, seconds. 30 for a good one, 60 to publish.
    #[schemars(range(min = 0.5, max = 3_600.0))]
    pub duration_s: f64,
    /// Time that is let pass before observing, seconds.
    #[schemars(range(min = 0.0, max = 3_600.0))]
    pub settle_s: f64,
}

impl Default for Baseline {
    fn default() -> Self {
        Self {
            enabled: false,
            duration_s: 30.0,
            settle_s: 5.0,
        }
    }
}

/// Carbon: grams of CO2-equivalent = kWh × PUE × intensity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Carbon {
    /// Grid intensity, grams of CO2-equivalent a kWh. Left out: the world's average of 2019, 475.
    #[schemars(range(min = 0.0, max = 5_000.0))]
    pub intensity_g_per_kwh: Option<f64>,
    /// Where the intensity comes from, for the record.
    pub source: Option<String>,
    /// Power usage effectiveness of the building.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub pue: f64,
}

impl Default for Carbon {
    fn default() -> Self {
        Self {
            intensity_g_per_kwh: None,
            source: None,
            pue: 1.0,
        }
    }
}

/// Prices; nothing is computed where none is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cost {
    pub usd_per_kwh: Option<f64>,
    pub usd_per_gpu_hour: Option<f64>,
}

/// The model that stands in for a missing power sensor. Its joules are labelled `modelled`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PowerModel {
    /// Model the components that no sensor measures.
    pub enabled: bool,
    /// Thermal design power of the processors together, watts. Left out: a table by processor name,
    /// else 85 W a socket.
    #[schemars(range(min = 0.1, max = 10_000.0))]
    pub cpu_tdp_w: Option<f64>,
    /// Memory modules. Left out: estimated from the amount of memory.
    #[schemars(range(min = 1, max = 1_024))]
    pub memory_modules: Option<u32>,
}

impl Default for PowerModel {
    fn default() -> Self {
        Self {
            enabled: true,
            cpu_tdp_w: None,
            memory_modules: None,
        }
    }
}

/// FLOPs from a profiler, and its summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Profiling {
    pub enabled: bool,
    pub record_shapes: bool,
    pub with_flops: bool,
}

/// Output quality.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quality {
    pub enabled: bool,
    /// `perplexity`, `eval` or `external`.
    pub mode: Option<String>,
    pub eval_dataset: Option<String>,
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_eval_samples: Option<u32>,
}

/// The embedded engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Candle {
    /// Threads; left out: one a physical core.
    #[schemars(range(min = 1, max = 4_096))]
    pub threads: Option<u32>,
    /// Keep quantised weights as they are (`native`) or unpack them when loading (`dequantize`).
    pub quantized: QuantizedWeights,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum QuantizedWeights {
    #[default]
    Native,
    Dequantize,
}

/// Keys of version 2 for the PyTorch backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pytorch {
    pub load_in_4bit: Option<bool>,
    pub load_in_8bit: Option<bool>,
    pub attn_implementation: Option<String>,
    pub torch_compile: Option<Value>,
    pub torch_compile_backend: Option<String>,
    pub use_cache: Option<bool>,
    pub cache_implementation: Option<String>,
    pub beam_search: Option<Value>,
    pub assisted_generation: Option<Value>,
}

/// Launch options of vLLM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vllm {
    pub max_num_seqs: Option<u32>,
    pub max_num_batched_tokens: Option<u32>,
    pub gpu_memory_utilization: Option<f64>,
    pub tensor_parallel_size: Option<u32>,
    pub pipeline_parallel_size: Option<u32>,
    pub enable_prefix_caching: Option<bool>,
    pub enable_chunked_prefill: Option<bool>,
    pub kv_cache_dtype: Option<String>,
    pub block_size: Option<u32>,
    pub max_model_len: Option<u32>,
    pub enforce_eager: Option<bool>,
    pub quantization: Option<String>,
    pub speculative: VllmSpeculative,
    pub lora: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VllmSpeculative {
    pub model: Option<String>,
    pub num_tokens: Option<u32>,
    pub method: Option<String>,
    pub prompt_lookup_min: Option<u32>,
    pub prompt_lookup_max: Option<u32>,
    pub draft_tp_size: Option<u32>,
}

/// Launch options of TensorRT-LLM.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tensorrt {
    pub engine_path: Option<String>,
    pub max_batch_size: Option<u32>,
    pub builder_opt_level: Option<u32>,
    pub tp_size: Option<u32>,
    pub pp_size: Option<u32>,
    pub quantization: Option<String>,
    pub kv_cache_type: Option<String>,
    pub enable_chunked_context: Option<bool>,
    pub enable_kv_cache_reuse: Option<bool>,
    pub draft_model: Option<String>,
    pub num_draft_tokens: Option<u32>,
}

/// A server to attach to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub url: Option<String>,
}

/// A program that speaks the worker protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    pub command: Vec<String>,
}

/// Files and folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Io {
    /// Parent folder of runs (`--output`).
    pub results_dir: String,
}

impl Default for Io {
    fn default() -> Self {
        Self {
            results_dir: "lem-runs".into(),
        }
    }
}

/// The sinks. Each is off unless enabled here or by its flag.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Integrations {
    /// How long the end of a run waits for the sinks, seconds; what is owed then is left to `lem export`.
    #[serde(rename = "deadline_s")]
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub deadline_s: Option<f64>,
    pub mlflow: MlflowSection,
    pub wandb: WandbSection,
    pub files: FilesSection,
    pub prometheus: LaterSink,
    pub pushgateway: LaterSink,
    pub remote_write: LaterSink,
    pub openmetrics: LaterSink,
    pub textfile: LaterSink,
    pub otlp: LaterSink,
}

/// MLflow. Secrets come from the environment (`MLFLOW_TRACKING_PASSWORD`, `MLFLOW_TRACKING_TOKEN`)
/// or `~/.mlflow/credentials`, not from here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MlflowSection {
    pub enabled: bool,
    /// `http(s)://…`, or a folder for the local store. Left out: `MLFLOW_TRACKING_URI`, else `./mlruns`.
    pub tracking_uri: Option<String>,
    /// Left out: `MLFLOW_EXPERIMENT_NAME`, else `lem`.
    pub experiment_name: Option<String>,
    pub experiment_id: Option<String>,
    pub workspace: Option<String>,
    /// Send the result, the configuration and the series as artifacts.
    pub upload_artifacts: Option<bool>,
    /// Send the sampled series under the keys that MLflow's system-metrics page draws.
    pub system_metrics: Option<bool>,
    pub timeout_s: Option<f64>,
}

/// Weights & Biases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WandbSection {
    pub enabled: bool,
    pub project: Option<String>,
    pub entity: Option<String>,
}

/// A copy of the run's folder elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilesSection {
    pub enabled: bool,
    /// The parent folder of the copies.
    pub path: Option<String>,
}

/// A sink that this version does not have yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LaterSink {
    pub enabled: bool,
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}
