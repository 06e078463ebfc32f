//! Quantised weights, packed without loss into tiles that vector units like.
//!
//! candle's own kernel for `q4_1` and the `q5` types is a scalar loop, and its packed
//! ones keep the weights twice. Here every quantised type of ggml becomes codes, scales
//! and minima ([`gguf::Quantised`](super::super::gguf)), in tiles of eight rows:
//!
//! ```text
//! tile (8 rows) ─ group (16 or 32 inputs) ─ lane (32 bytes)
//!   lane of 4-bit codes: inputs 0..4 of each row in the low nibbles, 4..8 in the high
//!   lane of 8-bit codes: inputs 0..4 of each row
//!   scales, minima: one a row and group, the eight rows side by side
//! ```
//!
//! Eight rows side by side let one instruction multiply four inputs of all eight rows,
//! and their sums end in eight places of one register: nothing is added up across it.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::input::{Eighth, Row};
use super::kernel::{self, Vector};
use crate::engine::candle::gguf::{Block, Codes, Quantised};

/// Rows in a tile.
pub const TILE: usize = 8;

/// 32 bytes, aligned so that no load straddles two cache lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(32))]
pub struct Lane(pub [u8; 32]);

#[derive(Debug)]
pub struct Packed {
    n: usize,
    k: usize,
    group: usize,
    codes: Codes,
    lanes: Vec<Lane>,
    /// Scales, then minima (empty where the codes are signed).
    factors: Factors,
}

#[derive(Debug)]
enum Factors {
    /// Where halves hold them exactly, which they do for all but the K types.
    Half(Vec<f16>, Vec<f16>),
    Float(Vec<f32>, Vec<f32>),
}

impl Packed {
    /// Packs rows of blocks as they lie in a file: `n` rows of `k` elements.
    /// The caller has checked that `raw` is exactly that long.
    pub fn new(
        kind: &Quantised,
        block_elements: usize,
        block_bytes: usize,
        n: usize,
        k: usize,
        raw: &[u8],
    ) -> Self {
        let group = kind.group;
        let groups = k / group;
        let tiles = n.div_ceil(TILE);
        let lanes_per_tile = k * TILE / codes_per_lane(kind.codes);
        let signed = kind.codes == Codes::I8;
        let mut lanes = vec![Lane([0; 32]); tiles * lanes_per_tile];
        let mut scales = vec![0_f32; tiles * groups * TILE];
        let mut mins = vec![0_f32; if signed { 0 } else { scales.len() }];
        let row_bytes = k / block_elements * block_bytes;
        let fill = |tile: usize, lanes: &mut [Lane], scales: &mut [f32], mins: &mut [f32]| {
            let mut block = Block::default();
            for lane_row in 0..TILE.min(n - tile * TILE) {
                let row = &raw[(tile * TILE + lane_row) * row_bytes..][..row_bytes];
                for (b, bytes) in row.chunks_exact(block_bytes).enumerate() {
                    (kind.decode)(bytes, &mut block);
                    let first = b * block_elements;
                    put_codes(
                        kind.codes,
                        lanes,
                        lane_row,
                        first,
                        &block.codes[..block_elements],
                    );
                    for g in 0..block_elements / group {
                        let at = (first / group + g) * TILE + lane_row;
                        scales[at] = block.scales[g];
                        if !signed {
                            mins[at] = block.mins[g];
                        }
                    }
                }
            }
        };
        let parts = lanes
            .par_chunks_mut(lanes_per_tile)
            .zip(scales.par_chunks_mut(groups * TILE));
        if signed {
            parts
                .enumerate()
                .for_each(|(tile, (lanes, scales))| fill(tile, lanes, scales, &mut []));
        } else {
            parts
                .zip(mins.par_chunks_mut(groups * TILE))
                .enumerate()
                .for_each(|(tile, ((lanes, scales), mins))| fill(tile, lanes, scales, mins));
        }
        Self {
            n,
            k,
            group,
            codes: kind.codes,
            lanes,
            factors: Factors::new(scales, mins),
        }
    }

    /// Random codes: as fast as the real ones, and as wrong as any.
    pub fn random(
        kind: &Quantised,
        n: usize,
        k: usize,
        deviation: f32,
        rng: &mut impl rand::RngCore,
    ) -> Self {
        let tiles = n.div_ceil(TILE);
        let mut lanes = vec![Lane([0; 32]); tiles * k * TILE / codes_per_lane(kind.codes)];
        for lane in &mut lanes {
            rng.fill_bytes(&mut lane.0);
            if kind.codes == Codes::U5 {
                lane.0.iter_mut().for_each(|code| *code &= 31);
            }
        }
        // A uniform code over `levels` values deviates by levels / √12.
        let levels: f32 = match kind.codes {
            Codes::U4 => 16.0,
            Codes::U5 => 32.0,
            Codes::I8 => 256.0,
        };
        let scale = f16::from_f32(deviation * 12_f32.sqrt() / levels);
        let count = tiles * k / kind.group * TILE;
        let min = f16::from_f32(scale.to_f32() * (1.0 - levels) / 2.0);
        let mins = if kind.codes == Codes::I8 { 0 } else { count };
        Self {
            n,
            k,
            group: kind.group,
            codes: kind.codes,
            lanes,
            factors: Factors::Half(vec![scale; count], vec![min; mins]),
        }
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn k(&self) -> usize {
        self.k
    }

    pub(super) fn group(&self) -> usize {
        self.group
    }

    pub fn bytes(&self) -> usize {
        self.lanes.len() * 32
            + match &self.factors {
                Factors::Half(scales, mins) => (scales.len() + mins.len()) * 2,
                Factors::Float(scales, mins) => (scales.len() + mins.len()) * 4,
            }
    }

    /// Unpacks a row.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let (tile, lane_row) = (row / TILE, row % TILE);
        let lanes_per_tile = self.k * TILE / codes_per_lane(self.codes);
        let lanes = &self.lanes[tile * lanes_per_tile..][..lanes_per_tile];
        for (g, out) in out.chunks_mut(self.group).enumerate() {
            let at = (tile * self.k / self.group + g) * TILE + lane_row;
            let (scale, min) = self.factors.at(at);
            for (i, out) in out.iter_mut().enumerate() {
                let code = get_code(self.codes, lanes, lane_row, g * self.group + i);
                *out = code * scale + min;
            }
        }
    }

    pub(super) fn partial(
        &self,
        input: &Eighth,
        rows: std::ops::Range<usize>,
        from: usize,
        out: &mut [f32],
    ) {
        self.partial_with::<Vector>(input, rows, from, out);
    }

    /// Outputs `from..` (a whole tile's first) of some rows, on the given instructions.
    fn partial_with<I: kernel::Instructions>(
        &self,
        input: &Eighth,
        rows: std::ops::Range<usize>,
        from: usize,
        out: &mut [f32],
    ) {
        use kernel::{Five, Four, Signed};
        match (&self.factors, self.codes, self.group) {
            (Factors::Half(s, m), Codes::U4, 32) => {
                self.run::<I, Four<32>, _>(s, m, input, rows, from, out);
            }
            (Factors::Half(s, m), Codes::U4, _) => {
                self.run::<I, Four<16>, _>(s, m, input, rows, from, out);
            }
            (Factors::Half(s, m), Codes::U5, _) => {
                self.run::<I, Five, _>(s, m, input, rows, from, out);
            }
            (Factors::Half(s, m), Codes::I8, 32) => {
                self.run::<I, Signed<32>, _>(s, m, input, rows, from, out);
            }
            (Factors::Half(s, m), Codes::I8, _) => {
                self.run::<I, Signed<16>, _>(s, m, input, rows, from, out);
            }
            (Factors::Float(s, m), Codes::U4, 32) => {
                self.run::<I, Four<32>, _>(s, m, input, rows, from, out);
            }
            (Factors::Float(s, m), Codes::U4, _) => {
                self.run::<I, Four<16>, _>(s, m, input, rows, from, out);
            }
            (Factors::Float(s, m), Codes::U5, _) => {
                self.run::<I, Five, _>(s, m, input, rows, from, out);
            }
            (Factors::Float(s, m), Codes::I8, 32) => {
                self.run::<I, Signed<32>, _>(s, m, input, rows, from, out);
            }
            (Factors::Float(s, m), Codes::I8, _) => {
                self.run::<I, Signed<16>, _>(s, m, input, rows, from, out);
            }
        }
    }

    fn run<I: kernel::Instructions, L: kernel::Layout, F: kernel::Factor>(
        &self,
        scales: &[F],
        mins: &[F],
        input: &Eighth,
        rows: std::ops::Range<usize>,
        from: usize,
        out: &mut [f32],
    ) {
        let lanes_per_tile = self.k / self.group * L::LANES;
        let factors_per_tile = self.k / self.group * TILE;
        let width = out.len() / rows.len();
        let (mut scale_buffer, mut min_buffer) = (Vec::new(), Vec::new());
        for first in (0..width).step_by(TILE) {
            let tile = (from + first) / TILE;
            let lanes = &self.lanes[tile * lanes_per_tile..][..lanes_per_tile];
            let factors = tile * factors_per_tile..(tile + 1) * factors_per_tile;
            let scales = F::floats(&scales[factors.clone()], &mut scale_buffer);
            let mins = F::floats(mins.get(factors).unwrap_or_default(), &mut min_buffer);
            let used = TILE.min(width - first);
            let mut put = |row: usize, sums: [f32; TILE]| {
                let at = row * width + first;
                out[at..at + used].copy_from_slice(&sums[..used]);
            };
            let mut row = 0;
            while row < rows.len() {
                let input = |i: usize| -> Row<'_> { input.row(rows.start + row + i) };
                match rows.len() - row {
                    1 => {
                        let sums = I::tile::<1, L>(lanes, scales, mins, [input(0)]);
                        put(row, sums[0]);
                        row += 1;
                    }
                    2 | 3 => {
                        let sums = I::tile::<2, L>(lanes, scales, mins, [input(0), input(1)]);
                        sums.into_iter()
                            .enumerate()
                            .for_each(|(i, s)| put(row + i, s));
                        row += 2;
                    }
                    _ => {
                        let inputs = [input(0), input(1), input(2), input(3)];
                        let sums = I::tile::<4, L>(lanes, scales, mins, inputs);
                        sums.into_iter()
                            .enumerate()
                            .for_each(|(i, s)| put(row + i, s));
                        row += 4;
                    }
                }
            }
        }
    }

    /// The same on the instructions that every processor has, for the tests.
    #[cfg(test)]
    fn partial_portable(&self, input: &Eighth, rows: std::ops::Range<usize>, out: &mut [f32]) {
        self.partial_with::<kernel::Portable>(input, rows, 0, out);
    }
}

impl Factors {
    fn new(scales: Vec<f32>, mins: Vec<f32>) -> Self {
        let halves = |values: &[f32]| -> Option<Vec<f16>> {
            let mut halves = vec![f16::ZERO; values.len()];
            halves.convert_from_f32_slice(values);
            values
                .iter()
                .zip(&halves)
                .all(|(v, h)| v.to_bits() == h.to_f32().to_bits())
                .then_some(halves)
        };
        match (halves(&scales), halves(&mins)) {
            (Some(scales), Some(mins)) => Self::Half(scales, mins),
            _ => Self::Float(scales, mins),
        }
    }

    fn at(&self, at: usize) -> (f32, f32) {
        match self {
            Self::Half(scales, mins) => (
                scales[at].to_f32(),
                mins.get(at).map_or(0.0, |min| min.to_f32()),
            ),
            Self::Float(scales, mins) => (scales[at], mins.get(at).copied().unwrap_or(0.0)),
        }
    }
}

fn codes_per_lane(codes: Codes) -> usize {
    match codes {
        Codes::U4 => 64,
        Codes::U5 | Codes::I8 => 32,
    }
}

fn put_codes(kind: Codes, lanes: &mut [Lane], row: usize, first: usize, codes: &[u8]) {
    for (i, code) in codes.iter().enumerate() {
        let k = first + i;
        match kind {
            Codes::U4 => lanes[k / 8].0[row * 4 + k % 4] |= code << (k / 4 % 2 * 4),
            Codes::U5 | Codes::I8 => lanes[k / 4].0[row * 4 + k % 4] = *code,
        }
    }
}

fn get_code(kind: Codes, lanes: &[Lane], row: usize, k: usize) -> f32 {
    match kind {
        Codes::U4 => f32::from(lanes[k / 8].0[row * 4 + k % 4] >> (k / 4 % 2 * 4) & 15),
        Codes::U5 => f32::from(lanes[k / 4].0[row * 4 + k % 4]),
        Codes::I8 => f32::from(lanes[k / 4].0[row * 4 + k % 4] as i8),
    }
}

#[cfg(test)]
mod tests;
