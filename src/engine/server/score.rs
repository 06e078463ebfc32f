//! Log-probabilities of given tokens, from the one server that tells them of a prompt.

use std::time::Duration;

use serde_json::{Value, json};

use super::control::{Control, Fault};
use super::kind::Kind;
use crate::config::Backend;
use crate::engine::EngineError;

const LONGEST: Duration = Duration::from_secs(600);

/// Natural-log probabilities of `tokens[1..]`, each given those before it.
pub fn score(
    kind: &Kind,
    server: &Control,
    model: &str,
    tokens: &[u32],
) -> Result<Vec<f32>, EngineError> {
    if kind.backend != Backend::Vllm {
        return Err(EngineError::new(
            format!(
                "{} does not tell the probabilities of a prompt's tokens",
                kind.name
            ),
            "Measure quality with vLLM or with an engine in this process",
        ));
    }
    // 0 further candidates: the token's own is always told. One token must be generated.
    let body = json!({
        "model": model, "prompt": tokens, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0,
    });
    let answer = server
        .post_json("/v1/completions", &body, LONGEST)
        .map_err(|fault| fault.told("The probabilities of a prompt's tokens", server))?;
    read(&answer, tokens)
        .map_err(|why| Fault::Garbage(why).told("The probabilities of a prompt's tokens", server))
}

/// The first token has none. A server that ignores the question gives none at all.
fn read(answer: &Value, tokens: &[u32]) -> Result<Vec<f32>, String> {
    let told = answer.pointer("/choices/0/prompt_logprobs");
    let told = told
        .and_then(Value::as_array)
        .ok_or("there are none in it")?;
    if told.len() != tokens.len() {
        return Err(format!(
            "there are {} for {} tokens",
            told.len(),
            tokens.len()
        ));
    }
    told.iter()
        .zip(tokens)
        .skip(1)
        .map(|(of, token)| {
            let value = of.get(token.to_string()).and_then(|of| of.get("logprob"));
            let value = value.and_then(Value::as_f64).filter(|p| *p <= 0.0);
            value
                .map(|p| p as f32)
                .ok_or_else(|| format!("there is none for token {token}"))
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_token_but_the_first_has_its_own() {
        let answer = json!({"choices": [{"prompt_logprobs": [
            null,
            {"7": {"logprob": -1.5, "rank": 1}},
            {"9": {"logprob": -0.25}, "8": {"logprob": -0.1}},
        ]}]});
        assert_eq!(read(&answer, &[5, 7, 9]).unwrap(), [-1.5, -0.25]);
    }

    #[test]
    fn a_server_that_ignores_the_question_is_not_believed() {
        for odd in [
            json!({"choices": [{"text": "x"}]}),
            json!({"choices": [{"prompt_logprobs": [null]}]}),
            json!({"choices": [{"prompt_logprobs": [null, {"8": {"logprob": -1.0}}]}]}),
            json!({"choices": [{"prompt_logprobs": [null, {"7": {"logprob": 3.0}}]}]}),
        ] {
            assert!(read(&odd, &[5, 7]).is_err(), "{odd}");
        }
    }
}
