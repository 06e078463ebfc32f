//! Who generates tokens. The only file here with feature switches.

#[cfg(any(feature = "candle", feature = "torch"))]
mod admit;
mod api;
#[cfg(feature = "candle")]
pub mod candle;
pub mod list;
pub mod server;
#[cfg(feature = "torch")]
pub mod torch;
pub mod worker;

pub use api::*;

use crate::config::{Backend, Config, Ecosystem};
use crate::model::ModelFiles;

/// Backends that this build can run, as [`Backend::as_str`] spells them.
pub const BUILT: &[&str] = &[
    #[cfg(feature = "candle")]
    "candle",
    #[cfg(feature = "torch")]
    "torch",
    "vllm",
    "tensorrt-llm",
    "sglang",
    "llama.cpp",
    "tgi",
    "ollama",
    "openai",
    "transformers",
    "worker",
];

/// Whether lem finds the model's files itself. Servers and workers do it themselves, but for
/// a worker's single file, and a llama.cpp that lem launches: it takes a file.
pub fn opens_files(config: &Config) -> bool {
    match config.backend {
        Backend::Candle | Backend::Torch => true,
        Backend::LlamaCpp => config.server.url.is_none(),
        _ => worker::fetched_by_lem(config),
    }
}

/// Loads the model in the configured engine, or attaches to a server that has it.
/// `files` is there where [`opens_files`] says so.
pub fn open(
    config: &Config,
    files: Option<&ModelFiles>,
    ecosystem: &Ecosystem,
) -> Result<Box<dyn Engine>, EngineError> {
    match config.backend {
        #[cfg(feature = "candle")]
        Backend::Candle => {
            let options = candle::LoadOptions::from_config(config);
            Ok(Box::new(candle::load(found(config, files)?, &options)?))
        }
        #[cfg(feature = "torch")]
        Backend::Torch => {
            let options = torch::LoadOptions::from_config(config);
            Ok(Box::new(torch::load(found(config, files)?, &options)?))
        }
        Backend::Transformers | Backend::Worker => Ok(Box::new(worker::open(config, files)?)),
        backend if backend.is_server() => Ok(Box::new(server::open(config, files, ecosystem)?)),
        other => {
            let _ = files;
            Err(EngineError::new(
                format!("This build of lem has no {} engine", Backend::as_str(other)),
                format!("Choose one of these for `backend`: {}", BUILT.join(", ")),
            ))
        }
    }
}

/// The files of an engine that opens them.
#[allow(dead_code, reason = "a build may have no such engine")]
fn found<'a>(
    config: &Config,
    files: Option<&'a ModelFiles>,
) -> Result<&'a ModelFiles, EngineError> {
    files.ok_or_else(|| {
        EngineError::new(
            format!("The {} engine was given no model", config.backend.as_str()),
            "Set model_name",
        )
    })
}
