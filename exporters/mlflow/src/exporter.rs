use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lem_http::Client;
use lem_record::{Check, Envelope, ExportError, Exporter, Receipt, RunContext, RunStatus, Written};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifacts::Artifacts;
use crate::encode::{Scope, State};
use crate::rest::{self, Api, Remote};
use crate::send::{self, Server};
use crate::store::{self, Store};
use crate::{ConfigError, MlflowConfig, Target};

/// The sink `mlflow`.
#[derive(Debug)]
pub struct MlflowExporter {
    config: Arc<MlflowConfig>,
    target: Target,
    /// Where the target is a server.
    client: Option<Client>,
    run: Option<RunContext>,
    place: Option<Place>,
    memory: Memory,
    /// The encoding states at the starts of the latest batches: delivery may send one
    /// of them again.
    before: VecDeque<State>,
}

/// The open run.
#[derive(Debug)]
enum Place {
    Server(Box<Server>),
    Files(Arc<Mutex<Store>>),
}

/// What is kept in the cursor file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    remote: Option<Remote>,
    encoding: State,
    /// SHA-256 of each artifact that is there, by path.
    artifacts: BTreeMap<String, String>,
}

/// Whatever is not remembered is sent once more.
const MOST_ARTIFACTS: usize = 1000;
const MOST_STATES: usize = 16;

/// By this tag MLflow shows a run below another.
const PARENT: &str = "mlflow.parentRunId";

impl MlflowExporter {
    /// Connects to nothing. All that is wrong with the configuration is told at once.
    pub fn new(config: MlflowConfig) -> Result<Self, Vec<ConfigError>> {
        let target = config.target()?;
        let client = match &target {
            Target::Files(_) => None,
            Target::Server(base) => Some(rest::client(base, &config).map_err(|error| {
                let (problem, remedy) = match error {
                    ExportError::GiveUp { reason, remedy } => (reason, remedy),
                    ExportError::Retry { reason, .. } => (reason, String::new()),
                };
                vec![ConfigError {
                    key: "tracking_uri",
                    problem,
                    remedy,
                }]
            })?),
        };
        Ok(Self {
            config: Arc::new(config),
            target,
            client,
            run: None,
            place: None,
            memory: Memory::default(),
            before: VecDeque::new(),
        })
    }

    pub fn config(&self) -> &MlflowConfig {
        &self.config
    }

    /// The state with which the batch that begins with record `n` is to be encoded.
    fn encoding_at(&self, n: u64) -> State {
        // Delivery leaves out what it thinned away whole: a batch may begin after `next`.
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

    fn open_place(&mut self) -> Result<(&RunContext, &mut Place), ExportError> {
        match (&self.run, &mut self.place) {
            (Some(run), Some(place)) => Ok((run, place)),
            _ => Err(ExportError::retry("the run is not open at MLflow")),
        }
    }
}

#[async_trait]
impl Exporter for MlflowExporter {
    fn name(&self) -> &'static str {
        "mlflow"
    }

    fn destination(&self) -> String {
        self.config.destination(&self.target)
    }

    async fn check(&self) -> Check {
        match (&self.client, self.target.root()) {
            (Some(client), _) => rest::check(client, &self.config).await,
            (None, Some(root)) => store::check(root, &self.config),
            (None, None) => Check::default(),
        }
    }

    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError> {
        // a state that cannot be read is that of another version: the tag finds the run
        let memory: Memory = serde_json::from_value(state.clone()).unwrap_or_default();
        let known = memory.remote.as_ref();
        let (remote, place) = match (&self.client, self.target.root()) {
            (Some(client), _) => {
                let (api, info, remote) = rest::open(client, &self.config, run, known).await?;
                let multipart = info.multipart_uploads_enabled;
                let artifacts = Artifacts::new(&api, &remote, multipart);
                let server = Server {
                    api,
                    remote: remote.clone(),
                    artifacts,
                    too_large: usize::MAX,
                };
                (remote, Place::Server(Box::new(server)))
            }
            (None, root) => {
                let root = root.unwrap_or(Path::new("mlruns"));
                let store = Store::open(root, &self.config, run, known)?;
                (
                    store.remote.clone(),
                    Place::Files(Arc::new(Mutex::new(store))),
                )
            }
        };
        self.memory = Memory {
            remote: Some(remote),
            ..memory
        };
        self.before.clear();
        self.run = Some(run.clone());
        self.place = Some(place);
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
        let through = last.n;
        let before = self.encoding_at(first.n);
        let config = Arc::clone(&self.config);
        let sent = self.memory.artifacts.clone();
        let (run, place) = self.open_place()?;
        let outcome = match place {
            Place::Server(server) => {
                let scope = scope(run, &config);
                send::write(server, &scope, &before, batch, &run.folder, &sent).await?
            }
            Place::Files(store) => {
                let (store, run) = (Arc::clone(store), run.clone());
                let (before, batch) = (before.clone(), batch.to_vec());
                let work = move || {
                    let scope = scope(&run, &config);
                    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
                    let is_sent = |path: &str, sha: &str| sent.get(path).is_some_and(|s| s == sha);
                    store.write(&scope, &before, &batch, &run.folder, is_sent)
                };
                blocking(work).await?
            }
        };
        self.remember(before, outcome.state);
        for (path, sha256) in outcome.artifacts {
            if self.memory.artifacts.len() < MOST_ARTIFACTS {
                self.memory.artifacts.insert(path, sha256);
            }
        }
        Ok(Written {
            through,
            rejected: outcome.rejected,
            accepted: outcome.accepted,
        })
    }

    async fn finish(
        &mut self,
        status: RunStatus,
        deadline: Duration,
    ) -> Result<Receipt, ExportError> {
        let encoding = &self.memory.encoding;
        // the record of a killed run's end was written by another process, later
        let ended = match status {
            RunStatus::Killed => None,
            _ => encoding.end_ms,
        };
        let end_ms = ended.unwrap_or(encoding.last_ms).max(1);
        let workspace = self.config.workspace.clone();
        let (_, place) = self.open_place()?;
        let (look_at, remote) = match place {
            Place::Server(server) => {
                let work = send::finish(server, status, end_ms);
                let late = |_| {
                    let seconds = deadline.as_secs_f64();
                    ExportError::retry(format!("no time was left to finish ({seconds:.1} s)"))
                };
                tokio::time::timeout(deadline, work).await.map_err(late)??;
                (server.page(workspace.as_deref()), server.remote.clone())
            }
            Place::Files(store) => {
                let store = Arc::clone(store);
                let work = move || {
                    let store = store.lock().unwrap_or_else(PoisonError::into_inner);
                    store.finish(mlflow_status(status).1, end_ms, status.as_str())?;
                    Ok((store.folder().display().to_string(), store.remote.clone()))
                };
                blocking(work).await?
            }
        };
        Ok(Receipt {
            look_at: Some(look_at),
            details: json!({
                "run_id": remote.run_id,
                "experiment_id": remote.experiment_id,
                "artifact_uri": remote.artifact_uri,
            }),
        })
    }

    async fn adopt(&mut self, parent: &Value, child: &Value) -> Result<bool, ExportError> {
        let remote = |state: &Value| {
            let memory: Memory = serde_json::from_value(state.clone()).unwrap_or_default();
            memory.remote
        };
        let (Some(parent), Some(child)) = (remote(parent), remote(child)) else {
            return Err(ExportError::retry("a run is not at MLflow yet"));
        };
        match (&self.client, self.target.root()) {
            (Some(client), _) => {
                let (api, _) = rest::connect(client, &self.config).await?;
                api.set_tag(&child.run_id, PARENT, &parent.run_id).await?;
            }
            (None, root) => {
                let root = root.unwrap_or(Path::new("mlruns")).to_owned();
                blocking(move || store::set_tag(&root, &child, PARENT, &parent.run_id)).await?;
            }
        }
        Ok(true)
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.memory).unwrap_or(Value::Null)
    }
}

fn scope<'a>(run: &'a RunContext, config: &'a MlflowConfig) -> Scope<'a> {
    Scope {
        run_id: &run.run_id,
        started: &run.started,
        started_at: run.started_at,
        config,
    }
}

/// MLflow's name and number of a status.
pub(crate) const fn mlflow_status(status: RunStatus) -> (&'static str, i64) {
    match status {
        RunStatus::Finished => ("FINISHED", 3),
        RunStatus::Failed => ("FAILED", 4),
        RunStatus::Interrupted | RunStatus::Killed => ("KILLED", 5),
    }
}

/// On a thread where it may wait for the disk. It goes on when the caller is
/// cancelled; whoever comes next waits for it at the store's lock.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ExportError> + Send + 'static,
) -> Result<T, ExportError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ExportError::retry("the file store's thread stopped")))
}

impl Server {
    fn page(&self, workspace: Option<&str>) -> String {
        let Remote {
            experiment_id,
            run_id,
            ..
        } = &self.remote;
        let api: &Api = &self.api;
        let workspace = workspace.filter(|_| api.workspace.is_some());
        let query = workspace
            .map(|w| format!("?workspace={w}"))
            .unwrap_or_default();
        format!(
            "{}/#/experiments/{experiment_id}/runs/{run_id}{query}",
            api.client.base()
        )
    }
}
