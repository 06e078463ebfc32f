use lem_http::{Client, Reply, retry_after};
use lem_record::ExportError;
use serde::Deserialize;

/// MLflow's own name of what went wrong.
pub(crate) fn code(reply: &Reply) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        error_code: String,
    }
    if reply.is_success() {
        return None;
    }
    serde_json::from_slice(&reply.body)
        .ok()
        .map(|said: Said| said.error_code)
}

/// What a status alone gets wrong, by code and text.
struct Rule {
    /// Empty for any.
    code: &'static str,
    /// Part of the text; empty for any.
    text: &'static str,
    /// `None`: try again.
    remedy: Option<&'static str>,
}

#[rustfmt::skip] // the first that fits
const RULES: &[Rule] = &[
    Rule { code: "FEATURE_DISABLED", text: "orkspace", remedy: Some("Unset MLFLOW_WORKSPACE, or start the server with --enable-workspaces") },
    Rule { code: "FEATURE_DISABLED", text: "", remedy: Some("Enable it at the server") },
    Rule { code: "", text: "--no-serve-artifacts", remedy: Some("Start the server with --serve-artifacts") },
    Rule { code: "", text: "Invalid Host header", remedy: Some("Start the server with --allowed-hosts and the name in MLFLOW_TRACKING_URI, or use its address") },
    Rule { code: "INVALID_PARAMETER_VALUE", text: "Current state is deleted", remedy: Some("It was deleted at the server. Restore it there (`mlflow runs restore --run-id ID`, `mlflow experiments restore --experiment-id ID`), or delete delivery/mlflow.json in the run's folder and export again for a new one") },
    Rule { code: "INTERNAL_ERROR", text: "Invalid artifact path", remedy: Some("Rename the artifact") },
    Rule { code: "RESOURCE_DOES_NOT_EXIST", text: "", remedy: Some("It was removed at the server. Delete delivery/mlflow.json in the run's folder and export again for a new one") },
    Rule { code: "REQUEST_LIMIT_EXCEEDED", text: "", remedy: None },
    Rule { code: "TEMPORARILY_UNAVAILABLE", text: "", remedy: None },
];

pub(super) fn classify(reply: &Reply, client: &Client) -> ExportError {
    let code = code(reply).unwrap_or_default();
    let text = String::from_utf8_lossy(reply.body.get(..4096).unwrap_or(&reply.body));
    let fits = |rule: &&Rule| {
        (rule.code.is_empty() || rule.code == code)
            && text.contains(rule.text)
            && !(rule.code.is_empty() && rule.text.is_empty())
    };
    let by_status = client.error(reply);
    let Some(rule) = RULES.iter().find(fits) else {
        return by_status;
    };
    let reason = match by_status {
        ExportError::Retry { reason, .. } | ExportError::GiveUp { reason, .. } => reason,
    };
    match rule.remedy {
        Some(remedy) => ExportError::give_up(reason.trim_end_matches('.'), remedy),
        None => ExportError::Retry {
            reason,
            after: retry_after(&reply.headers, jiff::Timestamp::now()),
        },
    }
}
