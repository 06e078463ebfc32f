//! Weight matrices, and products with them.
//!
//! Activations are row-major `f32`; a matrix has `n` outputs and `k` inputs and lies
//! row-major as checkpoints have it, so `out[i][j] = Σ x[i][p] · w[j][p]`. Each row's
//! result depends on that row alone: which sequences share a batch changes no token.

mod float;
mod input;
mod kernel;
mod packed;

pub use float::Float;
pub use input::Input;
pub use packed::Packed;

use rayon::prelude::*;

/// From this many rows on, threads share the rows instead of the outputs.
const MANY_ROWS: usize = 48;
/// Rows that one task takes through all weights.
const ROWS_PER_TASK: usize = 16;
/// Tasks a thread, so that a slow thread does not hold the others up.
const TASKS_PER_THREAD: usize = 3;

#[derive(Debug)]
pub struct Matrix {
    pub weights: Weights,
    pub bias: Option<Vec<f32>>,
}

#[derive(Debug)]
pub enum Weights {
    Packed(Packed),
    Float(Float),
}

impl Matrix {
    /// Outputs.
    pub fn n(&self) -> usize {
        match &self.weights {
            Weights::Packed(w) => w.n(),
            Weights::Float(w) => w.n(),
        }
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        match &self.weights {
            Weights::Packed(w) => w.k(),
            Weights::Float(w) => w.k(),
        }
    }

    pub fn bytes(&self) -> u64 {
        let weights = match &self.weights {
            Weights::Packed(w) => w.bytes(),
            Weights::Float(w) => w.bytes(),
        };
        (weights + self.bias.as_ref().map_or(0, |b| b.len() * 4)) as u64
    }

    pub fn parameters(&self) -> u64 {
        (self.n() * self.k() + self.bias.as_ref().map_or(0, Vec::len)) as u64
    }

    /// Type that products are computed in.
    pub fn compute_type(&self) -> &'static str {
        match &self.weights {
            Weights::Packed(_) => "int8",
            Weights::Float(_) => "f32",
        }
    }

    /// Unpacks one row of weights: an embedding.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        match &self.weights {
            Weights::Packed(w) => w.row(row, out),
            Weights::Float(w) => w.row(row, out),
        }
    }
}

/// Several matrices with the same input, in one go of the thread pool.
pub fn multiply(
    input: &mut Input,
    products: &mut [(&Matrix, &mut [f32])],
) -> Result<(), candle_core::Error> {
    let m = input.rows();
    for (matrix, out) in products.iter() {
        assert_eq!(matrix.k(), input.k(), "inputs of a matrix");
        assert_eq!(matrix.n() * m, out.len(), "outputs of a matrix");
        input.prepare(&matrix.weights);
    }
    let input = &*input;
    if m == 1 {
        multiply_row(input, products);
    } else {
        for (matrix, out) in products.iter_mut() {
            match &matrix.weights {
                Weights::Float(w) if m >= float::GEMM_ROWS => w.gemm(input, out)?,
                weights => multiply_rows(weights, input, out),
            }
        }
    }
    for (matrix, out) in products {
        if let Some(bias) = &matrix.bias {
            for row in out.chunks_mut(bias.len()) {
                crate::engine::candle::vector::add(row, bias);
            }
        }
    }
    Ok(())
}

impl Weights {
    /// Outputs `from..` of rows `rows.start..` for as many as `out` holds, row-major.
    fn partial(&self, input: &Input, rows: std::ops::Range<usize>, from: usize, out: &mut [f32]) {
        match self {
            Self::Packed(w) => w.partial(input.quantised(w.group()), rows, from, out),
            Self::Float(w) => w.partial(input, rows, from, out),
        }
    }
}

/// How many outputs a task takes: whole tiles.
fn columns_per_task(n: usize) -> usize {
    n.div_ceil(rayon::current_num_threads() * TASKS_PER_THREAD)
        .next_multiple_of(packed::TILE)
}

fn multiply_row(input: &Input, products: &mut [(&Matrix, &mut [f32])]) {
    let columns = columns_per_task(products.iter().map(|(m, _)| m.n()).sum());
    let tasks: Vec<_> = products
        .iter_mut()
        .flat_map(|(matrix, out)| {
            let weights = &matrix.weights;
            out.chunks_mut(columns)
                .enumerate()
                .map(move |(i, out)| (weights, i * columns, out))
        })
        .collect();
    tasks
        .into_par_iter()
        .for_each(|(weights, from, out)| weights.partial(input, 0..1, from, out));
}

fn multiply_rows(weights: &Weights, input: &Input, out: &mut [f32]) {
    let m = input.rows();
    let n = out.len() / m;
    if m >= MANY_ROWS {
        out.par_chunks_mut(ROWS_PER_TASK * n)
            .enumerate()
            .for_each(|(i, out)| {
                let first = i * ROWS_PER_TASK;
                weights.partial(input, first..first + out.len() / n, 0, out);
            });
        return;
    }
    // Few rows: every weight is read once, so the threads share the outputs, which do not
    // lie together; each task has its own piece.
    let columns = columns_per_task(n);
    let pieces: Vec<Vec<f32>> = (0..n.div_ceil(columns))
        .into_par_iter()
        .map(|i| {
            let width = columns.min(n - i * columns);
            let mut piece = vec![0.0; m * width];
            weights.partial(input, 0..m, i * columns, &mut piece);
            piece
        })
        .collect();
    for (i, piece) in pieces.iter().enumerate() {
        let width = piece.len() / m;
        for (row, piece) in out.chunks_mut(n).zip(piece.chunks(width)) {
            row[i * columns..][..width].copy_from_slice(piece);
        }
    }
}
