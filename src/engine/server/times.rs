//! A request's times as the server itself tells them, each kind in its own words.

use lem_record::EngineTold;
use serde_json::Value;

/// Reads the chunk that carries them. What is not there stays absent; what cannot be (a
/// negative time) is not believed.
pub fn told(json: &str) -> EngineTold {
    let Ok(value) = serde_json::from_str::<Value>(json) else {
        return EngineTold::default();
    };
    let seconds = |at: &str, unit: f64| {
        let number = value.pointer(at)?.as_f64()?;
        (number.is_finite() && number >= 0.0).then_some(number / unit)
    };
    // In a second.
    let (ms, ns) = (1e3, 1e9);
    let count = |at: &str| value.pointer(at).and_then(Value::as_u64);
    let mut told = EngineTold {
        // vLLM: `metrics`; llama.cpp: `timings`; Ollama: durations beside the answer.
        queue_s: seconds("/metrics/queue_time_ms", ms),
        ttft_s: seconds("/metrics/time_to_first_token_ms", ms),
        prefill_s: seconds("/timings/prompt_ms", ms)
            .or_else(|| seconds("/prompt_eval_duration", ns)),
        decode_s: seconds("/metrics/generation_time_ms", ms)
            .or_else(|| seconds("/timings/predicted_ms", ms))
            .or_else(|| seconds("/eval_duration", ns)),
        cached_tokens: count("/timings/cache_n")
            .or_else(|| count("/usage/prompt_tokens_details/cached_tokens")),
    };
    if told.prefill_s.is_none() {
        // vLLM counts from arrival: what was not waiting was the prompt.
        told.prefill_s = told
            .ttft_s
            .zip(told.queue_s)
            .map(|(ttft, queue)| (ttft - queue).max(0.0));
    }
    told
}

/// Joins what two chunks told; the later one beats.
pub fn join(known: EngineTold, new: EngineTold) -> EngineTold {
    EngineTold {
        queue_s: new.queue_s.or(known.queue_s),
        prefill_s: new.prefill_s.or(known.prefill_s),
        decode_s: new.decode_s.or(known.decode_s),
        ttft_s: new.ttft_s.or(known.ttft_s),
        cached_tokens: new.cached_tokens.or(known.cached_tokens),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_in_its_own_words() {
        let llama = told(
            r#"{"timings":{"cache_n":2,"prompt_n":1,"prompt_ms":39.891,"predicted_n":3,"predicted_ms":83.891}}"#,
        );
        let near = |told: Option<f64>, seconds: f64| (told.unwrap() - seconds).abs() < 1e-12;
        assert!(near(llama.prefill_s, 39.891e-3));
        assert!(near(llama.decode_s, 83.891e-3));
        assert_eq!((llama.cached_tokens, llama.queue_s), (Some(2), None));

        let vllm = told(
            r#"{"usage":{"prompt_tokens":5},"metrics":{"time_to_first_token_ms":12.5,"generation_time_ms":100.0,"queue_time_ms":2.5,"mean_itl_ms":9.0}}"#,
        );
        assert_eq!(vllm.ttft_s, Some(12.5e-3));
        assert_eq!(vllm.queue_s, Some(2.5e-3));
        assert!((vllm.prefill_s.unwrap() - 10e-3).abs() < 1e-12);
        assert_eq!(vllm.decode_s, Some(0.1));

        let ollama =
            told(r#"{"done":true,"prompt_eval_duration":5000000,"eval_duration":70000000}"#);
        assert_eq!(
            (ollama.prefill_s, ollama.decode_s),
            (Some(5e-3), Some(70e-3))
        );
    }

    #[test]
    fn nonsense_is_absent_and_never_a_number() {
        for odd in [
            "",
            "7",
            "[]",
            r#"{"timings":{"prompt_ms":-1,"predicted_ms":"x"}}"#,
        ] {
            assert!(told(odd).is_empty(), "{odd}");
        }
    }
}
