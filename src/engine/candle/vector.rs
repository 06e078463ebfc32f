//! Short loops over slices of floats that the rest of the engine is made of.

use wide::f32x8;

fn splits(slice: &[f32]) -> (impl Iterator<Item = f32x8>, &[f32]) {
    let (wide, rest) = slice.as_chunks::<8>();
    (wide.iter().map(|&c| f32x8::from(c)), rest)
}

pub fn largest_magnitude(values: &[f32]) -> f32 {
    let (wide, rest) = splits(values);
    let most = wide.fold(f32x8::splat(0.0), |most, v| most.fast_max(v.abs()));
    let most = most.to_array().into_iter().fold(0.0, f32::max);
    rest.iter().fold(most, |most, v| most.max(v.abs()))
}

pub fn add(to: &mut [f32], other: &[f32]) {
    for (to, other) in to.iter_mut().zip(other) {
        *to += other;
    }
}

/// Root-mean-square normalisation of one row: `x / √(mean(x²) + ε) · weight`.
pub fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let (wide, rest) = splits(x);
    let sum = wide.fold(f32x8::splat(0.0), |sum, v| v.mul_add(v, sum));
    let squares = sum.reduce_add() + rest.iter().map(|v| v * v).sum::<f32>();
    let scale = 1.0 / (squares / x.len() as f32 + epsilon).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

/// `gate = gate / (1 + e^-gate) · up`: SiLU, then the product with the other branch.
pub fn silu_times(gate: &mut [f32], up: &[f32]) {
    let (wide, rest) = gate.as_chunks_mut::<8>();
    let (wide_up, rest_up) = up.as_chunks::<8>();
    for (gate, up) in wide.iter_mut().zip(wide_up) {
        let x = f32x8::from(*gate);
        *gate = (x / ((-x).exp() + 1.0) * f32x8::from(*up)).to_array();
    }
    for (gate, up) in rest.iter_mut().zip(rest_up) {
        *gate = *gate / ((-*gate).exp() + 1.0) * up;
    }
}

/// Turns scores into weights that sum to 1.
pub fn softmax(scores: &mut [f32]) {
    let most = largest(scores);
    let mut sum = f32x8::splat(0.0);
    let (wide, rest) = scores.as_chunks_mut::<8>();
    for chunk in &mut *wide {
        let v = (f32x8::from(*chunk) - most).exp();
        sum += v;
        *chunk = v.to_array();
    }
    let mut sum = sum.reduce_add();
    for v in &mut *rest {
        *v = (*v - most).exp();
        sum += *v;
    }
    let inverse = 1.0 / sum;
    for v in scores {
        *v *= inverse;
    }
}

pub fn largest(values: &[f32]) -> f32 {
    let (wide, rest) = splits(values);
    let most = wide.fold(f32x8::splat(f32::NEG_INFINITY), f32x8::fast_max);
    let most = most
        .to_array()
        .into_iter()
        .fold(f32::NEG_INFINITY, f32::max);
    rest.iter().fold(most, |most, &v| most.max(v))
}

/// `ln Σ e^x`, without overflow. The sum is taken in `f64`.
pub fn log_sum_exp(values: &[f32]) -> f64 {
    let most = largest(values);
    let (wide, rest) = splits(values);
    let mut sum = 0.0_f64;
    for v in wide {
        sum += f64::from((v - most).exp().reduce_add());
    }
    sum += rest
        .iter()
        .map(|v| f64::from((v - most).exp()))
        .sum::<f64>();
    f64::from(most) + sum.ln()
}
