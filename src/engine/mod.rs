//! Who generates tokens. The only file here with feature switches.

mod api;
#[cfg(feature = "candle")]
pub mod candle;

pub use api::*;

use crate::config::{Backend, Config};
use crate::model::ModelFiles;

/// Backends that this build can run, as [`Backend::as_str`] spells them.
pub const BUILT: &[&str] = &[
    #[cfg(feature = "candle")]
    "candle",
];

/// Loads the model in the configured engine.
pub fn open(config: &Config, files: &ModelFiles) -> Result<Box<dyn Engine>, EngineError> {
    match config.backend {
        #[cfg(feature = "candle")]
        Backend::Candle => {
            let options = candle::LoadOptions::from_config(config);
            Ok(Box::new(candle::load(files, &options)?))
        }
        other => {
            let _ = files;
            Err(EngineError::new(
                format!("This build of lem has no {} engine", Backend::as_str(other)),
                format!("Choose one of these for `backend`: {}", BUILT.join(", ")),
            ))
        }
    }
}
