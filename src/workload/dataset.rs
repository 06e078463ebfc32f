use lem_record::Warning;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::engine::Request;

use super::DatasetInfo;
use super::prompts::Source;

/// Of lengths and bytes, so that no two lists of prompts run together into the same bytes.
pub(super) fn digest<'a>(prompts: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    for prompt in prompts {
        hasher.update((prompt.len() as u64).to_le_bytes());
        hasher.update(prompt);
    }
    let mut text = hex::encode(hasher.finalize());
    text.truncate(32);
    text
}

pub(super) fn digest_of_tokens(prompts: &[Vec<u32>]) -> String {
    let bytes: Vec<Vec<u8>> = prompts
        .iter()
        .map(|tokens| {
            tokens
                .iter()
                .flat_map(|token| token.to_le_bytes())
                .collect()
        })
        .collect();
    digest(bytes.iter().map(Vec::as_slice))
}

pub(super) fn describe(
    source: &Source,
    digest: String,
    requests: &[Request],
    distinct: usize,
    skipped: u64,
) -> DatasetInfo {
    let column = match source {
        Source::Synthetic { .. } => {
            json!({"type": "array", "items": {"type": "long"}, "name": "tokens", "required": true})
        }
        _ => json!({"type": "string", "name": source.column(), "required": true}),
    };
    let lengths = || requests.iter().map(|request| request.tokens.len());
    let profile = json!({
        "num_rows": requests.len(),
        "distinct_prompts": distinct,
        "empty_rows_skipped": skipped,
        "input_tokens": lengths().sum::<usize>(),
        "input_tokens_min": lengths().min(),
        "input_tokens_max": lengths().max(),
    });
    DatasetInfo {
        name: source.name(),
        digest,
        source_type: source.kind().to_owned(),
        source: source.json().to_string(),
        schema: json!({"mlflow_colspec": [column]}).to_string(),
        profile: profile.to_string(),
    }
}

pub(super) fn warning(code: &str, message: String, remedy: &str) -> Warning {
    Warning {
        code: code.to_owned(),
        message,
        remedy: remedy.to_owned(),
    }
}
