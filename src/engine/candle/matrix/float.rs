//! Weights in floating point: candle's matrix product for many rows, a dot product for few.

use candle_core::{DType, Device, Tensor};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use wide::f32x8;

use super::Input;
use crate::config::Precision;

/// From this many rows on, candle's blocked product is the faster one.
pub const GEMM_ROWS: usize = 8;
/// Outputs whose 16-bit weights are widened at a time for it.
const PANEL: usize = 512;

#[derive(Debug)]
pub struct Float {
    n: usize,
    k: usize,
    values: Values,
}

/// A tensor for `f32`, so that candle can use it as it is.
#[derive(Debug)]
enum Values {
    F32(Tensor),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Float {
    /// `values` are `n` rows of `k`; `Auto` keeps them in `f32`.
    pub fn new(
        n: usize,
        k: usize,
        values: Vec<f32>,
        precision: Precision,
    ) -> Result<Self, candle_core::Error> {
        let values = match precision {
            Precision::Auto | Precision::Fp32 => {
                Values::F32(Tensor::from_vec(values, (n, k), &Device::Cpu)?)
            }
            Precision::Fp16 => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(&values);
                Values::F16(halves)
            }
            Precision::Bf16 => {
                let mut halves = vec![bf16::ZERO; values.len()];
                halves.convert_from_f32_slice(&values);
                Values::Bf16(halves)
            }
        };
        Ok(Self { n, k, values })
    }

    /// 16-bit weights as they are in the file.
    pub fn from_f16(n: usize, k: usize, values: Vec<f16>) -> Self {
        let values = Values::F16(values);
        Self { n, k, values }
    }

    /// 16-bit weights as they are in the file.
    pub fn from_bf16(n: usize, k: usize, values: Vec<bf16>) -> Self {
        let values = Values::Bf16(values);
        Self { n, k, values }
    }

    pub fn n(&self) -> usize {
        self.n
    }

    pub fn k(&self) -> usize {
        self.k
    }

    pub fn type_name(&self) -> &'static str {
        match self.values {
            Values::F32(_) => "f32",
            Values::F16(_) => "f16",
            Values::Bf16(_) => "bf16",
        }
    }

    pub fn bytes(&self) -> usize {
        let each = if matches!(self.values, Values::F32(_)) {
            4
        } else {
            2
        };
        self.n * self.k * each
    }

    pub fn row(&self, row: usize, out: &mut [f32]) {
        let range = row * self.k..(row + 1) * self.k;
        match &self.values {
            Values::F32(tensor) => with_slice(tensor, |v| out.copy_from_slice(&v[range])),
            Values::F16(v) => v[range].convert_to_f32_slice(out),
            Values::Bf16(v) => v[range].convert_to_f32_slice(out),
        }
    }

    /// All outputs of all rows, by candle.
    pub(super) fn gemm(&self, input: &Input, out: &mut [f32]) -> Result<(), candle_core::Error> {
        let x = Tensor::from_slice(input.values(), (input.rows(), self.k), &Device::Cpu)?;
        if let Values::F32(tensor) = &self.values {
            let product = x.matmul(&tensor.t()?)?;
            with_slice(&product, |v| out.copy_from_slice(v));
            return Ok(());
        }
        let mut widened = vec![0.0; PANEL.min(self.n) * self.k];
        for first in (0..self.n).step_by(PANEL) {
            let width = PANEL.min(self.n - first);
            let range = first * self.k..(first + width) * self.k;
            widened.resize(range.len(), 0.0);
            match &self.values {
                Values::F32(_) => {}
                Values::F16(v) => v[range].convert_to_f32_slice(&mut widened),
                Values::Bf16(v) => v[range].convert_to_f32_slice(&mut widened),
            }
            let panel = Tensor::from_slice(&widened, (width, self.k), &Device::Cpu)?;
            let product = x.matmul(&panel.t()?)?;
            with_slice(&product, |v| {
                for (out, row) in out.chunks_mut(self.n).zip(v.chunks(width)) {
                    out[first..first + width].copy_from_slice(row);
                }
            });
        }
        Ok(())
    }

    pub(super) fn partial(
        &self,
        input: &Input,
        rows: std::ops::Range<usize>,
        from: usize,
        out: &mut [f32],
    ) {
        match &self.values {
            Values::F32(tensor) => {
                with_slice(tensor, |v| dots(v, self.k, input, rows, from, out));
            }
            Values::F16(v) => dots(v, self.k, input, rows, from, out),
            Values::Bf16(v) => dots(v, self.k, input, rows, from, out),
        }
    }
}

/// The floats of a contiguous tensor on the CPU, which every one here is by construction.
fn with_slice<T>(tensor: &Tensor, then: impl FnOnce(&[f32]) -> T) -> T {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (candle_core::Storage::Cpu(candle_core::CpuStorage::F32(v)), Some((from, to))) => {
            then(&v[from..to])
        }
        _ => unreachable!(
            "a weight tensor is {:?}, not contiguous {:?}",
            tensor,
            DType::F32
        ),
    }
}

trait Element: Copy {
    fn wide(values: &[Self; 8]) -> f32x8;
    fn narrow(self) -> f32;
}

impl Element for f32 {
    #[inline(always)]
    fn wide(values: &[Self; 8]) -> f32x8 {
        f32x8::from(*values)
    }
    #[inline(always)]
    fn narrow(self) -> f32 {
        self
    }
}

impl Element for f16 {
    #[inline(always)]
    fn wide(values: &[Self; 8]) -> f32x8 {
        let mut floats = [0.0; 8];
        values.convert_to_f32_slice(&mut floats);
        f32x8::from(floats)
    }
    #[inline(always)]
    fn narrow(self) -> f32 {
        self.to_f32()
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn wide(values: &[Self; 8]) -> f32x8 {
        f32x8::from(values.map(|v| f32::from_bits(u32::from(v.to_bits()) << 16)))
    }
    #[inline(always)]
    fn narrow(self) -> f32 {
        self.to_f32()
    }
}

fn dots<T: Element>(
    weights: &[T],
    k: usize,
    input: &Input,
    rows: std::ops::Range<usize>,
    from: usize,
    out: &mut [f32],
) {
    let width = out.len() / rows.len();
    for j in 0..width {
        let w = &weights[(from + j) * k..][..k];
        for (i, row) in rows.clone().enumerate() {
            out[i * width + j] = dot(w, input.row(row));
        }
    }
}

fn dot<T: Element>(w: &[T], x: &[f32]) -> f32 {
    // Four sums, so that one addition need not wait for the one before.
    let mut sums = [f32x8::splat(0.0); 4];
    let (w, w_rest) = w.as_chunks::<8>();
    let (x, x_rest) = x.as_chunks::<8>();
    for (w, x) in w.chunks(4).zip(x.chunks(4)) {
        for ((sum, w), x) in sums.iter_mut().zip(w).zip(x) {
            *sum = T::wide(w).mul_add(f32x8::from(*x), *sum);
        }
    }
    let rest: f32 = w_rest.iter().zip(x_rest).map(|(w, x)| w.narrow() * x).sum();
    (sums[0] + sums[1] + sums[2] + sums[3]).reduce_add() + rest
}
