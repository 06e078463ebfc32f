//! The product of a tile of packed weights with rows of 8-bit activations.
//!
//! Sums within a group are exact integers; groups are added up in `f32`. The two sets
//! of instructions give the same integers, and floats that differ by rounding only.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::input::Row;
use super::packed::{Lane, TILE};

#[cfg(not(all(
    target_arch = "x86_64",
    target_feature = "avx2",
    target_feature = "fma"
)))]
pub use Portable as Vector;
/// The fastest that this build has.
#[cfg(all(
    target_arch = "x86_64",
    target_feature = "avx2",
    target_feature = "fma"
))]
pub use avx2::Avx2 as Vector;

/// How codes lie in the lanes of a group.
pub trait Layout {
    /// Lanes of a group.
    const LANES: usize;
    /// Two codes a byte.
    const NIBBLES: bool;
    const SIGNED: bool;
    /// Products that 16-bit sums hold: of unsigned codes up to `c`, `32767 / (2 · c · 127)` lanes'.
    const BATCH: usize;
}

/// 4-bit codes in groups of 16 or 32.
pub struct Four<const GROUP: usize>;
/// Codes up to 31 in groups of 32.
pub struct Five;
/// Signed bytes in groups of 16 or 32.
pub struct Signed<const GROUP: usize>;

impl<const GROUP: usize> Layout for Four<GROUP> {
    const LANES: usize = GROUP / 8;
    const NIBBLES: bool = true;
    const SIGNED: bool = false;
    const BATCH: usize = 4;
}

impl Layout for Five {
    const LANES: usize = 8;
    const NIBBLES: bool = false;
    const SIGNED: bool = false;
    const BATCH: usize = 4;
}

impl<const GROUP: usize> Layout for Signed<GROUP> {
    const LANES: usize = GROUP / 4;
    const NIBBLES: bool = false;
    const SIGNED: bool = true;
    const BATCH: usize = 1;
}

/// Scales or minima as stored.
pub trait Factor: Copy + Send + Sync {
    /// A tile's as floats. Made once a tile, because the conversion is a call that would
    /// cost the kernel its registers.
    fn floats<'a>(factors: &'a [Self], buffer: &'a mut Vec<f32>) -> &'a [f32];
}

impl Factor for f32 {
    fn floats<'a>(factors: &'a [Self], _: &'a mut Vec<f32>) -> &'a [f32] {
        factors
    }
}

impl Factor for f16 {
    fn floats<'a>(factors: &'a [Self], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        buffer.resize(factors.len(), 0.0);
        factors.convert_to_f32_slice(buffer);
        buffer
    }
}

pub trait Instructions {
    /// `M` rows of activations with the eight rows of a tile. `mins` is empty where there
    /// are none.
    fn tile<const M: usize, L: Layout>(
        lanes: &[Lane],
        scales: &[f32],
        mins: &[f32],
        inputs: [Row<'_>; M],
    ) -> [[f32; TILE]; M];
}

/// Plain Rust, which the compiler turns into what the processor has.
#[cfg(any(
    test,
    not(all(
        target_arch = "x86_64",
        target_feature = "avx2",
        target_feature = "fma"
    ))
))]
pub struct Portable;

#[cfg(any(
    test,
    not(all(
        target_arch = "x86_64",
        target_feature = "avx2",
        target_feature = "fma"
    ))
))]
impl Instructions for Portable {
    fn tile<const M: usize, L: Layout>(
        lanes: &[Lane],
        scales: &[f32],
        mins: &[f32],
        inputs: [Row<'_>; M],
    ) -> [[f32; TILE]; M] {
        let (scales, _) = scales.as_chunks::<TILE>();
        let (mins, _) = mins.as_chunks::<TILE>();
        inputs.map(|input| {
            let mut out = [0_f32; TILE];
            for (g, lanes) in lanes.chunks_exact(L::LANES).enumerate() {
                let mut sums = [0_i32; TILE];
                let words = if L::NIBBLES { 2 * L::LANES } else { L::LANES };
                for (w, word) in input.codes[g * words..][..words].iter().enumerate() {
                    let activations = word.to_le_bytes().map(|b| i32::from(b as i8));
                    let lane = if L::NIBBLES {
                        lanes[w / 2].0
                    } else {
                        lanes[w].0
                    };
                    for (sum, codes) in sums.iter_mut().zip(lane.as_chunks::<4>().0) {
                        for (code, activation) in codes.iter().zip(activations) {
                            let code = match (L::NIBBLES, L::SIGNED) {
                                (true, _) => i32::from(code >> (w % 2 * 4) & 15),
                                (false, false) => i32::from(*code),
                                (false, true) => i32::from(*code as i8),
                            };
                            *sum += code * activation;
                        }
                    }
                }
                let scales = &scales[g];
                for i in 0..TILE {
                    out[i] += sums[i] as f32 * (scales[i] * input.scales[g]);
                }
                if !L::SIGNED {
                    let mins = &mins[g];
                    for i in 0..TILE {
                        out[i] += mins[i] * input.sums[g];
                    }
                }
            }
            out
        })
    }
}

#[cfg(all(
    target_arch = "x86_64",
    target_feature = "avx2",
    target_feature = "fma"
))]
mod avx2 {
    use safe_arch::{
        abs_i8_m256i, add_i16_m256i, add_i32_m256i, add_m256, bitand_m256i,
        convert_to_m256_from_i32_m256i, fused_mul_add_m256, m256, m256i,
        mul_i16_horizontal_add_m256i, mul_m256, mul_u8i8_add_horizontal_saturating_m256i,
        set_splat_i8_m256i, set_splat_i16_m256i, set_splat_i32_m256i, set_splat_m256,
        shr_imm_u16_m256i, sign_apply_i8_m256i,
    };

    use super::{Instructions, Lane, Layout, Row, TILE};

    /// Safe wrappers that exist only where the build has the instructions.
    pub struct Avx2;

    impl Instructions for Avx2 {
        #[inline]
        fn tile<const M: usize, L: Layout>(
            lanes: &[Lane],
            scales: &[f32],
            mins: &[f32],
            inputs: [Row<'_>; M],
        ) -> [[f32; TILE]; M] {
            let (scales, _) = scales.as_chunks::<TILE>();
            let (mins, _) = mins.as_chunks::<TILE>();
            let words = if L::NIBBLES { 2 * L::LANES } else { L::LANES };
            let mut products = [m256::default(); M];
            let mut offsets = [m256::default(); M];
            for (g, lanes) in lanes.chunks_exact(L::LANES).enumerate() {
                // A loop: `array::map` is not always inlined.
                let mut codes = [&[][..]; M];
                for m in 0..M {
                    codes[m] = &inputs[m].codes[g * words..][..words];
                }
                let sums = group::<M, L>(lanes, codes);
                let scale = m256::from(scales[g]);
                for m in 0..M {
                    let scale = mul_m256(scale, set_splat_m256(inputs[m].scales[g]));
                    let sum = convert_to_m256_from_i32_m256i(sums[m]);
                    products[m] = fused_mul_add_m256(sum, scale, products[m]);
                }
                if !L::SIGNED {
                    let min = m256::from(mins[g]);
                    for m in 0..M {
                        let sum = set_splat_m256(inputs[m].sums[g]);
                        offsets[m] = fused_mul_add_m256(min, sum, offsets[m]);
                    }
                }
            }
            std::array::from_fn(|m| add_m256(products[m], offsets[m]).to_array())
        }
    }

    /// Exact sums of one group for eight rows of weights.
    #[inline(always)]
    fn group<const M: usize, L: Layout>(lanes: &[Lane], codes: [&[i32]; M]) -> [m256i; M] {
        let mask = set_splat_i8_m256i(15);
        let ones = set_splat_i16_m256i(1);
        let mut sums = [m256i::default(); M];
        for (b, lanes) in lanes.chunks(L::BATCH).enumerate() {
            let mut short = [m256i::default(); M];
            for (l, lane) in lanes.iter().enumerate() {
                let lane = m256i::from(lane.0);
                let at = b * L::BATCH + l;
                if L::NIBBLES {
                    let low = bitand_m256i(lane, mask);
                    let high = bitand_m256i(shr_imm_u16_m256i::<4>(lane), mask);
                    for m in 0..M {
                        let first = set_splat_i32_m256i(codes[m][2 * at]);
                        let second = set_splat_i32_m256i(codes[m][2 * at + 1]);
                        short[m] = add_i16_m256i(
                            short[m],
                            add_i16_m256i(
                                mul_u8i8_add_horizontal_saturating_m256i(low, first),
                                mul_u8i8_add_horizontal_saturating_m256i(high, second),
                            ),
                        );
                    }
                } else if L::SIGNED {
                    // The instruction wants one unsigned side: move the signs over. A code of
                    // -128 becomes 128, and 2 · 128 · 127 still fits.
                    let magnitude = abs_i8_m256i(lane);
                    for m in 0..M {
                        let input = set_splat_i32_m256i(codes[m][at]);
                        let signed = sign_apply_i8_m256i(input, lane);
                        short[m] = mul_u8i8_add_horizontal_saturating_m256i(magnitude, signed);
                    }
                } else {
                    for m in 0..M {
                        let input = set_splat_i32_m256i(codes[m][at]);
                        let product = mul_u8i8_add_horizontal_saturating_m256i(lane, input);
                        short[m] = add_i16_m256i(short[m], product);
                    }
                }
            }
            for m in 0..M {
                let wide = mul_i16_horizontal_add_m256i(short[m], ones);
                sums[m] = if b == 0 {
                    wide
                } else {
                    add_i32_m256i(sums[m], wide)
                };
            }
        }
        sums
    }
}
