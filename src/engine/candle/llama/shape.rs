//! The numbers that make a model of the family.

use super::rope::Rope;
use crate::engine::admit::Limits;

#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// `llama`, `mistral`, `qwen2`.
    pub architecture: String,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_size: usize,
    pub vocabulary: usize,
    pub context: usize,
    pub norm_epsilon: f32,
}

/// Bounds that no model of the family comes near; they keep products of sizes from
/// overflowing and a hostile file from asking for absurd memory.
const MAX_SIZE: usize = 1 << 20;
const MAX_LAYERS: usize = 1 << 10;
const MAX_VOCABULARY: usize = 1 << 24;
const MAX_CONTEXT: usize = 1 << 26;

impl Shape {
    pub const fn limits(&self) -> Limits {
        Limits {
            vocabulary: self.vocabulary,
            context: self.context,
        }
    }

    pub fn query_size(&self) -> usize {
        self.heads * self.head_size
    }

    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// Query heads that share a key and value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Of the cache: keys and values of all layers, in `f32`.
    pub fn kv_bytes_per_token(&self) -> u64 {
        (2 * self.layers * self.kv_size() * size_of::<f32>()) as u64
    }

    /// What is wrong with these numbers, if anything.
    pub fn check(&self, rope: &Rope) -> Result<(), String> {
        let sizes = [
            ("hidden size", self.hidden, MAX_SIZE),
            ("intermediate size", self.intermediate, MAX_SIZE),
            ("number of layers", self.layers, MAX_LAYERS),
            ("number of attention heads", self.heads, MAX_SIZE),
            ("number of key-value heads", self.kv_heads, MAX_SIZE),
            ("head size", self.head_size, MAX_SIZE),
            ("vocabulary", self.vocabulary, MAX_VOCABULARY),
            ("context length", self.context, MAX_CONTEXT),
        ];
        for (what, size, max) in sizes {
            if size == 0 || size > max {
                return Err(format!("its {what} is {size}, not 1 to {max}"));
            }
        }
        if self.heads * self.head_size > MAX_SIZE {
            return Err("its attention heads together are absurdly large".into());
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!(
                "its {} attention heads cannot share {} key-value heads evenly",
                self.heads, self.kv_heads
            ));
        }
        if !self.head_size.is_multiple_of(super::attention::BLOCK) {
            return Err(format!(
                "its head size {} is not a multiple of {}",
                self.head_size,
                super::attention::BLOCK
            ));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return Err(format!(
                "its normalisation epsilon is {}, not between 0 and 1",
                self.norm_epsilon
            ));
        }
        rope.check(self.head_size)
    }
}
