//! A run at a W&B server: GraphQL for what it is, the file stream for its lines,
//! uploads for its files.

mod artifacts;
mod check;
mod exporter;
mod files;
mod graphql;
mod heartbeat;
mod remote;
mod run;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use lem_http::{Auth, Client, Config, Remedies, Tls};
use lem_record::{Envelope, ExportError, Rejected, RunContext, RunStatus, Secret};

use check::check;
pub(crate) use exporter::OnlineExporter;
use heartbeat::{Heartbeat, PERIOD};
use remote::Remote;
use run::open;

use crate::WandbConfig;
use crate::encode::{self, Item, RunSettings, Scope, State};
use files::File;
use run::{Send, Theirs};
use stream::{Chunk, Stream};

fn client(config: &WandbConfig) -> Result<Client, ExportError> {
    Client::new(Config {
        // the user is not looked at
        auth: Auth::Basic {
            user: "api".to_owned(),
            password: config.api_key.clone().unwrap_or_default(),
        },
        headers: Vec::<(String, Secret)>::new(),
        timeout: std::time::Duration::from_secs_f64(config.timeout_s),
        tls: Tls {
            ca_path: config.ca_cert_path.clone(),
            ..Tls::default()
        },
        remedies: Remedies {
            credentials: "Set WANDB_API_KEY to a key of this server that may write to the project (https://wandb.ai/authorize shows yours), and check WANDB_ENTITY",
            address: "Check WANDB_BASE_URL",
            certificate: "Give the authority's certificate as integrations.wandb.ca_cert_path",
        },
        ..Config::new(config.base_url())
    })
}

/// The open run.
#[derive(Debug)]
struct Online {
    pub client: Client,
    pub remote: Remote,
    /// What another writer of the run put there.
    pub theirs: Theirs,
    pub stream: Stream,
    pub heartbeat: Option<Heartbeat>,
}

/// What became of a batch.
#[derive(Debug, Default)]
struct Stored {
    pub accepted: u64,
    pub rejected: Vec<Rejected>,
    pub state: State,
    /// Path and SHA-256 of the artifacts that are there now.
    pub artifacts: Vec<(String, String)>,
}

impl Online {
    pub async fn write(
        &mut self,
        scope: &Scope<'_>,
        state: &State,
        batch: &[Arc<Envelope>],
        run: &RunContext,
        sent: &BTreeMap<String, String>,
    ) -> Result<Stored, ExportError> {
        let mut plan = encode::encode(scope, state, batch);
        let mut stored = Stored {
            rejected: std::mem::take(&mut plan.rejected),
            state: std::mem::take(&mut plan.state),
            ..Stored::default()
        };
        if !plan.defined.is_empty() {
            let settings = encode::run_settings(scope, &stored.state);
            let left_out = self.update(&settings).await?;
            let last = batch.last().map_or(0, |envelope| envelope.n);
            stored.rejected.extend(left_out.into_iter().map(|key| Rejected {
                n: last,
                reason: format!("the part {key} of the configuration is too large for W&B, or for a proxy before it (413)"),
            }));
        }
        // what a row refers to comes before the row
        let mut uploads = Vec::new();
        if batch.first().is_some_and(|envelope| envelope.n == 0) {
            let metadata = encode::metadata(scope).to_string().into_bytes();
            uploads.push(File {
                n: 0,
                name: "wandb-metadata.json".to_owned(),
                bytes: metadata,
            });
        }
        let mut chunk = Chunk::default();
        let mut artifacts = Vec::new();
        for item in plan.items {
            match item {
                Item::Row(row) => chunk.history.push(row.n, row.offset, row.json()),
                Item::Event(event) => chunk.events.push(event.n, event.offset, event.json()),
                Item::Line(line) => chunk.console.push(line.n, line.offset, line.stamped()),
                Item::Table(table) => uploads.push(File {
                    n: table.n,
                    name: table.path,
                    bytes: table.bytes,
                }),
                Item::Artifact(n, artifact) => artifacts.push((n, artifact)),
            }
        }
        if !uploads.is_empty() {
            let (there, refused) = files::upload(&self.client, &self.remote, uploads).await?;
            stored.accepted += there.len() as u64;
            stored.rejected.extend(refused);
            chunk.uploaded = there;
        }
        let wanted = artifacts
            .into_iter()
            .filter(|(_, artifact)| scope.config.upload_artifacts && !is_sent(sent, artifact));
        for (n, artifact) in wanted {
            let put = artifacts::put(&self.client, &self.remote, &run.folder, artifact).await?;
            match put {
                Ok(()) => {
                    stored.accepted += 1;
                    let known = (artifact.path.clone(), artifact.sha256.clone());
                    stored.artifacts.push(known);
                }
                Err(reason) => stored.rejected.push(Rejected { n, reason }),
            }
        }
        stored.accepted += chunk.lines();
        if stored.state.summary() != state.summary() {
            chunk.summary = Some(self.summary(&stored.state));
        }
        if !chunk.is_empty() {
            let rejected = self.stream.send(&self.client, &self.remote, chunk).await?;
            stored.accepted -= rejected.len() as u64;
            let last = batch.last().map_or(0, |envelope| envelope.n);
            let reject = |(n, reason): (Option<u64>, String)| Rejected {
                n: n.unwrap_or(last),
                reason,
            };
            stored.rejected.extend(rejected.into_iter().map(reject));
        }
        Ok(stored)
    }

    /// Gives the keys of the configuration that were left out, as too large.
    pub async fn finish(
        &mut self,
        scope: &Scope<'_>,
        state: &State,
        status: RunStatus,
    ) -> Result<Vec<String>, ExportError> {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.stop();
        }
        let mut state = state.clone();
        state.status = Some(status);
        let settings = encode::run_settings(scope, &state);
        let left_out = self.update(&settings).await?;
        let chunk = Chunk {
            summary: Some(self.summary(&state)),
            exit_code: Some(encode::exit_code(status)),
            ..Chunk::default()
        };
        let refused = self.stream.send(&self.client, &self.remote, chunk).await?;
        match refused.into_iter().next() {
            None => Ok(left_out),
            Some((_, reason)) => Err(ExportError::give_up(
                reason,
                "Raise the body size limit of the proxy before the server",
            )),
        }
    }

    /// Keys of the configuration that were left out, as too large.
    async fn update(&self, settings: &RunSettings) -> Result<Vec<String>, ExportError> {
        let (client, remote) = (&self.client, Some(&self.remote));
        let (_, left_out) =
            run::upsert(client, remote, settings, Send::Config, &self.theirs).await?;
        Ok(left_out)
    }

    fn summary(&self, state: &State) -> String {
        let mut whole = self.theirs.summary.clone();
        whole.extend(state.summary());
        serde_json::Value::Object(whole).to_string()
    }
}

fn is_sent(sent: &BTreeMap<String, String>, artifact: &lem_record::Artifact) -> bool {
    sent.get(&artifact.path)
        .is_some_and(|sha256| *sha256 == artifact.sha256)
}
