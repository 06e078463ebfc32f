//! Which model a server has, and what is known of it.

use std::time::Duration;

use serde_json::Value;

use super::control::{Control, Fault};
use super::kind::Kind;
use crate::config::{Backend, Config};
use crate::engine::{EngineError, ModelDescription};
use crate::model::ModelFiles;

pub const LONGEST: Duration = Duration::from_secs(20);
/// So many names are told of a server that has another model.
const NAMES: usize = 8;

/// The name under which the server has the model. Asks the server for its list.
pub fn served_name(
    config: &Config,
    kind: &Kind,
    server: &Control,
) -> Result<(String, Option<Value>), EngineError> {
    let wanted = config.server.model.as_deref();
    let model = config.model_name.as_deref().unwrap_or_default();
    let listed = match server.get_json("/v1/models", LONGEST) {
        Ok(listed) => listed,
        // TGI of old, and proxies, have no list: what was asked for is then believed.
        Err(Fault::Status(404 | 405, _)) if config.backend != Backend::Openai => {
            return Ok((wanted.unwrap_or(model).to_owned(), None));
        }
        Err(fault) => {
            return Err(fault.told(&format!("The list of models of {}", kind.name), server));
        }
    };
    let cards = listed.get("data").and_then(Value::as_array);
    let cards = cards.map(Vec::as_slice).unwrap_or_default();
    let id = |card: &Value| card.get("id").and_then(Value::as_str).map(str::to_owned);
    let find = |name: &str| cards.iter().find(|card| id(card).as_deref() == Some(name));
    let short = model.strip_prefix("hf:").unwrap_or(model);
    let short = short.split(['@', '#']).next().unwrap_or(short);
    let chosen = match wanted {
        Some(name) => find(name),
        None => find(model).or_else(|| find(short)).or(match cards {
            [only] => Some(only),
            _ => None,
        }),
    };
    match chosen {
        Some(card) => Ok((id(card).unwrap_or_default(), Some(card.clone()))),
        // Gateways do not list everything that they have.
        None if cards.is_empty() => Ok((wanted.unwrap_or(short).to_owned(), None)),
        None => {
            let mut names: Vec<String> = cards.iter().filter_map(id).take(NAMES).collect();
            if cards.len() > NAMES {
                names.push("…".into());
            }
            Err(EngineError::new(
                format!(
                    "The server at {} has no model {}; it has {}",
                    server.shown(),
                    wanted.unwrap_or(short),
                    names.join(", ")
                ),
                "Name one of them as server.model, or start the server with the other model",
            ))
        }
    }
}

/// What the server tells of itself and its model, with what the files say where lem has them.
pub fn describe(
    config: &Config,
    kind: &Kind,
    server: &Control,
    card: Option<&Value>,
    files: Option<&ModelFiles>,
) -> ModelDescription {
    let number = |at: &str| card.and_then(|card| card.pointer(at)?.as_u64());
    let small = |at: &str| number(at).and_then(|n| u32::try_from(n).ok());
    let version = kind.version.iter().find_map(|(path, at)| {
        let answer = server.get_json(path, LONGEST).ok()?;
        let version = answer.pointer(at)?.as_str()?;
        (!version.is_empty()).then(|| version.to_owned())
    });
    ModelDescription {
        name: config.model_name.clone().unwrap_or_default(),
        // llama.cpp: `meta` of the list of models; vLLM and SGLang: `max_model_len`.
        parameters: number("/meta/n_params"),
        hidden_size: small("/meta/n_embd"),
        vocabulary: small("/meta/n_vocab"),
        context_length: small("/meta/n_ctx").or_else(|| small("/max_model_len")),
        weight_type: card
            .and_then(|card| card.pointer("/meta/ftype")?.as_str())
            .map(str::to_lowercase),
        weight_bytes: number("/meta/size"),
        engine: config.backend.as_str().to_owned(),
        engine_version: version.unwrap_or_else(|| "not told".to_owned()),
        device: match &config.server.url {
            Some(_) => format!("server {}", server.shown()),
            None => "server of lem's own".to_owned(),
        },
        sha256: files.and_then(|files| files.sha256.clone()),
        source: files.map(|files| files.source.clone()),
        random_weights: config.server.url.is_none()
            && config.load_format == crate::config::LoadFormat::Dummy,
        ..ModelDescription::default()
    }
}
