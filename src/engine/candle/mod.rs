//! The embedded engine: a model of the Llama family on this machine's processors.
//!
//! Built on candle-core. Floating-point products of many rows are candle's; quantised
//! ones run on kernels of our own ([`matrix`]), because candle's for the common types
//! are scalar loops or hold the weights twice. There is one mechanism for every batch:
//! a step takes any tokens of any sequences, packed one after the other ([`llama`]), so
//! no work goes into padding, and a finished sequence leaves at once.
//!
//! | folder | |
//! |---|---|
//! | [`gguf`] | reads a header that a stranger wrote |
//! | [`weights`] | tensors of a checkpoint, or random ones, to a model |
//! | [`matrix`] | packed and floating-point weights, and products with them |
//! | [`llama`] | the transformer |
//! | [`text`] | tokenizer and chat template |

mod describe;
mod files;
mod generate;
pub mod gguf;
pub(in crate::engine) mod llama;
mod matrix;
pub(in crate::engine) mod sampling;
mod score;
pub(in crate::engine) mod text;
mod vector;
pub(in crate::engine) mod weights;

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use self::gguf::Expect;
use self::llama::{Model, Scratch};
use self::text::Text;
use self::weights::{Dummy, GgufModel, Placement, SafetensorsModel, SafetensorsShape};
use super::{Cancel, Capabilities, Engine, EngineError, EventSink, ModelDescription, Work};
use crate::config::{Config, LoadFormat, Precision, QuantizedWeights};
use crate::model::{ModelFiles, ModelFormat};

/// How to load a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// `None`: one a physical core that this process may use.
    pub threads: Option<u32>,
    pub quantized: QuantizedWeights,
    pub precision: Precision,
    pub load_format: LoadFormat,
    /// Of random weights.
    pub seed: u64,
}

impl LoadOptions {
    pub fn from_config(config: &Config) -> Self {
        Self {
            threads: config.candle.threads,
            quantized: config.candle.quantized,
            precision: config.fp_precision,
            load_format: config.load_format,
            seed: config.random_seed,
        }
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct CandleEngine {
    model: Model,
    /// Absent where the weights are random and no tokenizer came with the shape.
    text: Option<Text>,
    pool: Arc<ThreadPool>,
    scratch: Scratch,
    description: ModelDescription,
}

/// Loads a model; its weights are in memory afterwards.
pub fn load(files: &ModelFiles, options: &LoadOptions) -> Result<CandleEngine, EngineError> {
    let pool = pool(options.threads)?;
    let loaded = pool.install(|| match &files.format {
        ModelFormat::Gguf(path) => load_gguf(path, options),
        ModelFormat::Safetensors {
            config,
            weights,
            tokenizer,
            tokenizer_config,
            generation_config,
        } => {
            let shape = SafetensorsShape::read(config)?;
            let text = tokenizer
                .as_deref()
                .map(|tokenizer| {
                    text::from_files(
                        tokenizer,
                        tokenizer_config.as_deref(),
                        generation_config.as_deref(),
                        shape.eos_token_id.as_ref(),
                    )
                })
                .transpose()?;
            load_safetensors(config, &shape, weights, text, options)
        }
    })?;
    let description = describe::describe(files, &loaded, options, pool.current_num_threads());
    Ok(CandleEngine {
        model: loaded.model,
        text: loaded.text,
        pool: Arc::new(pool),
        scratch: Scratch::default(),
        description,
    })
}

/// A model before it is an engine.
struct Loaded {
    model: Model,
    text: Option<Text>,
    /// Name of the stored type and its elements, of the matrices.
    types: Vec<(&'static str, u64)>,
}

fn load_gguf(path: &std::path::Path, options: &LoadOptions) -> Result<Loaded, EngineError> {
    let dummy = options.load_format == LoadFormat::Dummy;
    let expect = if dummy {
        Expect::HeaderOnly
    } else {
        Expect::WholeFile
    };
    let placement = Placement {
        quantized: options.quantized,
        precision: options.precision,
    };
    let mut model = GgufModel::open(path, expect, placement)?;
    let keeps_codes = options.quantized == QuantizedWeights::Native && model.is_quantised();
    if keeps_codes && options.precision != Precision::Auto {
        return Err(EngineError::new(
            format!(
                "fp_precision asks for floating-point weights, but those of {} are quantised",
                path.display()
            ),
            "Set candle.quantized to dequantize to unpack them, or leave fp_precision at auto",
        ));
    }
    let plan = model.plan()?;
    let text = match text::from_gguf(&model.header, &path.display().to_string()) {
        Ok(text) => Some(text),
        // Random weights need no words.
        Err(_) if dummy => None,
        Err(error) => return Err(error),
    };
    let types = if options.quantized == QuantizedWeights::Native {
        model.matrix_types().collect()
    } else {
        Vec::new()
    };
    let model = if dummy {
        let mut random = Dummy::like(&model, placement, options.seed);
        weights::check_memory(&plan, 1)?;
        weights::build(&plan, &mut random)?
    } else {
        weights::build(&plan, &mut model)?
    };
    Ok(Loaded { model, text, types })
}

fn load_safetensors(
    config: &std::path::Path,
    shape: &SafetensorsShape,
    weights: &[std::path::PathBuf],
    text: Option<Text>,
    options: &LoadOptions,
) -> Result<Loaded, EngineError> {
    let mut plan = shape.plan(config)?;
    if plan.head_norm {
        return Err(EngineError::new(
            format!(
                "the embedded engine does not run {} (it normalises each head)",
                plan.shape.architecture
            ),
            "Use backend: torch, or serve the model with vLLM and set backend",
        ));
    }
    let model = if options.load_format == LoadFormat::Dummy {
        let precision = match options.precision {
            Precision::Auto => shape.precision(),
            precision => precision,
        };
        let bytes = if precision == Precision::Fp32 { 4 } else { 2 };
        weights::check_memory(&plan, bytes)?;
        weights::build(&plan, &mut Dummy::floats(precision, options.seed))?
    } else {
        if text.is_none() {
            return Err(EngineError::new(
                format!("there is no tokenizer.json beside {}", config.display()),
                "Add the model's tokenizer.json, or use its GGUF file",
            ));
        }
        let mut source = SafetensorsModel::open(weights, options.precision)?;
        // transformers writes no second copy of shared embeddings, whatever the flag says.
        plan.tied |= !source.has("lm_head.weight");
        weights::build(&plan, &mut source)?
    };
    Ok(Loaded {
        model,
        text,
        types: Vec::new(),
    })
}

fn pool(threads: Option<u32>) -> Result<ThreadPool, EngineError> {
    let threads = match threads {
        Some(threads) => threads as usize,
        None => default_threads(),
    };
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("lem-candle-{i}"))
        .build()
        .map_err(|error| {
            EngineError::new(
                format!("cannot start {threads} threads: {error}"),
                "Set candle.threads lower",
            )
        })
}

/// Physical cores: two threads of one core share the units that products run on. Never
/// more than the process may use.
fn default_threads() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from);
    num_cpus::get_physical().clamp(1, allowed)
}

impl CandleEngine {
    fn text(&self) -> Result<&Text, EngineError> {
        self.text.as_ref().ok_or_else(|| {
            EngineError::new(
                "the model has no tokenizer (load_format is dummy), but a text is to be read",
                "Use prompts.type: synthetic, or add a tokenizer.json",
            )
        })
    }
}

fn failed(error: candle_core::Error) -> EngineError {
    EngineError::new(
        format!("candle failed in a product of matrices: {error}"),
        "Report this as a defect, with the model's name",
    )
}

impl Engine for CandleEngine {
    fn describe(&self) -> &ModelDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            true_token_times: true,
            phase_boundaries: true,
            score: true,
            in_process: true,
        }
    }

    fn encode(&self, text: &str, chat: bool) -> Result<Vec<u32>, EngineError> {
        self.text()?.encode(text, chat)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        self.text()?.decode(tokens)
    }

    fn generate(
        &mut self,
        work: &Work,
        events: &mut dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        generate::generate(self, work, events, cancel)
    }

    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        score::score(self, tokens)
    }
}
