//! Choosing the next token.
//!
//! In the order of transformers: repetition penalty, temperature, top-k, top-p, draw.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::vector;
use crate::engine::{Request, Sampling};

/// One request's way through its draws. Its random numbers depend on the seed and on the
/// request's id alone, so neither order nor batch changes them.
#[derive(Debug)]
pub struct Sampler {
    temperature: f32,
    top_k: usize,
    top_p: f64,
    penalty: f32,
    rng: ChaCha8Rng,
    /// Tokens seen, each once, where there is a penalty. Sorted.
    seen: Vec<u32>,
}

/// Memory shared by the sequences of a batch.
#[derive(Debug, Default)]
pub struct Scratch {
    candidates: Vec<u32>,
    weights: Vec<f64>,
}

impl Sampler {
    pub fn new(sampling: &Sampling, request: &Request) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        rng.set_stream(request.id);
        let penalty = sampling.repetition_penalty as f32;
        let mut seen = if penalty == 1.0 {
            Vec::new()
        } else {
            request.tokens.to_vec()
        };
        seen.sort_unstable();
        seen.dedup();
        Self {
            temperature: sampling.temperature as f32,
            top_k: sampling.top_k.unwrap_or(0) as usize,
            top_p: sampling.top_p.unwrap_or(1.0),
            penalty,
            rng,
            seen,
        }
    }

    /// `logits` are changed.
    pub fn draw(&mut self, logits: &mut [f32], scratch: &mut Scratch) -> u32 {
        self.penalise(logits);
        let token = if self.temperature > 0.0 {
            self.draw_at_random(logits, scratch)
        } else {
            most_likely(logits)
        };
        if self.penalty != 1.0
            && let Err(at) = self.seen.binary_search(&token)
        {
            self.seen.insert(at, token);
        }
        token
    }

    fn penalise(&self, logits: &mut [f32]) {
        for &token in &self.seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit *= if *logit > 0.0 {
                    1.0 / self.penalty
                } else {
                    self.penalty
                };
            }
        }
    }

    fn draw_at_random(&mut self, logits: &[f32], scratch: &mut Scratch) -> u32 {
        // Drawn also where one candidate is left, so that a request's numbers stay in step.
        let draw: f64 = self.rng.random();
        let most = vector::largest(logits);
        let weight = |logit: f32| f64::from((logit - most) / self.temperature).exp();
        let candidates = &mut scratch.candidates;
        candidates.clear();
        candidates.extend(0..logits.len() as u32);
        let heavier = |a: &u32, b: &u32| {
            logits[*b as usize]
                .total_cmp(&logits[*a as usize])
                .then(a.cmp(b))
        };
        if self.top_k > 0 && self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, heavier);
            candidates.truncate(self.top_k);
        }
        let total: f64 = candidates.iter().map(|&c| weight(logits[c as usize])).sum();
        let nucleus = self.top_p.clamp(0.0, 1.0) * total;
        // The heaviest candidates in order, up to `nucleus`: more and more of them are put
        // in order until there are enough, since it is almost always a few.
        let mut ordered = 0;
        let mut sum = 0.0;
        let weights = &mut scratch.weights;
        weights.clear();
        while ordered < candidates.len() && (sum < nucleus || weights.is_empty()) {
            let rest = &mut candidates[ordered..];
            let take = (3 * ordered).max(64).min(rest.len());
            if take < rest.len() {
                rest.select_nth_unstable_by(take - 1, heavier);
            }
            rest[..take].sort_unstable_by(heavier);
            for &candidate in &rest[..take] {
                ordered += 1;
                let weight = weight(logits[candidate as usize]);
                weights.push(weight);
                sum += weight;
                if self.top_p < 1.0 && sum >= nucleus {
                    break;
                }
            }
            if self.top_p < 1.0 && sum >= nucleus {
                break;
            }
        }
        let mut left = draw * weights.iter().sum::<f64>();
        for (candidate, weight) in candidates.iter().zip(weights) {
            left -= *weight;
            if left < 0.0 {
                return *candidate;
            }
        }
        // Rounding, or logits that are not numbers: the heaviest.
        most_likely(logits)
    }
}

/// The first of the largest.
pub fn most_likely(logits: &[f32]) -> u32 {
    let most = vector::largest(logits);
    logits.iter().position(|&l| l == most).unwrap_or(0) as u32
}
