//! What is known of a loaded model.

use tch::{Kind, Tensor};

use super::device::Place;
use super::model::{Linear, Model};
use super::shim;
use crate::engine::ModelDescription;
use crate::model::ModelFiles;

pub(super) fn describe(
    files: &ModelFiles,
    model: &Model,
    place: &Place,
    graphs: bool,
    random_weights: bool,
) -> ModelDescription {
    let shape = &model.shape;
    let size = |v: usize| u32::try_from(v).ok();
    let elements = |t: &Tensor| t.numel() as u64;
    let linear = |l: &Linear| elements(&l.weight) + l.bias.as_ref().map_or(0, elements);
    let layer: u64 = model.layers.first().map_or(0, |l| {
        elements(&l.attention_norm)
            + elements(&l.mlp_norm)
            // One weight for all heads of a kind, repeated in memory.
            + l.head_norm.as_ref().map_or(0, |_| 2 * shape.head_size as u64)
            + [&l.query_key_value, &l.output, &l.gate_up, &l.down].map(linear).iter().sum::<u64>()
    });
    let embeddings = elements(&model.embeddings);
    let head = if model.tied { 0 } else { linear(&model.head) };
    let parameters = layer * shape.layers as u64 + elements(&model.norm) + embeddings + head;
    let bytes_each = model.kind.elt_size_in_bytes() as u64;
    let name = type_name(model.kind);
    let how = match (place.is_cuda(), graphs) {
        (false, _) => "",
        (true, false) => " (eager)",
        (true, true) => " (CUDA graphs)",
    };
    ModelDescription {
        name: files.name.clone(),
        architecture: Some(shape.architecture.clone()),
        parameters: Some(parameters),
        // Embeddings that are the output matrix too do take part.
        active_parameters: Some(parameters - if model.tied { 0 } else { embeddings }),
        layers: size(shape.layers),
        hidden_size: size(shape.hidden),
        intermediate_size: size(shape.intermediate),
        attention_heads: size(shape.heads),
        key_value_heads: size(shape.kv_heads),
        head_size: size(shape.head_size),
        vocabulary: size(shape.vocabulary),
        context_length: size(shape.context),
        tied_embeddings: Some(model.tied),
        weight_type: Some(name.into()),
        compute_type: Some(name.into()),
        weight_bytes: Some(parameters * bytes_each),
        kv_bytes_per_token: Some(2 * (shape.layers * shape.kv_size()) as u64 * bytes_each),
        engine: "torch".into(),
        engine_version: format!("{}{how}", shim::version()),
        device: place.name(),
        threads: u32::try_from(tch::get_num_threads()).ok(),
        sha256: files.sha256.clone(),
        source: Some(files.source.clone()),
        launch: None,
        random_weights,
    }
}

pub fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Half => "f16",
        Kind::BFloat16 => "bf16",
        _ => "f32",
    }
}
