use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Configuration of the dataset, where it has several.
    pub subset: Option<String>,
    /// Split of the dataset.
    pub split: String,
    /// Branch, tag or commit of the dataset. Left out: `main`.
    pub revision: Option<String>,
    /// Column or JSON key that holds the prompt; left out: `prompt`, `text`, `question`, `instruction`
    /// or `content`, the first that is there.
    pub column: Option<String>,
    /// Take this many prompts of the file or dataset before choosing `num_input_prompts` of them.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub sample_size: Option<u32>,
    /// Take the prompts in an order drawn with the seed, instead of the file's.
    pub shuffle: bool,
    /// Seed of the prompts. Left out: `random_seed`.
    pub seed: Option<u64>,
    /// Wrap each prompt as one user turn in the model's chat template.
    pub chat_template: bool,
    /// Input length of each request, for `synthetic` exact, else the length to cut to.
    pub input_tokens: Option<Length>,
    /// So many tokens at the beginning are the same in every `synthetic` prompt, as with a common
    /// system prompt; they count to `input_tokens`.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub shared_prefix_tokens: Option<u32>,
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
            shared_prefix_tokens: None,
            output_tokens: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PromptsKind {
    /// `texts`, written in the configuration.
    Inline,
    /// A text or JSONL file.
    File,
    /// A dataset of the hub.
    Huggingface,
    /// Random tokens of exact lengths.
    Synthetic,
}

/// A number of tokens: fixed, or drawn from a distribution with the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Length {
    /// The same for each request.
    Fixed(#[schemars(range(min = 1, max = 10_000_000))] u32),
    /// Drawn for each request.
    Drawn(Distribution),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "distribution", rename_all = "lowercase", deny_unknown_fields)]
pub enum Distribution {
    /// Every whole number from `min` to `max` alike.
    Uniform {
        /// Smallest length, tokens.
        #[schemars(range(min = 1, max = 10_000_000))]
        min: u32,
        /// Largest length, tokens.
        #[schemars(range(min = 1, max = 10_000_000))]
        max: u32,
    },
    /// Rounded, and drawn again outside `min` to `max`.
    Normal {
        /// Mean length, tokens.
        #[schemars(range(min = 1.0, max = 10_000_000.0))]
        mean: f64,
        /// Standard deviation of the length, tokens.
        #[schemars(range(min = 0.0, max = 10_000_000.0))]
        stddev: f64,
        /// Smallest length, tokens.
        #[schemars(range(min = 1, max = 10_000_000))]
        min: u32,
        /// Largest length, tokens.
        #[schemars(range(min = 1, max = 10_000_000))]
        max: u32,
    },
    /// `mean` and `stddev` of the length itself, not of its logarithm.
    Lognormal {
        /// Mean length, tokens.
        #[schemars(range(min = 1.0, max = 10_000_000.0))]
        mean: f64,
        /// Standard deviation of the length, tokens.
        #[schemars(range(min = 0.0, max = 10_000_000.0))]
        stddev: f64,
        /// Smallest length, tokens.
        #[schemars(range(min = 1, max = 10_000_000))]
        min: u32,
        /// Largest length, tokens.
        #[schemars(range(min = 1, max = 10_000_000))]
        max: u32,
    },
}
