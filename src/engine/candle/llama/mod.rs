//! A decoder-only transformer of the Llama family, run on ragged batches.
//!
//! A step takes any number of tokens of any sequences, packed one after the other: no
//! padding, no mask but the causal one. The matrices see all rows together; attention
//! sees each sequence alone.

mod attention;
mod cache;
mod rope;
mod shape;

use rayon::prelude::*;

pub use cache::Cache;
pub use rope::{Rope, RopeScaling};
pub use shape::Shape;

use super::matrix::{Input, Matrix, multiply};
use super::vector;

/// Rows below which the short loops stay on one thread.
const PARALLEL_ROWS: usize = 16;

#[derive(Debug)]
pub struct Model {
    pub shape: Shape,
    pub rope: Rope,
    pub embeddings: Matrix,
    pub layers: Vec<Layer>,
    pub norm: Vec<f32>,
    /// `None`: the embeddings serve as the output matrix too.
    pub head: Option<Matrix>,
}

#[derive(Debug)]
pub struct Layer {
    pub attention_norm: Vec<f32>,
    pub query: Matrix,
    pub key: Matrix,
    pub value: Matrix,
    pub output: Matrix,
    pub mlp_norm: Vec<f32>,
    pub gate: Matrix,
    pub up: Matrix,
    pub down: Matrix,
}

/// The rows of one sequence in a step: its tokens at `position..position + length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index into the caches.
    pub cache: usize,
    pub position: usize,
    pub length: usize,
}

/// Memory that steps share, so that a step allocates little.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The residual stream; after a step, what the last layer left.
    hidden: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    angles: Vec<(f32, f32)>,
    logits: Vec<f32>,
}

impl Model {
    /// Runs `tokens`, which belong to `segments` in turn, through all layers and
    /// appends them to the caches.
    pub fn step(
        &self,
        tokens: &[u32],
        segments: &[Segment],
        caches: &mut [Cache],
        scratch: &mut Scratch,
    ) -> Result<(), candle_core::Error> {
        let shape = &self.shape;
        let rows = tokens.len();
        let s = scratch;
        fit(&mut s.hidden, rows * shape.hidden);
        fit(&mut s.normed, rows * shape.hidden);
        fit(&mut s.query, rows * shape.query_size());
        fit(&mut s.key, rows * shape.kv_size());
        fit(&mut s.value, rows * shape.kv_size());
        fit(&mut s.mixed, rows * shape.query_size());
        fit(&mut s.gate, rows * shape.intermediate);
        fit(&mut s.up, rows * shape.intermediate);
        for (token, out) in tokens.iter().zip(s.hidden.chunks_mut(shape.hidden)) {
            self.embeddings.row(*token as usize, out);
        }
        self.rope.angles(segments, &mut s.angles);
        for segment in segments {
            caches[segment.cache].extend(segment.position + segment.length);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(index, layer, segments, caches, s)?;
            self.mlp(layer, s)?;
        }
        Ok(())
    }

    fn attention(
        &self,
        index: usize,
        layer: &Layer,
        segments: &[Segment],
        caches: &mut [Cache],
        s: &mut Scratch,
    ) -> Result<(), candle_core::Error> {
        let shape = &self.shape;
        self.norm_rows(&s.hidden, &layer.attention_norm, &mut s.normed);
        multiply(
            &mut Input::new(&s.normed, shape.hidden),
            &mut [
                (&layer.query, &mut s.query),
                (&layer.key, &mut s.key),
                (&layer.value, &mut s.value),
            ],
        )?;
        self.rope
            .rotate(&mut s.query, shape.query_size(), &s.angles);
        self.rope.rotate(&mut s.key, shape.kv_size(), &s.angles);
        let mut first = 0;
        for segment in segments {
            let rows = first * shape.kv_size()..(first + segment.length) * shape.kv_size();
            caches[segment.cache].append(
                index,
                segment.position,
                &s.key[rows.clone()],
                &s.value[rows],
            );
            first += segment.length;
        }
        attention::attend(shape, index, segments, caches, &s.query, &mut s.mixed);
        // `normed` is free again: it takes what attention adds to the residual stream.
        multiply(
            &mut Input::new(&s.mixed, shape.query_size()),
            &mut [(&layer.output, &mut s.normed)],
        )?;
        vector::add(&mut s.hidden, &s.normed);
        Ok(())
    }

    fn mlp(&self, layer: &Layer, s: &mut Scratch) -> Result<(), candle_core::Error> {
        let shape = &self.shape;
        self.norm_rows(&s.hidden, &layer.mlp_norm, &mut s.normed);
        multiply(
            &mut Input::new(&s.normed, shape.hidden),
            &mut [(&layer.gate, &mut s.gate), (&layer.up, &mut s.up)],
        )?;
        let rows = s.hidden.len() / shape.hidden;
        if rows < PARALLEL_ROWS {
            vector::silu_times(&mut s.gate, &s.up);
        } else {
            s.gate
                .par_chunks_mut(shape.intermediate)
                .zip(s.up.par_chunks(shape.intermediate))
                .for_each(|(gate, up)| vector::silu_times(gate, up));
        }
        multiply(
            &mut Input::new(&s.gate, shape.intermediate),
            &mut [(&layer.down, &mut s.normed)],
        )?;
        vector::add(&mut s.hidden, &s.normed);
        Ok(())
    }

    fn norm_rows(&self, from: &[f32], weight: &[f32], to: &mut [f32]) {
        let width = weight.len();
        for (from, to) in from.chunks(width).zip(to.chunks_mut(width)) {
            vector::rms_norm(from, weight, self.shape.norm_epsilon, to);
        }
    }

    /// Scores of the next token after each of some rows of the last step, row after row.
    pub fn logits<'a>(
        &self,
        rows: &[usize],
        scratch: &'a mut Scratch,
    ) -> Result<&'a mut [f32], candle_core::Error> {
        let shape = &self.shape;
        let s = scratch;
        fit(&mut s.normed, rows.len() * shape.hidden);
        fit(&mut s.logits, rows.len() * shape.vocabulary);
        for (row, out) in rows.iter().zip(s.normed.chunks_mut(shape.hidden)) {
            let hidden = &s.hidden[row * shape.hidden..][..shape.hidden];
            vector::rms_norm(hidden, &self.norm, shape.norm_epsilon, out);
        }
        multiply(
            &mut Input::new(&s.normed, shape.hidden),
            &mut [(
                self.head.as_ref().unwrap_or(&self.embeddings),
                &mut s.logits,
            )],
        )?;
        Ok(&mut s.logits)
    }

    /// Every matrix with its role, for counting.
    pub fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let layers = self.layers.iter().flat_map(|l| {
            [
                &l.query, &l.key, &l.value, &l.output, &l.gate, &l.up, &l.down,
            ]
        });
        layers.chain([&self.embeddings]).chain(&self.head)
    }

    /// Elements of the vectors of normalisation.
    pub fn norm_elements(&self) -> usize {
        let layers = self.layers.iter();
        self.norm.len()
            + layers
                .map(|l| l.attention_norm.len() + l.mlp_norm.len())
                .sum::<usize>()
    }
}

fn fit(buffer: &mut Vec<f32>, length: usize) {
    buffer.resize(length, 0.0);
}
