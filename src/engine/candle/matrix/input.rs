//! Activations, and their 8-bit form for the packed matrices.

use rayon::prelude::*;

use super::Weights;
use crate::engine::candle::vector;

/// Rows of activations, with the forms that the matrices need made once.
#[derive(Debug)]
pub struct Input<'a> {
    values: &'a [f32],
    k: usize,
    /// For groups of 16, and of 32.
    quantised: [Option<Eighth>; 2],
}

/// Activations in signed bytes: element `p` of a row is `code[p] · scale[p / group]`.
#[derive(Debug)]
pub(super) struct Eighth {
    group: usize,
    /// Words of a row.
    words: usize,
    /// Four codes a word, lowest byte first.
    pub(super) codes: Vec<i32>,
    pub(super) scales: Vec<f32>,
    /// The sum of a group's elements as quantised, for the minima of the weights.
    pub(super) sums: Vec<f32>,
}

/// One row of [`Eighth`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub codes: &'a [i32],
    pub scales: &'a [f32],
    pub sums: &'a [f32],
}

impl<'a> Input<'a> {
    pub fn new(values: &'a [f32], k: usize) -> Self {
        Self {
            values,
            k,
            quantised: [None, None],
        }
    }

    pub fn rows(&self) -> usize {
        self.values.len() / self.k
    }

    pub fn k(&self) -> usize {
        self.k
    }

    pub(super) fn values(&self) -> &[f32] {
        self.values
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.k..][..self.k]
    }

    pub(super) fn prepare(&mut self, weights: &Weights) {
        if let Weights::Packed(w) = weights {
            let slot = &mut self.quantised[w.group() / 32];
            if slot.is_none() {
                *slot = Some(Eighth::new(self.values, self.k, w.group()));
            }
        }
    }

    pub(super) fn quantised(&self, group: usize) -> &Eighth {
        match &self.quantised[group / 32] {
            Some(eighth) => eighth,
            // `multiply` prepares for every matrix before it starts any.
            None => unreachable!("the input was not prepared for groups of {group}"),
        }
    }
}

impl Eighth {
    fn new(values: &[f32], k: usize, group: usize) -> Self {
        let rows = values.len() / k;
        let (words, groups) = (k / 4, k / group);
        let mut this = Self {
            group,
            words,
            codes: vec![0; rows * words],
            scales: vec![0.0; rows * groups],
            sums: vec![0.0; rows * groups],
        };
        let outputs = this
            .codes
            .par_chunks_mut(words)
            .zip(this.scales.par_chunks_mut(groups))
            .zip(this.sums.par_chunks_mut(groups));
        values
            .par_chunks(k)
            .zip(outputs)
            // Few rows are not worth waking a thread for.
            .with_min_len(8)
            .for_each(|(values, ((codes, scales), sums))| {
                quantise(values, group, codes, scales, sums);
            });
        this
    }

    pub(super) fn row(&self, row: usize) -> Row<'_> {
        let groups = self.words * 4 / self.group;
        Row {
            codes: &self.codes[row * self.words..][..self.words],
            scales: &self.scales[row * groups..][..groups],
            sums: &self.sums[row * groups..][..groups],
        }
    }
}

fn quantise(values: &[f32], group: usize, codes: &mut [i32], scales: &mut [f32], sums: &mut [f32]) {
    let groups = values.chunks(group).zip(codes.chunks_mut(group / 4));
    for ((values, codes), (scale, sum)) in groups.zip(scales.iter_mut().zip(sums)) {
        let largest = vector::largest_magnitude(values);
        *scale = largest / 127.0;
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let mut total = 0_i32;
        let (words, _) = values.as_chunks::<4>();
        for (word, code) in words.iter().zip(codes) {
            // Within ±127 by construction; NaN becomes 0 here and stays in the scale.
            let bytes = word.map(|v| (v * inverse).round_ties_even() as i8);
            total += bytes.iter().map(|&b| i32::from(b)).sum::<i32>();
            *code = i32::from_le_bytes(bytes.map(|b| b as u8));
        }
        *sum = *scale * total as f32;
    }
}
