//! Tokens of a text and text of tokens, by the server's own tokenizer.

use std::time::Duration;

use serde_json::{Value, json};

use super::control::{Control, Fault};
use super::kind::Tokenizer;

const LONGEST: Duration = Duration::from_secs(60);

impl Tokenizer {
    pub fn encode(
        self,
        server: &Control,
        model: &str,
        text: &str,
        chat: bool,
    ) -> Result<Vec<u32>, Fault> {
        let turn = || json!([{ "role": "user", "content": text }]);
        let body = match (self, chat) {
            (Self::Vllm, false) => json!({ "model": model, "prompt": text }),
            (Self::Vllm, true) => json!({ "model": model, "messages": turn() }),
            (Self::LlamaCpp, false) => {
                json!({ "content": text, "add_special": true, "parse_special": false })
            }
            (Self::LlamaCpp, true) => {
                let body = json!({ "messages": turn() });
                let wrapped = server.post_json("/apply-template", &body, LONGEST)?;
                let prompt = wrapped.get("prompt").and_then(Value::as_str);
                let prompt = prompt.ok_or_else(|| lacks("prompt"))?;
                // The template has its own beginning, and its marks are meant.
                json!({ "content": prompt, "add_special": false, "parse_special": true })
            }
        };
        let answer = server.post_json("/tokenize", &body, LONGEST)?;
        let tokens = answer.get("tokens").and_then(Value::as_array);
        let tokens = tokens.ok_or_else(|| lacks("tokens"))?;
        let token = |token: &Value| token.as_u64().and_then(|id| u32::try_from(id).ok());
        let tokens: Option<Vec<u32>> = tokens.iter().map(token).collect();
        tokens.ok_or_else(|| lacks("tokens as numbers"))
    }

    pub fn decode(self, server: &Control, model: &str, tokens: &[u32]) -> Result<String, Fault> {
        let (body, at) = match self {
            Self::Vllm => (json!({ "model": model, "tokens": tokens }), "prompt"),
            Self::LlamaCpp => (json!({ "tokens": tokens }), "content"),
        };
        let answer = server.post_json("/detokenize", &body, LONGEST)?;
        let text = answer.get(at).and_then(Value::as_str);
        text.map(str::to_owned).ok_or_else(|| lacks(at))
    }
}

fn lacks(what: &str) -> Fault {
    Fault::Garbage(format!("it lacks {what}"))
}
