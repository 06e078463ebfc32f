//! What is known of a loaded model.

use std::collections::BTreeMap;

use super::matrix::{Matrix, Weights};
use super::{LoadOptions, Loaded};
use crate::config::LoadFormat;
use crate::engine::ModelDescription;
use crate::model::ModelFiles;

/// Of candle-core; a test holds it against the lock file.
pub const CANDLE_VERSION: &str = "0.11.1";

pub(super) fn describe(
    files: &ModelFiles,
    loaded: &Loaded,
    options: &LoadOptions,
    threads: usize,
) -> ModelDescription {
    let model = &loaded.model;
    let shape = &model.shape;
    let size = |v: usize| u32::try_from(v).ok();
    let norms = model.norm_elements() as u64;
    let parameters = model.matrices().map(Matrix::parameters).sum::<u64>() + norms;
    let weight_bytes = model.matrices().map(Matrix::bytes).sum::<u64>() + 4 * norms;
    // Embeddings that are the output matrix too do take part.
    let lookup = if model.head.is_some() {
        model.embeddings.parameters()
    } else {
        0
    };
    let held = model.matrices().filter_map(|matrix| match &matrix.weights {
        Weights::Float(float) => Some((float.type_name(), matrix.parameters())),
        Weights::Packed(_) => None,
    });
    // What is packed is known by the file's names for it, the rest by what it is now.
    let stored = loaded
        .types
        .iter()
        .copied()
        .filter(|(name, _)| name.starts_with('q'));
    ModelDescription {
        launch: None,
        name: files.name.clone(),
        architecture: Some(shape.architecture.clone()),
        parameters: Some(parameters),
        active_parameters: Some(parameters - lookup),
        layers: size(shape.layers),
        hidden_size: size(shape.hidden),
        intermediate_size: size(shape.intermediate),
        attention_heads: size(shape.heads),
        key_value_heads: size(shape.kv_heads),
        head_size: size(shape.head_size),
        vocabulary: size(shape.vocabulary),
        context_length: size(shape.context),
        tied_embeddings: Some(model.head.is_none()),
        weight_type: Some(summary(stored.chain(held))),
        compute_type: Some(summary(
            model.matrices().map(|m| (m.compute_type(), m.parameters())),
        )),
        weight_bytes: Some(weight_bytes),
        kv_bytes_per_token: Some(shape.kv_bytes_per_token()),
        engine: "candle".into(),
        engine_version: CANDLE_VERSION.into(),
        device: "cpu".into(),
        threads: size(threads),
        sha256: files.sha256.clone(),
        source: Some(files.source.clone()),
        random_weights: options.load_format == LoadFormat::Dummy,
    }
}

/// One name, or all of them with the commonest first.
fn summary<'a>(types: impl Iterator<Item = (&'a str, u64)>) -> String {
    let mut elements = BTreeMap::new();
    for (name, count) in types {
        *elements.entry(name).or_insert(0) += count;
    }
    let mut names: Vec<(&str, u64)> = elements.into_iter().collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let names: Vec<&str> = names.into_iter().map(|(name, _)| name).collect();
    match names.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("mixed ({})", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_lock_files() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = lock
            .split("[[package]]")
            .find(|entry| entry.contains("name = \"candle-core\""));
        assert!(entry.is_some_and(|e| e.contains(&format!("version = \"{CANDLE_VERSION}\""))));
    }

    #[test]
    fn the_commonest_type_comes_first() {
        assert_eq!(
            summary([("q8_0", 5), ("q4_1", 9)].into_iter()),
            "mixed (q4_1, q8_0)"
        );
        assert_eq!(summary([("bf16", 5), ("bf16", 9)].into_iter()), "bf16");
    }
}
