//! The transformer, in few and fused operators.
//!
//! Rows are tokens: hidden states are a matrix, so that every product is one `mm`, the
//! products of queries, keys and values are one, those of gate and up are one, and the
//! residual is added within the product that comes before it.

use tch::{Kind, Tensor};

use super::cache::Cache;
use super::failure::Doing;
use super::tables::Tables;
use crate::engine::EngineError;
use crate::engine::candle::llama::{Rope, Shape};

/// A matrix of weights, transposed (a view), with its bias.
#[derive(Debug)]
pub struct Linear {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

#[derive(Debug)]
pub struct Layer {
    pub attention_norm: Tensor,
    pub query_key_value: Linear,
    /// Of each query and key head (Qwen 3): heads × head size.
    pub head_norm: Option<Tensor>,
    pub output: Linear,
    pub mlp_norm: Tensor,
    pub gate_up: Linear,
    pub down: Linear,
}

#[derive(Debug)]
pub struct Model {
    pub shape: Shape,
    pub rope: Rope,
    pub kind: Kind,
    /// Fused attention shares key heads between query heads by itself (CUDA, 16 bits).
    pub shares_heads: bool,
    pub embeddings: Tensor,
    pub layers: Vec<Layer>,
    pub norm: Tensor,
    pub head: Linear,
    /// The head is the embeddings.
    pub tied: bool,
    pub tables: Tables,
}

/// What a pass does with the cache.
pub enum Keep<'a> {
    /// Prompts of one length: written from `row` on, if anywhere.
    Prompt(Option<(&'a mut Cache, usize)>),
    /// One token of each row.
    Next(&'a mut Cache, &'a Positions),
}

/// Where the next token of each row stands.
#[derive(Debug)]
pub enum Positions {
    /// All at the same place: no mask, and only what is there is read.
    Same(i64),
    /// Each at its own, on the device; `mask` hides what lies behind it.
    Each {
        at: Tensor,
        rows: Tensor,
        length: i64,
        mask: Tensor,
    },
}

impl Linear {
    fn of(&self, x: &Tensor) -> Result<Tensor, tch::TchError> {
        match &self.bias {
            None => x.f_mm(&self.weight),
            Some(bias) => bias.f_addmm(x, &self.weight),
        }
    }

    /// `hidden += x · weight`, in the product itself.
    fn add_to(&self, hidden: &mut Tensor, x: &Tensor) -> Result<(), tch::TchError> {
        let _ = hidden.f_addmm_(x, &self.weight)?;
        if let Some(bias) = &self.bias {
            let _ = hidden.f_add_(bias)?;
        }
        Ok(())
    }
}

impl Model {
    /// Hidden states of `tokens` (sequences × tokens each), one row a token, before the
    /// last norm.
    pub fn pass(&self, tokens: &Tensor, mut keep: Keep<'_>) -> Result<Tensor, EngineError> {
        self.try_pass(tokens, &mut keep).doing("in a forward pass")
    }

    /// Logits of rows of hidden states.
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, EngineError> {
        self.normed(hidden, &self.norm)
            .and_then(|x| self.head.of(&x))
            .doing("computing logits")
    }

    fn try_pass(&self, tokens: &Tensor, keep: &mut Keep<'_>) -> Result<Tensor, tch::TchError> {
        let (sequences, length) = tokens.size2()?;
        let flat = tokens.f_view([-1])?;
        let mut hidden = Tensor::f_embedding(&self.embeddings, &flat, -1, false, false)?;
        let angles = self.angles(keep, length)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let x = self.normed(&hidden, &layer.attention_norm)?;
            let x = layer.query_key_value.of(&x)?;
            let x = self.attention(layer, index, &x, (sequences, length), &angles, keep)?;
            layer.output.add_to(&mut hidden, &x)?;
            let x = self.normed(&hidden, &layer.mlp_norm)?;
            let x = layer.gate_up.of(&x)?;
            let width = self.shape.intermediate as i64;
            let gate = x.f_narrow(1, 0, width)?.f_silu()?;
            let x = gate.f_mul(&x.f_narrow(1, width, width)?)?;
            layer.down.add_to(&mut hidden, &x)?;
        }
        Ok(hidden)
    }

    fn normed(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor, tch::TchError> {
        x.f_rms_norm(
            [self.shape.hidden as i64],
            Some(weight),
            f64::from(self.shape.norm_epsilon),
        )
    }

    /// Cosines and sines, shaped to go with sequences × tokens × heads × head size.
    fn angles(&self, keep: &Keep<'_>, length: i64) -> Result<(Tensor, Tensor), tch::TchError> {
        let size = self.shape.head_size as i64;
        let rows = |table: &Tensor| match keep {
            Keep::Prompt(_) => table.f_narrow(0, 0, length)?.f_view([1, length, 1, size]),
            Keep::Next(_, Positions::Same(at)) => {
                table.f_narrow(0, *at, 1)?.f_view([1, 1, 1, size])
            }
            Keep::Next(_, Positions::Each { at, .. }) => {
                table.f_index_select(0, at)?.f_view([-1, 1, 1, size])
            }
        };
        Ok((rows(&self.tables.cos)?, rows(&self.tables.sin)?))
    }

    fn attention(
        &self,
        layer: &Layer,
        index: usize,
        x: &Tensor,
        (sequences, length): (i64, i64),
        (cos, sin): &(Tensor, Tensor),
        keep: &mut Keep<'_>,
    ) -> Result<Tensor, tch::TchError> {
        let shape = &self.shape;
        let (heads, kv, size) = (
            shape.heads as i64,
            shape.kv_heads as i64,
            shape.head_size as i64,
        );
        let x = x.f_view([sequences, length, heads + 2 * kv, size])?;
        let mut turning = x.f_narrow(2, 0, heads + kv)?;
        let values = x.f_narrow(2, heads + kv, kv)?;
        if let Some(weight) = &layer.head_norm {
            let epsilon = f64::from(shape.norm_epsilon);
            turning = turning
                .f_rms_norm([size], None::<&Tensor>, epsilon)?
                .f_mul(weight)?;
        }
        let swapped = turning.f_roll([size / 2], [-1])?;
        let turned = turning.f_mul(cos)?.f_addcmul(&swapped, sin)?;
        let queries = turned.f_narrow(2, 0, heads)?;
        let keys = turned.f_narrow(2, heads, kv)?;
        let out = match keep {
            Keep::Prompt(cache) => {
                let [queries, keys, values] = [queries, keys, values].map(|t| t.f_transpose(1, 2));
                let (queries, keys, values) = (queries?, keys?, values?);
                if let Some((cache, row)) = cache {
                    let row = *row as i64;
                    for (kept, new) in
                        [(&cache.keys[index], &keys), (&cache.values[index], &values)]
                    {
                        kept.f_narrow(0, row, sequences)?
                            .f_narrow(2, 0, length)?
                            .f_copy_(new)?;
                    }
                }
                self.prompt_attention(&queries, &keys, &values, length > 1)?
                    .f_transpose(1, 2)?
            }
            Keep::Next(cache, positions) => {
                let (mask, seen) = match positions {
                    Positions::Same(at) => {
                        for (kept, new) in
                            [(&cache.keys[index], &keys), (&cache.values[index], &values)]
                        {
                            kept.f_narrow(2, *at, 1)?.f_copy_(&new.f_transpose(1, 2)?)?;
                        }
                        (None, at + 1)
                    }
                    Positions::Each {
                        at,
                        rows,
                        length,
                        mask,
                    } => {
                        for (kept, new) in [
                            (&mut cache.keys[index], &keys),
                            (&mut cache.values[index], &values),
                        ] {
                            let places = [Some(rows), None, Some(at)];
                            let _ = kept.f_index_put_(&places, &new.f_squeeze_dim(1)?, false)?;
                        }
                        (Some(mask), *length)
                    }
                };
                // The query heads that share a key head stand in for a length of queries:
                // nothing is copied to share it, and all of them see the same positions.
                let queries = queries.f_view([sequences, kv, heads / kv, size])?;
                Tensor::f_scaled_dot_product_attention(
                    &queries,
                    &cache.keys[index].f_narrow(2, 0, seen)?,
                    &cache.values[index].f_narrow(2, 0, seen)?,
                    mask,
                    0.0,
                    false,
                    None,
                    false,
                )?
            }
        };
        out.f_reshape([sequences * length, heads * size])
    }

    fn prompt_attention(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        causal: bool,
    ) -> Result<Tensor, tch::TchError> {
        let group = self.shape.group() as i64;
        let attend = |keys: &Tensor, values: &Tensor, shared: bool| {
            let mask = None::<&Tensor>;
            Tensor::f_scaled_dot_product_attention(
                queries, keys, values, mask, 0.0, causal, None, shared,
            )
        };
        if group == 1 || self.shares_heads {
            return attend(keys, values, group > 1);
        }
        // Elsewhere the fused kernels want as many key heads as query heads.
        let spread = |t: &Tensor| t.f_repeat_interleave_self_int(group, 1, None);
        attend(&spread(keys)?, &spread(values)?, false)
    }
}
