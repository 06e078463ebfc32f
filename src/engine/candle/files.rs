//! Small files beside the weights.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::engine::EngineError;

/// A `tokenizer.json` of a quarter million words has about 40 MB.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, EngineError> {
    let bytes = read_bounded(path, MAX_FILE_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        EngineError::new(
            format!("{} cannot be understood: {error}", path.display()),
            "Download the file again",
        )
    })
}

/// Reads a whole file of at most `max` bytes.
pub fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, EngineError> {
    let cannot = |error: std::io::Error| {
        EngineError::new(
            format!("cannot read {}: {error}", path.display()),
            "Check the path and its permissions",
        )
    };
    let file = File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > max {
        return Err(EngineError::new(
            format!("{} is larger than {max} bytes", path.display()),
            "Check that it is the right file",
        ));
    }
    Ok(bytes)
}
