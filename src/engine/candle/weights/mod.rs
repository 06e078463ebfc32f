//! Where a model's tensors come from, and how they become a [`Model`].

mod dummy;
mod gguf;
mod safetensors;

pub use dummy::Dummy;
pub use gguf::{GgufModel, Placement};
#[allow(unused_imports, reason = "the torch engine asks for tensors by name")]
pub use safetensors::name;
pub use safetensors::{SafetensorsModel, SafetensorsShape};

use super::llama::{Layer, Model, Rope, Shape};
use super::matrix::Matrix;
use crate::engine::EngineError;

/// What a checkpoint says about the model, before any weight is read.
#[derive(Clone, Debug)]
pub struct Plan {
    pub shape: Shape,
    pub rope: Rope,
    /// Whether the embeddings serve as the output matrix.
    pub tied: bool,
    /// Which of the optional vectors there are.
    pub attention_bias: AttentionBias,
    pub mlp_bias: bool,
    /// Queries and keys are normalised head by head.
    pub head_norm: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttentionBias {
    pub query_key_value: bool,
    pub output: bool,
}

/// The place of a tensor in a model of the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Embeddings,
    Head,
    Norm,
    Layer(usize, Part),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    AttentionNorm,
    Query,
    Key,
    Value,
    Output,
    MlpNorm,
    Gate,
    Up,
    Down,
}

/// A checkpoint.
pub trait Source {
    fn matrix(&mut self, role: Role, n: usize, k: usize) -> Result<Matrix, EngineError>;
    /// The bias of a matrix.
    fn bias(&mut self, role: Role, n: usize) -> Result<Vec<f32>, EngineError>;
    fn vector(&mut self, role: Role, n: usize) -> Result<Vec<f32>, EngineError>;
}

pub fn build(plan: &Plan, source: &mut dyn Source) -> Result<Model, EngineError> {
    let shape = &plan.shape;
    let (hidden, intermediate) = (shape.hidden, shape.intermediate);
    let (queries, kv) = (shape.query_size(), shape.kv_size());
    let mut layers = Vec::with_capacity(shape.layers);
    for i in 0..shape.layers {
        let bias = plan.attention_bias;
        let mut matrix = |part, n, k, bias| -> Result<Matrix, EngineError> {
            let mut matrix = source.matrix(Role::Layer(i, part), n, k)?;
            if bias {
                matrix.bias = Some(source.bias(Role::Layer(i, part), n)?);
            }
            Ok(matrix)
        };
        let query = matrix(Part::Query, queries, hidden, bias.query_key_value)?;
        let key = matrix(Part::Key, kv, hidden, bias.query_key_value)?;
        let value = matrix(Part::Value, kv, hidden, bias.query_key_value)?;
        let output = matrix(Part::Output, hidden, queries, bias.output)?;
        let gate = matrix(Part::Gate, intermediate, hidden, plan.mlp_bias)?;
        let up = matrix(Part::Up, intermediate, hidden, plan.mlp_bias)?;
        let down = matrix(Part::Down, hidden, intermediate, plan.mlp_bias)?;
        layers.push(Layer {
            attention_norm: source.vector(Role::Layer(i, Part::AttentionNorm), hidden)?,
            query,
            key,
            value,
            output,
            mlp_norm: source.vector(Role::Layer(i, Part::MlpNorm), hidden)?,
            gate,
            up,
            down,
        });
    }
    Ok(Model {
        shape: shape.clone(),
        rope: plan.rope.clone(),
        embeddings: source.matrix(Role::Embeddings, shape.vocabulary, hidden)?,
        layers,
        norm: source.vector(Role::Norm, hidden)?,
        head: if plan.tied {
            None
        } else {
            Some(source.matrix(Role::Head, shape.vocabulary, hidden)?)
        },
    })
}

/// Refuses random weights that the machine's memory cannot hold, before they are made.
pub fn check_memory(plan: &Plan, bytes_each: u64) -> Result<(), EngineError> {
    let shape = &plan.shape;
    let layer = shape.hidden * (2 * shape.query_size() + 2 * shape.kv_size())
        + 3 * shape.hidden * shape.intermediate;
    let tables = if plan.tied { 1 } else { 2 };
    // The shape's bounds keep this far from overflow.
    let parameters =
        layer as u64 * shape.layers as u64 + tables * shape.vocabulary as u64 * shape.hidden as u64;
    let needed = parameters.saturating_mul(bytes_each);
    let info = rustix::system::sysinfo();
    let memory = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    if needed > memory {
        return Err(EngineError::new(
            format!(
                "the model's {parameters} parameters take {} GiB, and this machine has {} GiB",
                needed >> 30,
                memory >> 30
            ),
            "Choose a smaller model or a smaller fp_precision",
        ));
    }
    Ok(())
}
