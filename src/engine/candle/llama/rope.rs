//! Rotary position embedding: each pair of a head's elements turns with the position.

use std::f64::consts::PI;

use super::Segment;

#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Turn a position, radians, of each pair.
    frequencies: Vec<f64>,
    /// Pairs are neighbours (GGUF's order of `llama`); else an element and the one half
    /// the rotated part further.
    neighbours: bool,
    head_size: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    None,
    /// Positions divided by the factor.
    Linear {
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided by the factor, high ones kept, smooth between.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
    /// Each frequency divided by its own factor, as a GGUF file carries them.
    Factors(Vec<f32>),
}

impl Rope {
    /// `rotated` elements of each head turn, the rest stays.
    pub fn new(
        head_size: usize,
        rotated: usize,
        theta: f64,
        scaling: &RopeScaling,
        neighbours: bool,
    ) -> Result<Self, String> {
        if rotated == 0 || rotated > head_size || !rotated.is_multiple_of(2) {
            return Err(format!(
                "it rotates {rotated} of the {head_size} elements of a head"
            ));
        }
        if !(theta.is_finite() && theta > 0.0) {
            return Err(format!("its rotary base is {theta}"));
        }
        let pairs = rotated / 2;
        if let RopeScaling::Factors(factors) = scaling
            && factors.len() != pairs
        {
            return Err(format!(
                "it has {} rotary factors for {pairs} pairs",
                factors.len()
            ));
        }
        let frequencies: Vec<f64> = (0..pairs)
            .map(|i| scaling.apply(i, theta.powf(-(i as f64) / pairs as f64)))
            .collect();
        if frequencies.iter().any(|f| !f.is_finite()) {
            return Err("its rotary scaling gives frequencies that are not numbers".into());
        }
        Ok(Self {
            frequencies,
            neighbours,
            head_size,
        })
    }

    /// Turn a position, radians, of each pair.
    #[allow(dead_code, reason = "the torch engine makes tables of them")]
    pub fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }

    pub(super) fn check(&self, head_size: usize) -> Result<(), String> {
        if self.head_size == head_size {
            Ok(())
        } else {
            Err(format!(
                "its rotary embedding is for heads of {}, not {head_size}",
                self.head_size
            ))
        }
    }

    /// Cosine and sine of each pair, row after row.
    pub(super) fn angles(&self, segments: &[Segment], angles: &mut Vec<(f32, f32)>) {
        angles.clear();
        for segment in segments {
            for position in segment.position..segment.position + segment.length {
                angles.extend(self.frequencies.iter().map(|frequency| {
                    let (sin, cos) = (position as f64 * frequency).sin_cos();
                    (cos as f32, sin as f32)
                }));
            }
        }
    }

    /// Turns all heads of rows that are `width` wide.
    pub(super) fn rotate(&self, rows: &mut [f32], width: usize, angles: &[(f32, f32)]) {
        let pairs = self.frequencies.len();
        for (row, angles) in rows.chunks_mut(width).zip(angles.chunks(pairs)) {
            for head in row.chunks_mut(self.head_size) {
                let head = &mut head[..2 * pairs];
                if self.neighbours {
                    for (pair, &(cos, sin)) in head.chunks_exact_mut(2).zip(angles) {
                        let (a, b) = (pair[0], pair[1]);
                        pair[0] = a * cos - b * sin;
                        pair[1] = a * sin + b * cos;
                    }
                } else {
                    let (first, second) = head.split_at_mut(pairs);
                    for ((a, b), &(cos, sin)) in first.iter_mut().zip(second).zip(angles) {
                        let (x, y) = (*a, *b);
                        *a = x * cos - y * sin;
                        *b = x * sin + y * cos;
                    }
                }
            }
        }
    }
}

impl RopeScaling {
    fn apply(&self, pair: usize, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Factors(factors) => frequency / f64::from(factors[pair]),
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let wavelength = 2.0 * PI / frequency;
                if wavelength < original_context / high_freq_factor {
                    frequency
                } else if wavelength > original_context / low_freq_factor {
                    frequency / factor
                } else {
                    let smooth = (original_context / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}
