//! The prompts' texts: where they come from, and which are taken.

mod choose;
mod column;
mod file;
mod hub;
mod jsonl;
mod lines;
mod parquet;
mod splits;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{Config, Prompts, PromptsKind};
use crate::engine::EngineError;
use crate::model::{Options, Progress};

use choose::Chooser;
use column::Column;

use super::seed::{Purpose, rng};

/// Chosen texts; none for synthetic prompts, whose tokens only the engine can tell.
#[derive(Clone, PartialEq)]
pub struct Gathered {
    pub(super) source: Source,
    pub(super) texts: Vec<Arc<str>>,
    /// Rows without a text.
    pub(super) skipped: u64,
}

impl fmt::Debug for Gathered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Gathered({} texts of {:?})",
            self.texts.len(),
            self.source
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Inline,
    Synthetic {
        seed: u64,
    },
    File {
        path: String,
        column: Option<String>,
    },
    Hub {
        dataset: String,
        subset: Option<String>,
        split: String,
        commit: String,
        column: Option<String>,
    },
}

impl Source {
    pub fn name(&self) -> String {
        match self {
            Self::Inline => "inline".to_owned(),
            Self::Synthetic { .. } => "synthetic".to_owned(),
            Self::File { path, .. } => {
                let name = Path::new(path)
                    .file_stem()
                    .map(|stem| stem.to_string_lossy());
                name.unwrap_or_default().into_owned()
            }
            Self::Hub { dataset, .. } => dataset.clone(),
        }
    }

    pub fn column(&self) -> &str {
        match self {
            Self::File { column, .. } | Self::Hub { column, .. } => {
                column.as_deref().unwrap_or("text")
            }
            Self::Inline | Self::Synthetic { .. } => "text",
        }
    }

    /// The word that MLflow has for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Inline | Self::Synthetic { .. } => "code",
            Self::File { .. } => "local",
            Self::Hub { .. } => "hf",
        }
    }

    pub fn json(&self) -> Value {
        match self {
            Self::Inline => json!({"tags": {"lem.prompts": "inline"}}),
            Self::Synthetic { seed } => {
                json!({"tags": {"lem.prompts": "synthetic", "lem.seed": seed.to_string()}})
            }
            Self::File { path, .. } => json!({"uri": path}),
            Self::Hub {
                dataset,
                subset,
                split,
                commit,
                ..
            } => json!({
                "path": dataset,
                "config_name": subset,
                "split": split,
                "revision": commit,
                "data_dir": null,
                "data_files": null,
            }),
        }
    }
}

/// Reads as much of the source as is needed for `num_input_prompts` texts. Needs no
/// engine: it can be done, and can fail, before the model is loaded.
pub fn gather(
    config: &Config,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Gathered, EngineError> {
    let prompts = &config.prompts;
    let seed = prompts.seed.unwrap_or(config.random_seed);
    let mut column = Column::new(prompts.column.as_deref());
    let mut chooser = Chooser::new(
        config.num_input_prompts as usize,
        prompts.sample_size.map(u64::from),
        prompts.shuffle.then(|| rng(seed, Purpose::Choice)),
    );
    let source = match kind(prompts) {
        PromptsKind::Synthetic => Source::Synthetic { seed },
        PromptsKind::Inline => {
            for text in &prompts.texts {
                if chooser.offer(text)?.is_break() {
                    break;
                }
            }
            Source::Inline
        }
        PromptsKind::File => {
            let path = given(prompts.path.as_deref(), "prompts.path", "file")?;
            file::read(Path::new(path), &mut column, &mut chooser)?;
            Source::File {
                path: path.to_owned(),
                column: column.found(),
            }
        }
        PromptsKind::Huggingface => {
            let dataset = given(prompts.dataset.as_deref(), "prompts.dataset", "huggingface")?;
            let commit = hub::read(
                dataset,
                prompts,
                options,
                &mut column,
                &mut chooser,
                progress,
            )?;
            Source::Hub {
                dataset: dataset.to_owned(),
                subset: prompts.subset.clone(),
                split: prompts.split.clone(),
                commit,
                column: column.found(),
            }
        }
    };
    let (texts, skipped) = chooser.finish();
    if texts.is_empty() && !matches!(source, Source::Synthetic { .. }) {
        return Err(EngineError::new(
            match source {
                Source::Inline => "prompts.texts holds no prompt".to_owned(),
                Source::File { path, .. } => format!("{path} holds no prompt"),
                _ => format!(
                    "The dataset {} holds no prompt in split {}",
                    source.name(),
                    prompts.split
                ),
            },
            "Give at least one that is not empty",
        ));
    }
    Ok(Gathered {
        source,
        texts,
        skipped,
    })
}

/// What is given says what is meant.
fn kind(prompts: &Prompts) -> PromptsKind {
    prompts.kind.unwrap_or({
        if !prompts.texts.is_empty() {
            PromptsKind::Inline
        } else if prompts.path.is_some() {
            PromptsKind::File
        } else if prompts.dataset.is_some() {
            PromptsKind::Huggingface
        } else {
            PromptsKind::Synthetic
        }
    })
}

fn given<'a>(value: Option<&'a str>, key: &str, kind: &str) -> Result<&'a str, EngineError> {
    value
        .filter(|value| !value.trim().is_empty())
        .ok_or_else(|| {
            EngineError::new(
                format!("prompts.type is {kind}, but {key} is not given"),
                format!("Set {key}"),
            )
        })
}
