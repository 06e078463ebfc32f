//! `integrations.mlflow`: the section, its defaults, and what is wrong with it.

mod environment;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use lem_record::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

pub use environment::{VARIABLES, Variable};
pub use target::Target;
pub(crate) use target::file_path;

use crate::limits;

/// Where and how runs go to MLflow.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MlflowConfig {
    pub enabled: bool,
    /// `http(s)://HOST[:PORT][/PREFIX]` of a tracking server, or a folder (a path or
    /// `file:` URI) for a store without a server. `./mlruns` where it is not set.
    #[serde(serialize_with = "shown_uri")]
    pub tracking_uri: Option<String>,
    /// Created where it does not exist. `lem` where neither it nor the id is set.
    pub experiment_name: Option<String>,
    /// Of an existing experiment; goes before the name.
    pub experiment_id: Option<String>,
    /// Of an existing MLflow run to write into, instead of a new one.
    pub run_id: Option<String>,
    /// The run's own name where it is not set.
    pub run_name: Option<String>,
    /// More tags for the run.
    pub tags: BTreeMap<String, String>,
    /// On a server with workspaces.
    pub workspace: Option<String>,
    /// With `password`, for Basic authentication; goes before the token.
    pub username: Option<String>,
    #[schemars(with = "Option<String>")]
    pub password: Option<Secret>,
    /// For Bearer authentication.
    #[schemars(with = "Option<String>")]
    pub token: Option<Secret>,
    /// Accept any certificate of the server.
    pub insecure_tls: bool,
    /// PEM file with the authorities that sign the server's certificate.
    pub server_cert_path: Option<PathBuf>,
    /// PEM file with a client certificate and its private key.
    pub client_cert_path: Option<PathBuf>,
    /// How often a request is tried again.
    pub max_retries: u32,
    /// Seconds before the first retry, doubled at each.
    pub backoff_factor: f64,
    /// Up to so many seconds more, at random.
    pub backoff_jitter: f64,
    /// For one request.
    pub timeout_s: f64,
    /// Send the run's files: result, configuration, series.
    pub upload_artifacts: bool,
    /// Send power, use and memory also under the `system/` keys that MLflow's UI draws.
    pub log_system_metrics: bool,
}

impl Default for MlflowConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            tracking_uri: None,
            experiment_name: None,
            experiment_id: None,
            run_id: None,
            run_name: None,
            tags: BTreeMap::new(),
            workspace: None,
            username: None,
            password: None,
            token: None,
            insecure_tls: false,
            server_cert_path: None,
            client_cert_path: None,
            max_retries: 7,
            backoff_factor: 2.0,
            backoff_jitter: 1.0,
            timeout_s: 120.0,
            upload_artifacts: true,
            log_system_metrics: true,
        }
    }
}

/// As it is serialised: without secrets.
impl fmt::Debug for MlflowConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "MlflowConfig{shown}")
    }
}

#[allow(clippy::ref_option)] // serde gives it so
fn shown_uri<S: Serializer>(uri: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    uri.as_deref().map(target::shown).serialize(serializer)
}

/// One thing that is wrong with the section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("integrations.mlflow.{key}: {problem}. {remedy}")]
pub struct ConfigError {
    pub key: &'static str,
    pub problem: String,
    pub remedy: String,
}

impl ConfigError {
    fn new(key: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            key,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl MlflowConfig {
    /// Everything that is wrong in itself, at once; else the destination.
    pub fn target(&self) -> Result<Target, Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let target = target::parse(self.tracking_uri.as_deref());
        let (name, id) = (
            self.experiment_name.as_deref(),
            self.experiment_id.as_deref(),
        );
        if name
            .is_some_and(|name| name.is_empty() || name.chars().count() > limits::EXPERIMENT_NAME)
        {
            let what = format!(
                "an experiment's name has 1 to {} characters",
                limits::EXPERIMENT_NAME
            );
            wrong.push(ConfigError::new(
                "experiment_name",
                what,
                "Choose a shorter one",
            ));
        }
        for (key, value) in [("experiment_id", id), ("run_id", self.run_id.as_deref())] {
            if value.is_some_and(|value| !is_id(value)) {
                wrong.push(ConfigError::new(
                    key,
                    "an id is made of letters, digits, _ and -",
                    "Copy it from the address of its page in MLflow",
                ));
            }
        }
        if !(self.timeout_s.is_finite() && self.timeout_s > 0.0 && self.timeout_s <= 86_400.0) {
            wrong.push(ConfigError::new(
                "timeout_s",
                format!("{} is not between 0 and 86400 seconds", self.timeout_s),
                "Leave it out for 120",
            ));
        }
        for (key, value) in [
            ("backoff_factor", self.backoff_factor),
            ("backoff_jitter", self.backoff_jitter),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                wrong.push(ConfigError::new(
                    key,
                    format!("{value} is not a number of seconds"),
                    "Leave it out for the default",
                ));
            }
        }
        if self.password.is_some() && self.username.is_none() {
            wrong.push(ConfigError::new(
                "password",
                "it needs a username",
                "Set username (MLFLOW_TRACKING_USERNAME), or use a token",
            ));
        }
        match target {
            Ok(target) if wrong.is_empty() => Ok(target),
            Ok(_) => Err(wrong),
            Err(error) => {
                wrong.insert(0, error);
                Err(wrong)
            }
        }
    }

    pub(crate) fn experiment(&self) -> Experiment<'_> {
        match (&self.experiment_id, &self.experiment_name) {
            (Some(id), _) => Experiment::Id(id),
            (None, Some(name)) => Experiment::Name(name),
            (None, None) => Experiment::Name("lem"),
        }
    }

    /// For people, and for the cursor: without secrets.
    pub(crate) fn destination(&self, target: &Target) -> String {
        let place = match target {
            Target::Server(base) => target::shown(base).trim_end_matches('/').to_owned(),
            Target::Files(root) => root.display().to_string(),
        };
        let workspace = self.workspace.as_ref().map(|w| format!(", workspace {w}"));
        let within = match (&self.run_id, self.experiment()) {
            (Some(run), _) => format!("run {run}"),
            (None, Experiment::Id(id)) => format!("experiment id {id}"),
            (None, Experiment::Name(name)) => format!("experiment {name}"),
        };
        format!("{place}, {within}{}", workspace.unwrap_or_default())
    }
}

/// How the experiment is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Experiment<'a> {
    Id(&'a str),
    Name(&'a str),
}

fn is_id(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=256).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(word)
}
