//! What an answer of the hub means, for people.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::engine::EngineError;

/// What was asked for, and with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// `the model org/name`, `config.json of the model org/name`.
    pub what: &'a str,
    /// As it may be shown.
    pub host: &'a str,
    pub with_token: bool,
}

/// The error of an answer that will not get better by asking again.
pub(super) fn refusal(asked: Asked<'_>, status: StatusCode, headers: &HeaderMap) -> EngineError {
    let Asked {
        what,
        host,
        with_token,
    } = asked;
    let code = text(headers, "x-error-code");
    match (status.as_u16(), code.as_str()) {
        (_, "GatedRepo") | (403, "" | "RepoNotFound") => EngineError::new(
            format!(
                "{host} does not give {what} to everyone: it is gated, and this account has not been let in ({status})"
            ),
            if with_token {
                "Ask for access on its page there, and check that HF_TOKEN is a token of the account that was let in"
            } else {
                "Ask for access on its page there, make an access token, and set HF_TOKEN to it"
            },
        ),
        (401, _) if with_token => EngineError::new(
            format!("{host} refuses the token for {what}, or there is no such thing ({status})"),
            "Check the name; if it is right, set HF_TOKEN to a valid token of an account that may read it",
        ),
        (401, _) => EngineError::new(
            format!("{host} has no public copy of {what} ({status})"),
            "Check the name; if it is private or gated, set HF_TOKEN to a token of an account that may read it",
        ),
        (404, "RevisionNotFound") => EngineError::new(
            format!("{host} does not have this revision of {what}"),
            "Check what follows the @, or the key prompts.revision",
        ),
        (404, _) => EngineError::new(
            format!("{host} does not have {what} ({status})"),
            "Check the name and the revision, and HF_ENDPOINT if you set it",
        ),
        _ => {
            let message = text(headers, "x-error-message");
            let colon = if message.is_empty() { "" } else { ": " };
            EngineError::new(
                format!("{host} refused {what} with {status}{colon}{message}"),
                "Check HF_ENDPOINT if you set it, or try again later",
            )
        }
    }
}

/// The server's own words, as far as they can be shown.
fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    value
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect()
}

/// The next step where the hub was not reached.
pub(super) const UNREACHABLE: &str = "Check the network, HTTPS_PROXY and HF_ENDPOINT; with HF_HUB_OFFLINE=1 only what was fetched before is used";
