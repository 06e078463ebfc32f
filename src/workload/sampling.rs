use crate::config::Decoder;
use crate::engine::Sampling;

/// The decoder's settings as the engine takes them. What the preset sets is in them already.
pub(super) fn sampling(decoder: &Decoder, seed: u64) -> Sampling {
    let greedy = decoder.do_sample == Some(false) || decoder.temperature == 0.0;
    Sampling {
        temperature: if greedy { 0.0 } else { decoder.temperature },
        // of no effect on the most likely token, nor at these values
        top_k: decoder.top_k.filter(|&k| k > 0 && !greedy),
        top_p: decoder.top_p.filter(|&p| p > 0.0 && p < 1.0 && !greedy),
        repetition_penalty: decoder.repetition_penalty,
        seed,
    }
}

#[cfg(test)]
mod tests {
    use super::sampling;
    use crate::config::Decoder;

    #[test]
    fn greedy_is_greedy_and_off_is_off() {
        let decoder = Decoder {
            temperature: 0.7,
            top_k: Some(0),
            top_p: Some(0.9),
            ..Decoder::default()
        };
        let drawn = sampling(&decoder, 3);
        assert_eq!(
            (drawn.temperature, drawn.top_k, drawn.top_p),
            (0.7, None, Some(0.9))
        );
        assert_eq!(drawn.seed, 3);
        let greedy = Decoder {
            do_sample: Some(false),
            ..decoder
        };
        let greedy = sampling(&greedy, 3);
        assert_eq!((greedy.temperature, greedy.top_p), (0.0, None));
    }
}
