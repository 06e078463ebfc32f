//! The spans of a run beside its metrics in MLflow, which takes OTLP at `/v1/traces`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lem_http::{Auth, Client, Config, Remedies, Reply, Request, Tls, url_without_secrets};
use lem_record::{ExportError, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) const PATH: &str = "/v1/traces";

const REMEDIES: Remedies = Remedies {
    credentials: "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    address: "Check MLFLOW_TRACKING_URI; the server must be MLflow 3.6 or newer, with a database",
    certificate: "Set MLFLOW_TRACKING_SERVER_CERT_PATH to the PEM file of the authority that signed it, or MLFLOW_TRACKING_INSECURE_TLS=true to trust it unseen",
};

/// The tracking server whose run of this run the spans belong to: the same as the
/// sink `mlflow` has, which makes that run.
#[derive(Clone)]
pub struct MlflowTraces {
    /// `http(s)://…`
    pub tracking_uri: String,
    pub experiment_name: Option<String>,
    /// Goes before the name.
    pub experiment_id: Option<String>,
    /// The MLflow run, where it is known; else that which carries lem's run id.
    pub run_id: Option<String>,
    pub workspace: Option<String>,
    /// With the password, it goes before the token.
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub token: Option<Secret>,
    pub insecure_tls: bool,
    pub server_cert_path: Option<PathBuf>,
    pub client_cert_path: Option<PathBuf>,
    /// For one request, seconds.
    pub timeout_s: f64,
}

impl fmt::Debug for MlflowTraces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MlflowTraces({})", self.destination())
    }
}

/// The run and its experiment at the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remote {
    pub experiment_id: String,
    pub run_id: String,
}

impl MlflowTraces {
    pub(crate) const REMEDIES: Remedies = REMEDIES;

    pub(crate) fn client(&self) -> Result<Client, ExportError> {
        let auth = match (&self.username, &self.token) {
            (Some(user), _) => Auth::Basic {
                user: user.clone(),
                password: self.password.clone().unwrap_or_default(),
            },
            (None, Some(token)) => Auth::Bearer(token.clone()),
            (None, None) => Auth::None,
        };
        Client::new(Config {
            auth,
            timeout: Duration::try_from_secs_f64(self.timeout_s)
                .unwrap_or(Duration::from_secs(120)),
            tls: Tls {
                ca_path: self.server_cert_path.clone(),
                client_cert_path: self.client_cert_path.clone(),
                insecure: self.insecure_tls,
            },
            remedies: REMEDIES,
            max_reply_bytes: 1 << 20,
            ..Config::new(&self.tracking_uri)
        })
    }

    fn experiment(&self) -> String {
        match (&self.experiment_id, &self.experiment_name) {
            (Some(id), _) => format!("experiment id {id}"),
            (None, name) => format!("experiment {}", name.as_deref().unwrap_or("lem")),
        }
    }

    pub(crate) fn destination(&self) -> String {
        let base = url_without_secrets(&self.tracking_uri);
        let within = match &self.run_id {
            Some(run) => format!("run {run}"),
            None => self.experiment(),
        };
        let workspace = self.workspace.as_ref().map(|w| format!(", workspace {w}"));
        let base = base.trim_end_matches('/');
        format!("{base}{PATH}, {within}{}", workspace.unwrap_or_default())
    }

    /// What MLflow wants to know with each request.
    pub(crate) fn headers(&self, remote: &Remote) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("x-mlflow-experiment-id", remote.experiment_id.clone()),
            ("x-mlflow-run-id", remote.run_id.clone()),
        ];
        headers.extend(self.workspace_header());
        headers
    }

    fn workspace_header(&self) -> Option<(&'static str, String)> {
        let workspace = self.workspace.clone().filter(|w| w != "default");
        workspace.map(|workspace| ("x-mlflow-workspace", workspace))
    }

    fn named<'a>(&self, request: Request<'a>) -> Request<'a> {
        match self.workspace_header() {
            Some((name, value)) => request.header(name, value),
            None => request,
        }
    }

    /// The run that the sink `mlflow` made. Until it is there, the spans wait.
    pub(crate) async fn find(&self, client: &Client, run: &str) -> Result<Remote, ExportError> {
        if let Some(id) = &self.run_id {
            let request = client.get("/api/2.0/mlflow/runs/get").query("run_id", id);
            let reply = self.named(request).send().await?;
            let found = body(client, &reply, &format!("run {id}"))?;
            return remote(&found["run"]["info"]).ok_or_else(|| not_mlflow(client, &reply));
        }
        let experiment = match &self.experiment_id {
            Some(id) => id.clone(),
            None => {
                let name = self.experiment_name.as_deref().unwrap_or("lem");
                let request = client
                    .get("/api/2.0/mlflow/experiments/get-by-name")
                    .query("experiment_name", name);
                let reply = self.named(request).send().await?;
                let found = body(client, &reply, &self.experiment())?;
                let id = found.pointer("/experiment/experiment_id");
                let id = id.and_then(Value::as_str);
                id.ok_or_else(|| not_mlflow(client, &reply))?.to_owned()
            }
        };
        let quote = if run.contains('\'') { '"' } else { '\'' };
        let search = json!({
            "experiment_ids": [experiment],
            "filter": format!("tags.`lem.run_id` = {quote}{run}{quote}"),
            "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
            "max_results": 1,
        });
        let request = client.post("/api/2.0/mlflow/runs/search").json(&search);
        let reply = self.named(request).send().await?;
        let found = body(client, &reply, &self.experiment())?;
        let first = found.pointer("/runs/0/info");
        first
            .and_then(remote)
            .ok_or_else(|| not_yet(client, &format!("run with the tag lem.run_id={run}")))
    }
}

fn remote(info: &Value) -> Option<Remote> {
    let text = |key: &str| info[key].as_str().map(str::to_owned);
    Some(Remote {
        experiment_id: text("experiment_id")?,
        run_id: text("run_id")?,
    })
}

fn body(client: &Client, reply: &Reply, what: &str) -> Result<Value, ExportError> {
    let missing = reply.status == 404
        && String::from_utf8_lossy(&reply.body).contains("RESOURCE_DOES_NOT_EXIST");
    match reply.is_success() {
        true => reply.json(),
        false if missing => Err(not_yet(client, what)),
        false => Err(client.error(reply)),
    }
}

fn not_yet(client: &Client, what: &str) -> ExportError {
    ExportError::retry(format!(
        "{} has no {what} yet; the sink mlflow makes it",
        client.base()
    ))
}

fn not_mlflow(client: &Client, reply: &Reply) -> ExportError {
    ExportError::retry(format!(
        "{} did not answer {} as MLflow does",
        client.base(),
        reply.what
    ))
}
