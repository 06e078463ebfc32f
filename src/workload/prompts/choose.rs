use std::ops::ControlFlow;
use std::sync::Arc;

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::engine::EngineError;

/// All chosen texts together.
const MOST_BYTES: usize = 1 << 30;

/// Takes the first texts of a stream, or a random sample of it in random order,
/// without ever holding more than are wanted.
pub(super) struct Chooser {
    want: usize,
    /// Look at no more texts than this.
    pool: Option<u64>,
    rng: Option<ChaCha8Rng>,
    seen: u64,
    skipped: u64,
    bytes: usize,
    kept: Vec<Arc<str>>,
}

impl Chooser {
    pub fn new(want: usize, pool: Option<u64>, rng: Option<ChaCha8Rng>) -> Self {
        Self {
            want,
            pool,
            rng,
            seen: 0,
            skipped: 0,
            bytes: 0,
            kept: Vec::new(),
        }
    }

    /// Breaks when it needs no more.
    pub fn offer(&mut self, text: &str) -> Result<ControlFlow<()>, EngineError> {
        if text.trim().is_empty() {
            self.skipped += 1;
            return Ok(ControlFlow::Continue(()));
        }
        self.seen += 1;
        if self.kept.len() < self.want {
            self.bytes += text.len();
            self.kept.push(text.into());
        } else if let Some(rng) = &mut self.rng {
            // each of the texts seen so far is among the kept with the same chance
            let at = rng.random_range(0..self.seen);
            let place = usize::try_from(at)
                .ok()
                .and_then(|at| self.kept.get_mut(at));
            if let Some(place) = place {
                self.bytes = self.bytes + text.len() - place.len();
                *place = text.into();
            }
        }
        if self.bytes > MOST_BYTES {
            return Err(EngineError::new(
                format!(
                    "The prompts together are longer than {} MiB",
                    MOST_BYTES >> 20
                ),
                "Set num_input_prompts lower, or shorten the prompts",
            ));
        }
        let enough = self.rng.is_none() && self.kept.len() >= self.want;
        let all = self.pool.is_some_and(|pool| self.seen >= pool);
        Ok(if enough || all {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// An empty row, which is not counted as a text.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// The texts, and how many rows had none.
    pub fn finish(mut self) -> (Vec<Arc<str>>, u64) {
        if let Some(rng) = &mut self.rng {
            self.kept.shuffle(rng);
        }
        (self.kept, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::seed::{Purpose, rng};
    use super::Chooser;

    fn chosen(want: usize, pool: Option<u64>, seed: Option<u64>, of: u32) -> (Vec<u32>, u32) {
        let rng = seed.map(|seed| rng(seed, Purpose::Choice));
        let mut chooser = Chooser::new(want, pool, rng);
        let mut offered = 0;
        for n in 0..of {
            offered += 1;
            if chooser.offer(&n.to_string()).unwrap().is_break() {
                break;
            }
        }
        let (texts, _) = chooser.finish();
        (
            texts
                .iter()
                .map(|text: &Arc<str>| text.parse().unwrap())
                .collect(),
            offered,
        )
    }

    #[test]
    fn in_order_it_takes_the_first_and_reads_no_further() {
        assert_eq!(chosen(3, None, None, 100), (vec![0, 1, 2], 3));
        assert_eq!(chosen(5, Some(2), None, 100), (vec![0, 1], 2));
        assert_eq!(chosen(5, None, None, 2), (vec![0, 1], 2));
    }

    #[test]
    fn shuffled_it_takes_any_alike() {
        let (one, read) = chosen(10, None, Some(1), 1000);
        assert_eq!((one.len(), read), (10, 1000));
        assert_eq!(one, chosen(10, None, Some(1), 1000).0);
        assert_ne!(one, chosen(10, None, Some(2), 1000).0);
        assert!(
            chosen(10, Some(20), Some(1), 1000)
                .0
                .iter()
                .all(|&n| n < 20)
        );

        let mut counts = [0_u32; 20];
        for seed in 0..4000 {
            for n in chosen(5, None, Some(seed), 20).0 {
                counts[n as usize] += 1;
            }
        }
        // 1000 expected each, standard deviation 27
        assert!(
            counts.iter().all(|count| (860..1140).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn empty_texts_are_passed_over_and_counted() {
        let mut chooser = Chooser::new(2, None, None);
        for text in ["", " \n", "a", "\t", "b"] {
            let _ = chooser.offer(text).unwrap();
        }
        let (texts, skipped) = chooser.finish();
        assert_eq!((texts.len(), skipped), (2, 3));
    }
}
