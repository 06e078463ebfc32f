//! One batch to a tracking server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lem_record::{Envelope, ExportError, Rejected, RunStatus};
use serde_json::json;

use crate::artifacts::{Artifacts, Content, local};
use crate::encode::{self, Body, Plan, Scope, State};
use crate::exporter::mlflow_status;
use crate::rest::{Api, Remote, code};
use crate::store::Stored;

/// The open run at a server.
#[derive(Debug)]
pub(crate) struct Server {
    pub api: Api,
    pub remote: Remote,
    pub artifacts: Artifacts,
    /// Bytes of the smallest body that it found too large.
    pub too_large: usize,
}

pub(crate) async fn write(
    server: &mut Server,
    scope: &Scope<'_>,
    state: &State,
    batch: &[Arc<Envelope>],
    folder: &Path,
    sent: &BTreeMap<String, String>,
) -> Result<Stored, ExportError> {
    let mut plan = encode::encode(scope, state, batch);
    let mut stored = Stored {
        accepted: 0,
        rejected: std::mem::take(&mut plan.rejected),
        state: std::mem::take(&mut plan.state),
        artifacts: Vec::new(),
    };
    let first = batch.first().map_or(0, |envelope| envelope.n);
    let run = server.remote.run_id.clone();
    datasets(server, &plan, first, &mut stored).await?;
    // apart from the metrics: a param that is refused takes its whole request along
    for body in encode::pair_bodies(&run, "params", plan.params.iter().map(|(k, v)| (k, v))) {
        if !log(server, body, &mut stored).await?.is_empty() {
            params_again(server, &plan, first, &mut stored).await?;
            break;
        }
    }
    for body in encode::metric_bodies(&run, &plan.series) {
        for Refused { body, said } in log(server, body, &mut stored).await? {
            let (n, count, key) = (body.n, body.count, body.first_key());
            let reason = format!("{count} points from {key} on were refused: {said}");
            stored.rejected.push(Rejected { n, reason });
        }
    }
    files(server, &plan, scope, folder, sent, &mut stored).await?;
    for body in encode::pair_bodies(&run, "tags", &plan.tags) {
        for Refused { body, said } in log(server, body, &mut stored).await? {
            let (count, key) = (body.count, body.first_key());
            stored.rejected.push(Rejected {
                n: first,
                reason: format!("{count} tags from {key} on were refused: {said}"),
            });
        }
    }
    Ok(stored)
}

/// What the server takes neither now nor later.
struct Refused {
    body: Body,
    /// By the server, without credentials.
    said: String,
}

/// Sends a `log-batch`, in parts where the server finds it too large. What comes back is
/// what it refuses for what is in it; what is wrong with the run or the server is an error.
async fn log(
    server: &mut Server,
    body: Body,
    stored: &mut Stored,
) -> Result<Vec<Refused>, ExportError> {
    let mut refused = Vec::new();
    let mut waiting = vec![body];
    while let Some(body) = waiting.pop() {
        if body.bytes.len() >= server.too_large
            && let Some([first, second]) = body.halves()
        {
            waiting.extend([second, first]);
            continue;
        }
        let reply = server.api.log_batch(body.bytes.clone()).await?;
        if reply.is_success() {
            stored.accepted += body.count;
            continue;
        }
        let too_large = reply.status == 413;
        if too_large {
            server.too_large = server.too_large.min(body.bytes.len());
            if body.count > 1 {
                waiting.push(body);
                continue;
            }
        }
        let of_content = matches!(
            code(&reply).as_deref(),
            Some("INVALID_PARAMETER_VALUE" | "BAD_REQUEST" | "INVALID_STATE")
        );
        let deleted = String::from_utf8_lossy(&reply.body).contains("Current state is deleted");
        if !too_large && (!of_content || deleted) {
            return Err(server.api.error(&reply));
        }
        let mut said = server.api.client.redactor().clean(&reply.excerpt());
        if too_large {
            said = format!("{} bytes are too many ({said})", body.bytes.len());
        }
        refused.push(Refused { body, said });
    }
    Ok(refused)
}

/// A param, once there, cannot be changed, and one that differs makes the server
/// refuse all that come with it: so those that are there are left out.
async fn params_again(
    server: &mut Server,
    plan: &Plan<'_>,
    n: u64,
    stored: &mut Stored,
) -> Result<(), ExportError> {
    let there = server.api.params(&server.remote.run_id).await?;
    let there: BTreeMap<&str, &str> = there
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.as_str()))
        .collect();
    let mut missing = Vec::new();
    for (key, value) in &plan.params {
        match there.get(key.as_str()) {
            None => missing.push((key, value)),
            Some(old) if old == value => stored.accepted += 1,
            Some(_) => {
                let reason = format!("the param {key} is there with another value");
                stored.rejected.push(Rejected { n, reason });
            }
        }
    }
    let run = server.remote.run_id.clone();
    for body in encode::pair_bodies(&run, "params", missing) {
        for Refused { body, said } in log(server, body, stored).await? {
            let (count, key) = (body.count, body.first_key());
            let reason = format!("{count} params from {key} on were refused: {said}");
            stored.rejected.push(Rejected { n, reason });
        }
    }
    Ok(())
}

async fn datasets(
    server: &Server,
    plan: &Plan<'_>,
    n: u64,
    stored: &mut Stored,
) -> Result<(), ExportError> {
    for dataset in &plan.datasets {
        let reply = server
            .api
            .log_inputs(&dataset.body(&server.remote.run_id))
            .await?;
        match reply.status {
            200..=299 => stored.accepted += 1,
            // a server before 2.4 has no such call
            400 | 404 | 405 | 413 if code(&reply).as_deref() != Some("RESOURCE_DOES_NOT_EXIST") => {
                let said = server.api.client.redactor().clean(&reply.excerpt());
                let reason = format!("the dataset {} was refused: {said}", dataset.name);
                stored.rejected.push(Rejected { n, reason });
            }
            _ => return Err(server.api.error(&reply)),
        }
    }
    Ok(())
}

async fn files(
    server: &mut Server,
    plan: &Plan<'_>,
    scope: &Scope<'_>,
    folder: &Path,
    sent: &BTreeMap<String, String>,
    stored: &mut Stored,
) -> Result<(), ExportError> {
    let Server {
        api,
        remote,
        artifacts,
        ..
    } = server;
    for (n, table) in &plan.tables {
        let taken = match encode::table_body(table) {
            Ok(body) => {
                let name = encode::table_path(&table.name);
                artifacts
                    .put(api, remote, &name, Content::Bytes(&body))
                    .await?
            }
            Err(error) => Err(error.to_string()),
        };
        match taken {
            Ok(()) => stored.accepted += 1,
            Err(reason) => stored.rejected.push(Rejected { n: *n, reason }),
        }
    }
    if !scope.config.upload_artifacts {
        return Ok(());
    }
    for (n, artifact) in &plan.artifacts {
        if sent.get(&artifact.path) == Some(&artifact.sha256) {
            continue;
        }
        let taken = match local(folder, &artifact.path) {
            Ok((path, len)) => {
                let content = Content::File { path: &path, len };
                let name = encode::artifact_path(&artifact.path);
                artifacts.put(api, remote, &name, content).await?
            }
            Err(refused) => Err(refused.to_string()),
        };
        match taken {
            Ok(()) => {
                stored.accepted += 1;
                stored
                    .artifacts
                    .push((artifact.path.clone(), artifact.sha256.clone()));
            }
            Err(reason) => stored.rejected.push(Rejected { n: *n, reason }),
        }
    }
    Ok(())
}

pub(crate) async fn finish(
    server: &Server,
    status: RunStatus,
    end_ms: i64,
) -> Result<(), ExportError> {
    let run = &server.remote.run_id;
    let tags = encode::pair_bodies(run, "tags", [("lem.status", status.as_str())]);
    for body in tags {
        let reply = server.api.log_batch(body.bytes).await?;
        if !reply.is_success() {
            return Err(server.api.error(&reply));
        }
    }
    let (name, _) = mlflow_status(status);
    let body = json!({"run_id": run, "status": name, "end_time": end_ms});
    server.api.update_run(&body).await
}
