//! Models that are on this machine already.

use std::path::{Path, PathBuf};

use crate::engine::EngineError;

use super::ModelFormat;
use super::choose::{Store, collect};
use super::disk::cannot;

/// A folder has a few dozen files; one with more is not a model's.
const MOST_FILES: usize = 10_000;

/// The model in a folder, or the one that a file is.
pub(crate) fn find(path: &Path, shape_only: bool) -> Result<ModelFormat, EngineError> {
    let meta = std::fs::metadata(path).map_err(|error| cannot("read", path, &error))?;
    if meta.is_dir() {
        return collect(&mut Folder::read(path)?, None, shape_only);
    }
    let refuse = |why: &str| {
        EngineError::new(
            format!("{} {why}", path.display()),
            "Give a GGUF file, a safetensors file that has its config.json beside it, or the folder of a model",
        )
    };
    if !meta.is_file() {
        return Err(refuse("is neither a file nor a folder"));
    }
    if meta.len() == 0 {
        return Err(refuse("is empty"));
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().and_then(|name| name.to_str());
    match path.extension().and_then(|end| end.to_str()) {
        Some("gguf" | "safetensors") => collect(&mut Folder::read(folder)?, name, false),
        // a blob of the hub's cache has no ending; the first four bytes tell
        _ if starts_with_gguf(path) => Ok(ModelFormat::Gguf(path.to_owned())),
        _ => Err(refuse("is no model file that lem reads")),
    }
}

fn starts_with_gguf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut magic))
        .is_ok_and(|()| &magic == b"GGUF")
}

struct Folder {
    path: PathBuf,
    names: Vec<String>,
}

impl Folder {
    fn read(path: &Path) -> Result<Self, EngineError> {
        let entries = std::fs::read_dir(path).map_err(|error| cannot("read", path, &error))?;
        let mut names: Vec<String> = entries
            .take(MOST_FILES)
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(Self {
            path: path.to_owned(),
            names,
        })
    }
}

impl Store for Folder {
    fn what(&self) -> String {
        self.path.display().to_string()
    }

    fn names(&self) -> &[String] {
        &self.names
    }

    fn get(&mut self, name: &str) -> Result<PathBuf, EngineError> {
        let path = self.path.join(name);
        std::fs::metadata(&path).map_err(|error| cannot("read", &path, &error))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::ModelFormat;
    use super::find;

    #[test]
    fn a_folder_and_its_file_are_the_same_model() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::write(at(name), b"x").unwrap();
        }
        let expected = ModelFormat::Safetensors {
            config: at("config.json"),
            weights: vec![at("model.safetensors")],
            tokenizer: Some(at("tokenizer.json")),
            tokenizer_config: None,
            generation_config: None,
        };
        assert_eq!(find(folder.path(), false).unwrap(), expected);
        assert_eq!(find(&at("model.safetensors"), false).unwrap(), expected);
    }

    #[test]
    fn a_gguf_is_known_by_its_name_or_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [("m.gguf", b"GGUFx"), ("blob", b"GGUFx")] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            assert_eq!(find(&path, false).unwrap(), ModelFormat::Gguf(path));
        }
    }

    #[test]
    fn what_is_no_model_is_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let error = |name: &str| find(&at(name), false).unwrap_err().to_string();
        fs::write(at("empty.gguf"), b"").unwrap();
        fs::write(at("notes.txt"), b"hello").unwrap();
        fs::write(at("lonely.safetensors"), b"x").unwrap();
        fs::create_dir(at("sub")).unwrap();
        assert!(error("empty.gguf").contains("is empty"));
        assert!(error("notes.txt").contains("no model file"));
        assert!(error("lonely.safetensors").contains("config.json"));
        assert!(error("sub").contains("holds no model"));
        assert!(error("nowhere").contains("Check the path"));
        std::os::unix::fs::symlink(at("gone"), at("dangling.gguf")).unwrap();
        assert!(error("dangling.gguf").contains("cannot be read"));
    }
}
