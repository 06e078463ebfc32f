use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_http::Client;
use lem_record::{Check, Envelope, ExportError, Exporter, Receipt, RunContext, RunStatus, Written};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Heartbeat, Online, PERIOD, Remote};
use crate::encode::{Base, Scope, State};
use crate::{ConfigError, WandbConfig};

/// The sink `wandb` where it has a server.
#[derive(Debug)]
pub(crate) struct OnlineExporter {
    config: Arc<WandbConfig>,
    client: Client,
    run: Option<RunContext>,
    online: Option<Box<Online>>,
    memory: Memory,
    /// The encoding states at the starts of the latest batches: delivery may send one
    /// of them again.
    before: VecDeque<State>,
}

/// What is kept in the cursor file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    remote: Option<Remote>,
    base: Base,
    encoding: State,
    /// SHA-256 of each artifact that is there, by path.
    artifacts: BTreeMap<String, String>,
}

/// Whatever is not remembered is sent once more.
const MOST_ARTIFACTS: usize = 1000;
const MOST_STATES: usize = 16;

impl OnlineExporter {
    /// Connects to nothing.
    pub fn new(config: Arc<WandbConfig>) -> Result<Self, Vec<ConfigError>> {
        let client = super::client(&config).map_err(|error| {
            let (problem, remedy) = match error {
                ExportError::GiveUp { reason, remedy } => (reason, remedy),
                ExportError::Retry { reason, .. } => (reason, String::new()),
            };
            vec![ConfigError::new("base_url", problem, remedy)]
        })?;
        Ok(Self {
            config,
            client,
            run: None,
            online: None,
            memory: Memory::default(),
            before: VecDeque::new(),
        })
    }

    /// The state with which the batch that begins with record `n` is to be encoded.
    /// Records before it may be missing: delivery leaves out what is thinned away whole.
    fn encoding_at(&self, n: u64) -> State {
        let latest = std::iter::once(&self.memory.encoding).chain(&self.before);
        latest
            .filter(|state| state.next <= n)
            .max_by_key(|state| state.next)
            .cloned()
            .unwrap_or_default()
    }

    fn remember(&mut self, before: State, after: State) {
        self.before.retain(|state| state.next != before.next);
        self.before.push_front(before);
        self.before.truncate(MOST_STATES);
        self.memory.encoding = after;
    }
}

fn scope<'a>(run: &'a RunContext, config: &'a WandbConfig, base: Base) -> Scope<'a> {
    Scope {
        run_id: &run.run_id,
        started: &run.started,
        started_at: run.started_at,
        config,
        base,
    }
}

#[async_trait]
impl Exporter for OnlineExporter {
    fn name(&self) -> &'static str {
        "wandb"
    }

    fn destination(&self) -> String {
        self.config.destination()
    }

    async fn check(&self) -> Check {
        super::check(&self.client, &self.config).await
    }

    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError> {
        // a state that cannot be read is that of another version: the run's id finds it
        let memory: Memory = serde_json::from_value(state.clone()).unwrap_or_default();
        let known = memory.remote.as_ref().map(|remote| (remote, memory.base));
        let scope = scope(run, &self.config, memory.base);
        let opened = super::open(&self.client, &scope, known, &memory.encoding).await?;
        let (remote, base, theirs) = opened;
        let heartbeat = match run.live.is_some() && self.config.heartbeat {
            true => Some(Heartbeat::start(&self.config, &remote, PERIOD)?),
            false => None,
        };
        self.online = Some(Box::new(Online {
            client: self.client.clone(),
            remote: remote.clone(),
            theirs,
            stream: Default::default(),
            heartbeat,
        }));
        self.memory = Memory {
            remote: Some(remote),
            base,
            ..memory
        };
        self.before.clear();
        self.run = Some(run.clone());
        Ok(())
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(Written {
                through: self.memory.encoding.next.saturating_sub(1),
                rejected: Vec::new(),
                accepted: 0,
            });
        };
        let before = self.encoding_at(first.n);
        let (Some(run), Some(online)) = (&self.run, &mut self.online) else {
            return Err(not_open());
        };
        let scope = scope(run, &self.config, self.memory.base);
        let sent = &self.memory.artifacts;
        let stored = online.write(&scope, &before, batch, run, sent).await?;
        self.remember(before, stored.state);
        for (path, sha256) in stored.artifacts {
            if self.memory.artifacts.len() < MOST_ARTIFACTS {
                self.memory.artifacts.insert(path, sha256);
            }
        }
        Ok(Written {
            through: last.n,
            rejected: stored.rejected,
            accepted: stored.accepted,
        })
    }

    async fn finish(
        &mut self,
        status: RunStatus,
        deadline: Duration,
    ) -> Result<Receipt, ExportError> {
        let (Some(run), Some(online)) = (&self.run, &mut self.online) else {
            return Err(not_open());
        };
        let scope = scope(run, &self.config, self.memory.base);
        let work = online.finish(&scope, &self.memory.encoding, status);
        let late = |_| {
            let seconds = deadline.as_secs_f64();
            ExportError::retry(format!("no time was left to finish ({seconds:.1} s)"))
        };
        let left_out = tokio::time::timeout(deadline, work).await.map_err(late)??;
        let remote = &online.remote;
        let mut details = json!({
            "entity": remote.entity,
            "project": remote.project,
            "run_id": remote.run,
        });
        if !left_out.is_empty() {
            details["config_left_out_as_too_large"] = json!(left_out);
        }
        if let (Some(heartbeat), Some(fields)) = (&online.heartbeat, details.as_object_mut()) {
            let (sent, failed, cpu_s) = heartbeat.counts();
            let told = json!({"sent": sent, "failed": failed, "cpu_s": cpu_s});
            fields.insert("heartbeat".to_owned(), told);
        }
        Ok(Receipt {
            look_at: Some(remote.page(self.client.base())),
            details,
        })
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.memory).unwrap_or(Value::Null)
    }
}

fn not_open() -> ExportError {
    ExportError::retry("the run is not open at W&B")
}
