//! What an engine is, and what it tells.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lem_record::{EngineTold, FinishReason, Record};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model that is loaded and can generate.
///
/// Calls block; an engine that talks to a server runs its own runtime inside.
/// All times are CLOCK_MONOTONIC ([`lem_record::Stamp::mono_ns`]).
pub trait Engine: Send {
    /// What FLOPs and bytes are computed from. Complete once the engine is loaded.
    fn describe(&self) -> &ModelDescription;

    /// What this engine can tell apart.
    fn capabilities(&self) -> Capabilities;

    /// Tokens of a text, special tokens as the model's own template and tokenizer place them.
    /// `chat` wraps the text as one user turn in the model's chat template, where it has one.
    fn encode(&self, text: &str, chat: bool) -> Result<Vec<u32>, EngineError>;

    /// Text of tokens.
    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError>;

    /// Answers the requests, telling every event as it happens. Returns when all
    /// have finished, failed or been cancelled. A request that fails is an event;
    /// an error is the engine's own end.
    fn generate(
        &mut self,
        work: &Work,
        events: &mut dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), EngineError>;

    /// Whether [`Engine::encode`] and [`Engine::decode`] work. Where not, a prompt goes as text, is not
    /// cut, and its number of tokens is known from the answer only.
    fn tokenizes(&self) -> bool {
        true
    }

    /// The run has a folder from here on: what the engine writes of its own belongs there.
    fn run_folder(&mut self, _folder: &Path) -> std::io::Result<()> {
        Ok(())
    }

    /// A measured window is about to begin: the last moment to ask the engine something.
    fn before_cycle(&mut self, _cycle: u32) {}

    /// What the engine itself tells of the cycle that just ended: its metrics, its ledger.
    /// Called between two measured windows.
    fn after_cycle(&mut self, _cycle: u32) -> Vec<Record> {
        Vec::new()
    }

    /// Does the work once more under the engine's own profiler, which writes a trace of it;
    /// `None` from an engine that has no profiler.
    fn profile(
        &mut self,
        _work: &Work,
        _trace: &Path,
        _cancel: &Cancel,
    ) -> Option<Result<Profile, EngineError>> {
        None
    }

    /// Natural-log probabilities of `tokens[1..]`, each given those before it.
    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError>;
}

/// Takes events on the hot path: an implementation appends to memory and returns.
pub trait EventSink {
    fn event(&mut self, event: Event);
}

/// Set from another thread to end a generation early.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A batch, or an arrival schedule.
#[derive(Clone, Debug)]
pub struct Work {
    pub requests: Vec<Request>,
    /// How many sequences run together; the requests are taken in order.
    pub batch_size: usize,
    pub sampling: Sampling,
    /// Nanoseconds after the start at which each request is due; empty for a closed batch.
    pub due_ns: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: u64,
    pub tokens: Arc<[u32]>,
    /// The prompt as text, for engines that take text.
    pub text: Option<Arc<str>>,
    pub max_output_tokens: u32,
    /// Below this length the end-of-text token is not allowed: equal to the maximum,
    /// the length is exact.
    pub min_output_tokens: u32,
}

/// Greedy where `temperature` is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    pub temperature: f64,
    pub top_k: Option<u32>,
    pub top_p: Option<f64>,
    pub repetition_penalty: f64,
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: None,
            top_p: None,
            repetition_penalty: 1.0,
            seed: 42,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Prefill,
    Decode,
    /// Neither: tokenising, scheduling, gaps between batches. Never sent by an engine;
    /// it is what is left.
    Other,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Decode => "decode",
            Self::Other => "other",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A request was taken up: its prompt starts to be worked on.
    Started { request: u64, at_ns: u64 },
    /// The whole engine is in this phase from here on; `None`: in none.
    /// Only from engines with exact phase boundaries.
    Phase { phase: Option<Phase>, at_ns: u64 },
    /// One output token (or a chunk of `tokens` of them).
    Tokens {
        request: u64,
        ids: TokenIds,
        at_ns: u64,
    },
    /// When a schedule wanted the request to be sent: latency counts from here.
    Due { request: u64, at_ns: u64 },
    /// The first token of the answer itself, after those of reasoning.
    Answer { request: u64, at_ns: u64 },
    /// What the engine said of the request; before its end.
    Told { request: u64, told: Box<Told> },
    Finished {
        request: u64,
        reason: FinishReason,
        at_ns: u64,
    },
    Failed {
        request: u64,
        error: String,
        at_ns: u64,
    },
}

/// What an engine says of a request beside its tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Where it counts for itself: this beats the number of tokens that were sent.
    pub input_tokens: Option<u64>,
    /// This beats the sum of what came: chunks need not be tokens.
    pub output_tokens: Option<u64>,
    /// Whether each time that was told is known to be that of one token.
    pub one_token_each: bool,
    pub engine: EngineTold,
}

/// The tokens of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenIds {
    One(u32),
    Many(Vec<u32>),
    /// A chunk whose ids the engine does not tell.
    Count(u32),
}

/// What was not told apart is marked so in the result, never guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Each `Tokens` event carries the true time of one token.
    pub true_token_times: bool,
    /// `Phase` events mark exact boundaries.
    pub phase_boundaries: bool,
    pub score: bool,
    /// The engine runs in this process: its memory is ours.
    pub in_process: bool,
}

/// Everything known of the model. What is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ModelDescription {
    /// As the configuration named it.
    pub name: String,
    /// `llama`, `qwen2`, …
    pub architecture: Option<String>,
    /// All of them.
    pub parameters: Option<u64>,
    /// Parameters that take part in one token's forward pass (all, unless a mixture of experts),
    /// without the input embedding table.
    pub active_parameters: Option<u64>,
    /// Transformer blocks, or those of another architecture.
    pub layers: Option<u32>,
    /// Width of the residual stream.
    pub hidden_size: Option<u32>,
    /// Width within a feed-forward block.
    pub intermediate_size: Option<u32>,
    /// Query heads of a layer.
    pub attention_heads: Option<u32>,
    /// Fewer than the query heads where they share.
    pub key_value_heads: Option<u32>,
    /// Width of one head.
    pub head_size: Option<u32>,
    /// Tokens that there are.
    pub vocabulary: Option<u32>,
    /// Most tokens of a sequence.
    pub context_length: Option<u32>,
    /// Whether input and output embeddings are one table.
    pub tied_embeddings: Option<bool>,
    /// Type that the weights are stored in: `q4_1`, `bf16`, `f32`, or `mixed (q4_1, q6_k)`.
    pub weight_type: Option<String>,
    /// Type that products are computed in.
    pub compute_type: Option<String>,
    /// Bytes of all weights as they lie in memory.
    pub weight_bytes: Option<u64>,
    /// Bytes a token in the key-value cache.
    pub kv_bytes_per_token: Option<u64>,
    /// Name of the engine.
    pub engine: String,
    /// Its version, as it tells it.
    pub engine_version: String,
    /// The command line of a server that lem launched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launch: Option<String>,
    /// `cpu`, `cuda:0`, …
    pub device: String,
    /// Of the processor, where it computes there.
    pub threads: Option<u32>,
    /// SHA-256 of the weights' file, where it is one file and it was read.
    pub sha256: Option<String>,
    /// Resolved source: path, or hub name with the revision's commit.
    pub source: Option<String>,
    /// Random weights (`load_format: dummy`): speed and energy are real, quality is not.
    pub random_weights: bool,
}

/// What an engine's profiler saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Its name and version.
    pub profiler: String,
    /// What the work took under the profiler, without writing down what it saw.
    pub seconds: f64,
    /// Floating-point operations of all operators, attention among them.
    pub flops: f64,
    pub attention_flops: f64,
    /// What took most of its own time first.
    pub operators: Vec<ProfiledOperator>,
    /// On the device; what took most time first.
    pub kernels: Vec<ProfiledKernel>,
    /// Most bytes that were allocated above those at the start.
    pub peak_bytes: Option<u64>,
}

/// All calls of an operator, timed on the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfiledOperator {
    pub name: String,
    pub calls: u64,
    pub total_s: f64,
    /// Without the operators that it called.
    pub own_s: f64,
    pub flops: f64,
}

/// All runs of a kernel, timed on the device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProfiledKernel {
    pub name: String,
    pub calls: u64,
    pub seconds: f64,
}

/// What went wrong, and what to do: the text is for the user.
#[derive(Debug, thiserror::Error)]
#[error("{what}. {remedy}")]
pub struct EngineError {
    pub what: String,
    pub remedy: String,
}

impl EngineError {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}
