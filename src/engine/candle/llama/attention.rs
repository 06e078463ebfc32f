//! Causal attention of each sequence over its own cache.
//!
//! Query heads that share a key and value head are taken together, four rows of queries
//! at a time, against panels of 16 positions: the keys and values are read once for them.

use rayon::prelude::*;
use wide::f32x8;

use super::{Cache, Segment, Shape};
use crate::engine::candle::vector;

/// Positions of a panel; head sizes are a multiple of it.
pub const BLOCK: usize = 16;
/// Rows of queries in one kernel.
const ROWS: usize = 4;
/// Query rows that one task takes.
const ROWS_PER_TASK: usize = 16;
/// Products below which a second thread costs more than it brings.
const WORTH_A_THREAD: usize = 1 << 15;

/// The work of one task: some rows of one sequence, for all heads or for one key-value head.
struct Task<'a> {
    cache: &'a Cache,
    /// Of the first row.
    position: usize,
    queries: &'a [f32],
    /// Key-value heads.
    heads: std::ops::Range<usize>,
    out: &'a mut [f32],
}

/// `queries` and `out` are rows of all heads, for the segments in turn.
pub(super) fn attend(
    shape: &Shape,
    layer: usize,
    segments: &[Segment],
    caches: &[Cache],
    queries: &[f32],
    out: &mut [f32],
) {
    let width = shape.query_size();
    let of_head = shape.group() * shape.head_size;
    let (mut queries, mut out) = (queries, out);
    let mut tasks = Vec::new();
    let mut work = 0;
    for segment in segments {
        let rows;
        (rows, queries) = queries.split_at(segment.length * width);
        let to;
        (to, out) = out.split_at_mut(segment.length * width);
        work += segment.length * (segment.position + segment.length) * width;
        // A single row is shared among the threads by head, more rows by row: either way a
        // task writes one piece of memory.
        let piece = if segment.length == 1 {
            of_head
        } else {
            ROWS_PER_TASK * width
        };
        for (i, (queries, out)) in rows.chunks(piece).zip(to.chunks_mut(piece)).enumerate() {
            let one_head = segment.length == 1;
            tasks.push(Task {
                cache: &caches[segment.cache],
                position: segment.position + if one_head { 0 } else { i * ROWS_PER_TASK },
                queries,
                heads: if one_head {
                    i..i + 1
                } else {
                    0..shape.kv_heads
                },
                out,
            });
        }
    }
    if work < WORTH_A_THREAD {
        let mut scores = Vec::new();
        for task in tasks {
            run(shape, layer, task, &mut scores);
        }
    } else {
        tasks
            .into_par_iter()
            .with_max_len(1)
            .for_each_init(Vec::new, |scores, task| run(shape, layer, task, scores));
    }
}

fn run(shape: &Shape, layer: usize, task: Task, scores: &mut Vec<f32>) {
    let size = shape.head_size;
    let group = shape.group();
    let width = task.heads.len() * group * size;
    let rows = task.queries.len() / width;
    let scale = 1.0 / (size as f32).sqrt();
    let mut sums = vec![0.0; ROWS * size];
    for (h, head) in task.heads.clone().enumerate() {
        // A row here is one position of one query head.
        let all = rows * group;
        for first in (0..all).step_by(ROWS) {
            let used = ROWS.min(all - first);
            // Where rows are missing the last is computed again and thrown away.
            let at: [usize; ROWS] = std::array::from_fn(|r| {
                let row = first + r.min(used - 1);
                (row / group) * width + (h * group + row % group) * size
            });
            let queries = at.map(|at| &task.queries[at..at + size]);
            let last = task.position + (first + used - 1) / group;
            let stride = (last + 1).next_multiple_of(BLOCK);
            scores.clear();
            scores.resize(ROWS * stride, 0.0);
            let panels = stride / BLOCK;
            for (p, (keys, _)) in task.cache.panels(layer, head).take(panels).enumerate() {
                let mut block = [[f32x8::splat(0.0); 2]; ROWS];
                multiply(queries, keys, BLOCK, &mut block);
                for (r, block) in block.iter().enumerate() {
                    store(&mut scores[r * stride + p * BLOCK..], *block, scale);
                }
            }
            for (r, scores) in scores.chunks_mut(stride).enumerate() {
                let seen = task.position + (first + r.min(used - 1)) / group + 1;
                vector::softmax(&mut scores[..seen]);
                scores[seen..].fill(0.0);
            }
            sums.fill(0.0);
            for (p, (_, values)) in task.cache.panels(layer, head).take(panels).enumerate() {
                let weights: [&[f32]; ROWS] =
                    std::array::from_fn(|r| &scores[r * stride + p * BLOCK..][..BLOCK]);
                for column in (0..size).step_by(BLOCK) {
                    let mut block: [[f32x8; 2]; ROWS] =
                        std::array::from_fn(|r| load(&sums[r * size + column..]));
                    multiply(weights, &values[column..], size, &mut block);
                    for (r, block) in block.iter().enumerate() {
                        store(&mut sums[r * size + column..], *block, 1.0);
                    }
                }
            }
            for (at, sums) in at.iter().zip(sums.chunks(size)).take(used) {
                task.out[*at..at + size].copy_from_slice(sums);
            }
        }
    }
}

/// `out[r] += Σ a[r][i] · b[i · stride .. + 16]`.
#[inline(always)]
fn multiply(a: [&[f32]; ROWS], b: &[f32], stride: usize, out: &mut [[f32x8; 2]; ROWS]) {
    let length = a[0].len();
    let a = a.map(|a| &a[..length]);
    for i in 0..length {
        let [low, high] = load(&b[i * stride..]);
        for (out, a) in out.iter_mut().zip(a) {
            let a = f32x8::splat(a[i]);
            out[0] = a.mul_add(low, out[0]);
            out[1] = a.mul_add(high, out[1]);
        }
    }
}

#[inline(always)]
fn load(from: &[f32]) -> [f32x8; 2] {
    let (halves, _) = from[..BLOCK].as_chunks::<8>();
    [f32x8::from(halves[0]), f32x8::from(halves[1])]
}

#[inline(always)]
fn store(to: &mut [f32], values: [f32x8; 2], scale: f32) {
    let (halves, _) = to[..BLOCK].as_chunks_mut::<8>();
    halves[0] = (values[0] * scale).to_array();
    halves[1] = (values[1] * scale).to_array();
}
