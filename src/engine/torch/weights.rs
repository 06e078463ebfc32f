//! From a checkpoint, or from random numbers, to the model on the device.
//!
//! Matrices that the model multiplies as one are put together when they are loaded, each
//! tensor read and sent on its own, so that the host never holds more than one.

use safetensors::Dtype;
use tch::{Device, Kind, Tensor};

use super::failure::Doing;
use super::model::{Layer, Linear, Model};
use super::tables::Tables;
use crate::engine::EngineError;
use crate::engine::candle::weights::{Part, Plan, Role, SafetensorsModel, name};

/// Positions that the rotary tables start with; they grow with the longest request.
const FIRST_POSITIONS: usize = 4096;
/// Standard deviation of random weights, as transformers initialises the family.
const DEVIATION: f64 = 0.02;

/// Where tensors come from.
pub enum Source<'a> {
    File(&'a SafetensorsModel),
    Random,
}

pub struct Target {
    pub kind: Kind,
    pub device: Device,
}

impl Target {
    fn empty(&self, size: &[i64]) -> Result<Tensor, EngineError> {
        Tensor::f_empty(size, (self.kind, self.device)).doing("making room for the weights")
    }
}

/// A part of a matrix or vector: its tensor's name and its rows.
type Piece = (String, usize);

pub fn build(plan: &Plan, source: &Source<'_>, target: &Target) -> Result<Model, EngineError> {
    let shape = &plan.shape;
    let (hidden, inner) = (shape.hidden, shape.intermediate);
    let (queries, kv) = (shape.query_size(), shape.kv_size());
    let weight = |role: Role| format!("{}.weight", name(role));
    let linear = |parts: &[(Role, usize)], k: usize, bias: bool| -> Result<Linear, EngineError> {
        let named = |end: &str| -> Vec<Piece> {
            let of = |&(role, rows): &(Role, usize)| (format!("{}.{end}", name(role)), rows);
            parts.iter().map(of).collect()
        };
        let matrix = matrix(source, target, &named("weight"), Some(k))?;
        let bias = bias
            .then(|| match source {
                Source::File(_) => self::matrix(source, target, &named("bias"), None),
                Source::Random => filled(target, parts.iter().map(|(_, n)| *n).sum(), 0.0),
            })
            .transpose()?;
        Ok(Linear {
            weight: matrix.f_transpose(0, 1).doing("turning the weights")?,
            bias,
        })
    };
    let norm = |name: String, size: usize| match source {
        Source::File(_) => matrix(source, target, &[(name, size)], None),
        Source::Random => filled(target, size, 1.0),
    };
    let mut layers = Vec::with_capacity(shape.layers);
    for i in 0..shape.layers {
        let at = |part| Role::Layer(i, part);
        let bias = plan.attention_bias;
        let head_norm = if plan.head_norm {
            let size = shape.head_size;
            let of = |which: &str, heads: usize| -> Result<Tensor, EngineError> {
                norm(
                    format!("model.layers.{i}.self_attn.{which}_norm.weight"),
                    size,
                )?
                .f_reshape([1, size as i64])
                .and_then(|t| t.f_repeat([heads as i64, 1]))
                .doing("preparing the norms of the heads")
            };
            let parts = [of("q", shape.heads)?, of("k", shape.kv_heads)?];
            Some(Tensor::f_cat(&parts, 0).doing("preparing the norms of the heads")?)
        } else {
            None
        };
        layers.push(Layer {
            attention_norm: norm(weight(at(Part::AttentionNorm)), hidden)?,
            query_key_value: linear(
                &[
                    (at(Part::Query), queries),
                    (at(Part::Key), kv),
                    (at(Part::Value), kv),
                ],
                hidden,
                bias.query_key_value,
            )?,
            head_norm,
            output: linear(&[(at(Part::Output), hidden)], queries, bias.output)?,
            mlp_norm: norm(weight(at(Part::MlpNorm)), hidden)?,
            gate_up: linear(
                &[(at(Part::Gate), inner), (at(Part::Up), inner)],
                hidden,
                plan.mlp_bias,
            )?,
            down: linear(&[(at(Part::Down), hidden)], inner, plan.mlp_bias)?,
        });
    }
    let vocabulary = shape.vocabulary;
    let embeddings = matrix(
        source,
        target,
        &[(weight(Role::Embeddings), vocabulary)],
        Some(hidden),
    )?;
    let head = if plan.tied {
        Linear {
            weight: embeddings.f_transpose(0, 1).doing("turning the weights")?,
            bias: None,
        }
    } else {
        linear(&[(Role::Head, vocabulary)], hidden, false)?
    };
    let positions = FIRST_POSITIONS.min(shape.context);
    Ok(Model {
        shape: shape.clone(),
        tables: Tables::new(&plan.rope, positions, target.kind, target.device)?,
        rope: plan.rope.clone(),
        kind: target.kind,
        shares_heads: target.device.is_cuda() && target.kind != Kind::Float,
        embeddings,
        layers,
        norm: norm(weight(Role::Norm), hidden)?,
        head,
        tied: plan.tied,
    })
}

/// Pieces one below the other, `k` wide (a vector without).
fn matrix(
    source: &Source<'_>,
    target: &Target,
    pieces: &[Piece],
    k: Option<usize>,
) -> Result<Tensor, EngineError> {
    let rows: usize = pieces.iter().map(|(_, rows)| rows).sum();
    let size = |rows: usize| -> Vec<usize> { std::iter::once(rows).chain(k).collect() };
    let whole: Vec<i64> = size(rows).iter().map(|&n| n as i64).collect();
    let mut whole = target.empty(&whole)?;
    match source {
        Source::Random => {
            let _ = whole
                .f_normal_(0.0, DEVIATION)
                .doing("drawing random weights")?;
        }
        Source::File(file) => {
            let mut row = 0;
            for (name, rows) in pieces {
                let piece = tensor(file, name, &size(*rows))?;
                whole
                    .f_narrow(0, row, *rows as i64)
                    .and_then(|mut place| place.f_copy_(&piece))
                    .doing("loading the weights")?;
                row += *rows as i64;
            }
        }
    }
    Ok(whole)
}

fn filled(target: &Target, size: usize, value: f64) -> Result<Tensor, EngineError> {
    Tensor::f_full([size as i64], value, (target.kind, target.device))
        .doing("making room for the weights")
}

/// One tensor of the file, in the file's type.
fn tensor(file: &SafetensorsModel, name: &str, shape: &[usize]) -> Result<Tensor, EngineError> {
    let (dtype, raw) = file.raw(name, shape)?;
    let kind = stored(dtype).ok_or_else(|| {
        EngineError::new(
            format!("the tensor {name} has the type {dtype:?}"),
            "The torch engine reads F32, F16 and BF16; use the unquantised model",
        )
    })?;
    let size: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
    Tensor::f_from_data_size(&raw, &size, kind).doing("loading the weights")
}

pub fn stored(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::F16 => Some(Kind::Half),
        Dtype::BF16 => Some(Kind::BFloat16),
        _ => None,
    }
}
