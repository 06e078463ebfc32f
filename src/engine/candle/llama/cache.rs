//! Keys and values of one sequence.
//!
//! In panels of 16 positions, so that the cache grows without moving what is in it, and
//! so that attention reads 16 positions (keys) or 16 elements (values) at a time:
//!
//! ```text
//! keys:   layer ─ panel ─ head ─ element ─ 16 positions
//! values: layer ─ panel ─ head ─ 16 positions ─ element
//! ```

use super::Shape;
use super::attention::BLOCK;

#[derive(Debug)]
pub struct Cache {
    layers: Vec<LayerCache>,
    kv_size: usize,
    head_size: usize,
}

#[derive(Debug, Default)]
struct LayerCache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Cache {
    /// Reserves room for `positions`, which takes memory only as it is used.
    pub fn new(shape: &Shape, positions: usize) -> Result<Self, String> {
        let floats = positions.div_ceil(BLOCK) * BLOCK * shape.kv_size();
        let mut layers = Vec::with_capacity(shape.layers);
        for _ in 0..shape.layers {
            let mut layer = LayerCache::default();
            layer
                .keys
                .try_reserve_exact(floats)
                .and_then(|()| layer.values.try_reserve_exact(floats))
                .map_err(|_| {
                    format!(
                        "there is no memory for {positions} positions of the key-value cache \
                         ({} MiB)",
                        (shape.kv_bytes_per_token() * positions as u64) >> 20
                    )
                })?;
            layers.push(layer);
        }
        Ok(Self {
            layers,
            kv_size: shape.kv_size(),
            head_size: shape.head_size,
        })
    }

    /// Makes room for positions up to `positions`.
    pub(super) fn extend(&mut self, positions: usize) {
        let floats = positions.div_ceil(BLOCK) * BLOCK * self.kv_size;
        for layer in &mut self.layers {
            layer.keys.resize(floats, 0.0);
            layer.values.resize(floats, 0.0);
        }
    }

    /// Writes rows from `position` on.
    pub(super) fn append(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        let (width, size) = (self.kv_size, self.head_size);
        let layer = &mut self.layers[layer];
        for (i, (key, value)) in keys.chunks(width).zip(values.chunks(width)).enumerate() {
            let (panel, slot) = ((position + i) / BLOCK, (position + i) % BLOCK);
            let panel = panel * BLOCK * width..(panel + 1) * BLOCK * width;
            let heads = layer.keys[panel.clone()].chunks_mut(BLOCK * size);
            for (to, key) in heads.zip(key.chunks(size)) {
                for (to, key) in to.chunks_mut(BLOCK).zip(key) {
                    to[slot] = *key;
                }
            }
            let heads = layer.values[panel].chunks_mut(BLOCK * size);
            for (to, value) in heads.zip(value.chunks(size)) {
                to[slot * size..][..size].copy_from_slice(value);
            }
        }
    }

    /// The panels of a head: keys and values.
    pub(super) fn panels(
        &self,
        layer: usize,
        head: usize,
    ) -> impl Iterator<Item = (&[f32], &[f32])> {
        let (panel, part) = (BLOCK * self.kv_size, BLOCK * self.head_size);
        let layer = &self.layers[layer];
        let part = head * part..(head + 1) * part;
        let values = layer.values.chunks(panel);
        layer
            .keys
            .chunks(panel)
            .zip(values)
            .map(move |(keys, values)| (&keys[part.clone()], &values[part.clone()]))
    }
}
