use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// Sequences that run together.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch_size: u32,
    /// How the prompts are put into batches.
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
    /// In the order of the prompts.
    Static,
    /// By length, shortest first.
    SortedStatic,
}

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Decoder {
    /// Divides the logits before sampling; 0 is greedy.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f64,
    /// `false` is greedy whatever the temperature.
    pub do_sample: Option<bool>,
    /// Sample among this many likeliest tokens; 0 is off.
    pub top_k: Option<u32>,
    /// Sample among the likeliest tokens whose probabilities reach this sum.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: Option<f64>,
    /// Divides the logits of tokens that have already appeared; 1 is off.
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
    /// Greedy.
    Deterministic,
    /// The model's own distribution, cut at its tail.
    Standard,
    /// Varied, with repetition held down.
    Creative,
    /// Close to greedy.
    Factual,
}
