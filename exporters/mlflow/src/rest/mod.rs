//! A tracking server over REST.

mod error;
mod open;
mod types;

use lem_http::{Auth, Client, Config, Remedies, Reply, Request, Tls};
use lem_record::ExportError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use error::code;
pub(crate) use open::{check, connect, open};
pub(crate) use types::{Remote, ServerInfo};

use crate::MlflowConfig;
use types::{Experiment, Run};

const API: &str = "/api/2.0/mlflow/";

const REMEDIES: Remedies = Remedies {
    credentials: "Set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, to credentials that may write there",
    address: "Check MLFLOW_TRACKING_URI (integrations.mlflow.tracking_uri): it is the address of an MLflow tracking server, with its path prefix if it has one",
    certificate: "Set MLFLOW_TRACKING_SERVER_CERT_PATH to the PEM file of the authority that signed it, or MLFLOW_TRACKING_INSECURE_TLS=true to trust it unseen",
};

pub(crate) fn client(base: &str, config: &MlflowConfig) -> Result<Client, ExportError> {
    let auth = match (&config.username, &config.password, &config.token) {
        (Some(user), password, _) => Auth::Basic {
            user: user.clone(),
            password: password.clone().unwrap_or_default(),
        },
        (None, _, Some(token)) => Auth::Bearer(token.clone()),
        (None, _, None) => Auth::None,
    };
    Client::new(Config {
        auth,
        timeout: std::time::Duration::from_secs_f64(config.timeout_s),
        tls: Tls {
            ca_path: config.server_cert_path.clone(),
            client_cert_path: config.client_cert_path.clone(),
            insecure: config.insecure_tls,
        },
        remedies: REMEDIES,
        ..Config::new(base)
    })
}

/// The calls that lem makes, with their errors classified.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub client: Client,
    /// Sent along only where the server has workspaces: one without them fails every
    /// request that names one.
    pub workspace: Option<String>,
}

impl Api {
    fn named<'a>(&self, request: Request<'a>) -> Request<'a> {
        match &self.workspace {
            Some(workspace) => request.header("X-MLFLOW-WORKSPACE", workspace),
            None => request,
        }
    }

    pub fn get(&self, path: &str) -> Request<'_> {
        self.named(self.client.get(path))
    }

    pub fn post(&self, path: &str) -> Request<'_> {
        self.named(self.client.post(path))
    }

    pub fn put(&self, path: &str) -> Request<'_> {
        self.named(self.client.put(path))
    }

    /// What an answer that is no success means: MLflow's own codes first.
    pub fn error(&self, reply: &Reply) -> ExportError {
        error::classify(reply, &self.client)
    }

    fn read<T: DeserializeOwned>(&self, reply: &Reply) -> Result<T, ExportError> {
        if reply.is_success() {
            reply.json()
        } else {
            Err(self.error(reply))
        }
    }

    /// `None` where the server says that there is no such thing.
    fn found<T: DeserializeOwned>(&self, reply: &Reply) -> Result<Option<T>, ExportError> {
        match code(reply).as_deref() {
            Some("RESOURCE_DOES_NOT_EXIST") => Ok(None),
            _ => self.read(reply).map(Some),
        }
    }

    /// Servers before 3.8 have no such page.
    pub async fn server_info(&self) -> Result<ServerInfo, ExportError> {
        let reply = self
            .client
            .get("/api/3.0/mlflow/server-info")
            .send()
            .await?;
        match reply.status {
            404 | 405 => Ok(ServerInfo::default()),
            _ => self.read(&reply),
        }
    }

    pub async fn version(&self) -> Result<Reply, ExportError> {
        self.client.get("/version").send().await
    }

    async fn experiment_named(&self, name: &str) -> Result<Option<Experiment>, ExportError> {
        let request = self
            .get(&path("experiments/get-by-name"))
            .query("experiment_name", name);
        let found: Option<types::OfExperiment> = self.found(&request.send().await?)?;
        Ok(found.map(|answer| answer.experiment))
    }

    async fn experiment(&self, id: &str) -> Result<Option<Experiment>, ExportError> {
        let request = self
            .get(&path("experiments/get"))
            .query("experiment_id", id);
        let found: Option<types::OfExperiment> = self.found(&request.send().await?)?;
        Ok(found.map(|answer| answer.experiment))
    }

    /// The new one's id; none where another was faster.
    async fn create_experiment(&self, name: &str) -> Result<Option<String>, ExportError> {
        #[derive(Deserialize)]
        struct Created {
            experiment_id: String,
        }
        let request = self
            .post(&path("experiments/create"))
            .json(&json!({"name": name}));
        let reply = request.send().await?;
        if code(&reply).as_deref() == Some("RESOURCE_ALREADY_EXISTS") {
            return Ok(None);
        }
        let created: Created = self.read(&reply)?;
        Ok(Some(created.experiment_id))
    }

    async fn run(&self, id: &str) -> Result<Option<Run>, ExportError> {
        let reply = self
            .get(&path("runs/get"))
            .query("run_id", id)
            .send()
            .await?;
        let found: Option<types::OfRun> = self.found(&reply)?;
        Ok(found.map(|answer| answer.run))
    }

    /// The runs of an experiment that carry lem's id.
    async fn runs_tagged(&self, experiment: &str, run_id: &str) -> Result<Vec<Run>, ExportError> {
        #[derive(Deserialize)]
        struct Found {
            #[serde(default)]
            runs: Vec<Run>,
        }
        let quote = if run_id.contains('\'') { '"' } else { '\'' };
        let body = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.`lem.run_id` = {quote}{run_id}{quote}"),
            "max_results": 10,
        });
        let reply = self.post(&path("runs/search")).json(&body).send().await?;
        let found: Found = self.read(&reply)?;
        Ok(found.runs)
    }

    /// Not to be repeated by itself: it makes a new run each time.
    async fn create_run(&self, body: &Value) -> Result<Run, ExportError> {
        let reply = self
            .post(&path("runs/create"))
            .json(body)
            .once()
            .send()
            .await?;
        let created: types::OfRun = self.read(&reply)?;
        Ok(created.run)
    }

    async fn delete_run(&self, id: &str) -> Result<(), ExportError> {
        let reply = self
            .post(&path("runs/delete"))
            .json(&json!({"run_id": id}))
            .send()
            .await?;
        let _: Value = self.read(&reply)?;
        Ok(())
    }

    pub async fn log_batch(&self, body: Vec<u8>) -> Result<Reply, ExportError> {
        self.post(&path("runs/log-batch"))
            .body(body, "application/json")
            .send()
            .await
    }

    pub async fn log_inputs(&self, body: &Value) -> Result<Reply, ExportError> {
        self.post(&path("runs/log-inputs")).json(body).send().await
    }

    /// The params that the run has.
    pub async fn params(&self, id: &str) -> Result<Vec<types::Pair>, ExportError> {
        Ok(self
            .run(id)
            .await?
            .map(|run| run.data.params)
            .unwrap_or_default())
    }

    pub async fn update_run(&self, body: &Value) -> Result<(), ExportError> {
        let reply = self.post(&path("runs/update")).json(body).send().await?;
        let _: Value = self.read(&reply)?;
        Ok(())
    }

    pub async fn set_tag(&self, run: &str, key: &str, value: &str) -> Result<(), ExportError> {
        let body = json!({"run_id": run, "key": key, "value": value});
        let reply = self.post(&path("runs/set-tag")).json(&body).send().await?;
        let _: Value = self.read(&reply)?;
        Ok(())
    }

    /// Whether the server sees an artifact of this path.
    pub async fn sees(&self, run: &str, artifact: &str) -> Result<bool, ExportError> {
        #[derive(Deserialize)]
        struct Listed {
            #[serde(default)]
            files: Vec<File>,
        }
        #[derive(Deserialize)]
        struct File {
            path: String,
        }
        let mut request = self.get(&path("artifacts/list")).query("run_id", run);
        if let Some((folder, _)) = artifact.rsplit_once('/') {
            request = request.query("path", folder);
        }
        let listed: Listed = self.read(&request.send().await?)?;
        Ok(listed.files.iter().any(|file| file.path == artifact))
    }
}

fn path(call: &str) -> String {
    format!("{API}{call}")
}
