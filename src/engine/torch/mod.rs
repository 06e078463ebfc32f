//! libtorch in this process: a model of the Llama family on a GPU or on the processors.
//!
//! It is meant to be a fair PyTorch: the operators are torch's own, fused where torch has
//! them fused, launched from here without an interpreter, with a static key-value cache
//! and with nothing that makes the device wait for the host between two tokens.
//!
//! | file | |
//! |---|---|
//! | [`library`], [`device`] | finding CUDA; where the model runs, and the device's times |
//! | [`weights`], [`model`], [`tables`], [`cache`] | the transformer |
//! | [`generate`], [`places`], [`sampling`], [`graph`], [`score`] | running it |
//! | [`profile`] | what torch's profiler sees |
//! | [`shim`] (with `shim.cpp`) | what of libtorch tch does not reach |

mod cache;
mod describe;
mod device;
mod failure;
mod generate;
mod graph;
mod library;
mod model;
mod places;
mod profile;
mod sampling;
mod score;
mod shim;
mod tables;
mod weights;

use std::path::{Path, PathBuf};

use lem_record::{Record, Warning};
use tch::{Kind, Tensor};

use self::cache::Cache;
use self::device::Place;
use self::graph::Graphs;
use self::model::Model;
use self::tables::Tables;
use self::weights::{Source, Target};
use super::candle::text::{self, Text};
use super::candle::weights::{SafetensorsModel, SafetensorsShape, check_memory};
use super::{
    Cancel, Capabilities, Engine, EngineError, EventSink, ModelDescription, Profile, Work,
};
use crate::config::{Config, LoadFormat, Precision};
use crate::model::{ModelFiles, ModelFormat};

/// How to load a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// `cpu`, `cuda` or `cuda:N`; `None`: a GPU where there is one.
    pub device: Option<String>,
    /// The first of the configured GPUs.
    pub gpu: Option<u32>,
    /// `None`: as many as torch thinks right.
    pub threads: Option<u32>,
    pub cuda_graphs: bool,
    /// Folder of `libtorch_cuda.so`; `None`: where the loader finds it.
    pub library_path: Option<PathBuf>,
    pub precision: Precision,
    pub load_format: LoadFormat,
    /// Of random weights.
    pub seed: u64,
}

impl LoadOptions {
    pub fn from_config(config: &Config) -> Self {
        Self {
            device: config.torch.device.clone(),
            gpu: config.gpus.first().copied(),
            threads: config.torch.threads,
            cuda_graphs: config.torch.cuda_graphs,
            library_path: config.torch.library_path.as_ref().map(PathBuf::from),
            precision: config.fp_precision,
            load_format: config.load_format,
            seed: config.random_seed,
        }
    }
}

/// A loaded model.
#[derive(Debug)]
pub struct TorchEngine {
    model: Model,
    /// Absent where the weights are random and no tokenizer came with the shape.
    text: Option<Text>,
    place: Place,
    /// Of the last batch, for one of the same size.
    cache: Option<Cache>,
    /// Of `cache`.
    graphs: Option<Graphs>,
    cuda_graphs: bool,
    notes: Vec<Warning>,
    description: ModelDescription,
}

/// Loads a model; its weights are on the device afterwards.
pub fn load(files: &ModelFiles, options: &LoadOptions) -> Result<TorchEngine, EngineError> {
    let ModelFormat::Safetensors {
        config,
        weights: paths,
        tokenizer,
        tokenizer_config,
        generation_config,
    } = &files.format
    else {
        return Err(EngineError::new(
            format!(
                "the torch engine reads safetensors, but {} is a GGUF file",
                files.name
            ),
            "Name the model's folder with config.json and model.safetensors, or set backend to candle",
        ));
    };
    let place = Place::find(options)?;
    shim::prepare()?;
    if let Some(threads) = options.threads {
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
    }
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
    let mut plan = shape.plan(config)?;
    let dummy = options.load_format == LoadFormat::Dummy;
    let of_config = kind(options.precision).or(kind(shape.precision()));
    let model = if dummy {
        let target = Target {
            kind: of_config.unwrap_or(Kind::Float),
            device: place.device,
        };
        if !place.is_cuda() {
            check_memory(&plan, target.kind.elt_size_in_bytes() as u64)?;
        }
        tch::manual_seed(options.seed.cast_signed());
        weights::build(&plan, &Source::Random, &target)?
    } else {
        if text.is_none() {
            return Err(EngineError::new(
                format!("there is no tokenizer.json beside {}", config.display()),
                "Add the model's tokenizer.json",
            ));
        }
        let source = SafetensorsModel::open(paths, Precision::Auto)?;
        // transformers writes no second copy of shared embeddings, whatever the flag says.
        plan.tied |= !source.has("lm_head.weight");
        let stored = source
            .dtype("model.embed_tokens.weight")
            .and_then(weights::stored);
        let target = Target {
            kind: kind(options.precision)
                .or(stored)
                .or(of_config)
                .unwrap_or(Kind::Float),
            device: place.device,
        };
        weights::build(&plan, &Source::File(&source), &target)?
    };
    place.synchronize()?;
    let cuda_graphs = options.cuda_graphs && place.is_cuda();
    let description = describe::describe(files, &model, &place, cuda_graphs, dummy);
    Ok(TorchEngine {
        model,
        text,
        place,
        cache: None,
        graphs: None,
        cuda_graphs,
        notes: Vec::new(),
        description,
    })
}

fn kind(precision: Precision) -> Option<Kind> {
    match precision {
        Precision::Auto => None,
        Precision::Fp32 => Some(Kind::Float),
        Precision::Fp16 => Some(Kind::Half),
        Precision::Bf16 => Some(Kind::BFloat16),
    }
}

impl TorchEngine {
    fn text(&self) -> Result<&Text, EngineError> {
        self.text.as_ref().ok_or_else(|| {
            EngineError::new(
                "the model has no tokenizer (load_format is dummy), but a text is to be read",
                "Use prompts.type: synthetic, or add a tokenizer.json",
            )
        })
    }

    /// Room in the rotary tables.
    fn reserve_positions(&mut self, positions: usize) -> Result<(), EngineError> {
        if positions > self.model.tables.positions() {
            let model = &mut self.model;
            let positions = positions.next_power_of_two();
            model.tables = Tables::new(&model.rope, positions, model.kind, self.place.device)?;
            // They read the tables where they were.
            self.graphs = None;
        }
        Ok(())
    }

    /// The last batch's cache where it fits, else a new one.
    fn take_cache(&mut self, rows: usize, positions: usize) -> Result<Cache, EngineError> {
        if let Some(cache) = self.cache.take().filter(|c| c.fits(rows, positions)) {
            return Ok(cache);
        }
        self.graphs = None;
        let model = &self.model;
        Cache::new(&model.shape, rows, positions, model.kind, self.place.device)
    }

    /// The graphs of a cache that is about to change.
    fn forget_graphs(&mut self) -> Result<(), EngineError> {
        if self.graphs.is_some() {
            self.place.synchronize()?;
            self.graphs = None;
        }
        Ok(())
    }

    /// A step by CUDA graph; `None` where there are to be none. A graph that fails is told,
    /// and the run goes on without.
    fn graph_step(
        &mut self,
        cache: &mut Cache,
        tokens: &Tensor,
        positions: &[usize],
        begins: bool,
    ) -> Result<Option<Tensor>, EngineError> {
        if !self.cuda_graphs {
            return Ok(None);
        }
        let stepped = self.try_graph_step(cache, tokens, positions, begins);
        match stepped {
            Ok(logits) => Ok(Some(logits)),
            Err(error) => {
                self.cuda_graphs = false;
                self.graphs = None;
                // What is broken for good shows here, and not later under another name.
                self.place.synchronize()?;
                self.description.engine_version = self
                    .description
                    .engine_version
                    .replace("CUDA graphs", "eager");
                self.notes.push(Warning {
                    code: "torch.eager".into(),
                    message: format!("The run went on without CUDA graphs: {}", error.what),
                    remedy: "Set torch.cuda_graphs to false, so that all cycles are alike".into(),
                });
                Ok(None)
            }
        }
    }

    fn try_graph_step(
        &mut self,
        cache: &mut Cache,
        tokens: &Tensor,
        positions: &[usize],
        begins: bool,
    ) -> Result<Tensor, EngineError> {
        let mut graphs = match self.graphs.take() {
            Some(graphs) => graphs,
            None => {
                let mut graphs = Graphs::new(positions.len(), self.place.device)?;
                graphs.begin(positions)?;
                graphs
            }
        };
        if begins {
            graphs.begin(positions)?;
        }
        let furthest = positions.iter().copied().max().unwrap_or(0);
        let logits = graphs.step(&self.model, cache, &self.place, tokens, furthest)?;
        self.graphs = Some(graphs);
        Ok(logits)
    }
}

impl Engine for TorchEngine {
    fn describe(&self) -> &ModelDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // The device's own times: a CUDA event after each step.
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

    fn after_cycle(&mut self, _cycle: u32) -> Vec<Record> {
        self.notes.drain(..).map(Record::Warning).collect()
    }

    fn profile(
        &mut self,
        work: &Work,
        trace: &Path,
        cancel: &Cancel,
    ) -> Option<Result<Profile, EngineError>> {
        Some(profile::profile(self, work, trace, cancel))
    }

    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        score::score(self, tokens)
    }
}
