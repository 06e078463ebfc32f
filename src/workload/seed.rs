//! One seed, several independent streams: what is drawn for one purpose does not
//! depend on how much was drawn for another.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Which prompts of a source, and in which order.
    Choice,
    InputLengths,
    OutputLengths,
    /// What all synthetic prompts begin with.
    SharedPrefix,
    /// The tokens of one synthetic prompt.
    Tokens(u32),
}

/// ChaCha8 gives the same numbers on every machine and in every version.
pub(super) fn rng(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(match purpose {
        Purpose::Choice => 1,
        Purpose::InputLengths => 2,
        Purpose::OutputLengths => 3,
        Purpose::SharedPrefix => 4,
        Purpose::Tokens(prompt) => (1 << 32) + u64::from(prompt),
    });
    rng
}
