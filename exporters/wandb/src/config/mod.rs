//! `integrations.wandb`: the section, its defaults, and what is wrong with it.

mod environment;
mod netrc;

use std::fmt;
use std::path::{Path, PathBuf};

use lem_http::url_without_secrets;
use lem_record::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

pub use environment::{VARIABLES, Variable};

use crate::limits;

/// Whether runs are sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// To the server.
    Online,
    /// Into a folder that `wandb sync` uploads.
    Offline,
    /// Nowhere.
    Disabled,
}

/// What to do where the run exists at W&B already. Lem always goes on with its own run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// Go on with it; else make it.
    Allow,
    /// Go on with it; one that does not exist is an error.
    Must,
    /// Make it; one that exists, and is not of this run of lem, is an error.
    Never,
}

/// Where and how runs go to Weights & Biases.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WandbConfig {
    pub enabled: bool,
    /// Left out: online, or offline where there is neither a key nor a terminal.
    pub mode: Option<Mode>,
    /// `http(s)://` address of the server. `https://api.wandb.ai` where it is not set.
    #[serde(serialize_with = "shown_url")]
    pub base_url: Option<String>,
    #[schemars(with = "Option<String>")]
    pub api_key: Option<Secret>,
    /// User or team that owns the project; the key's own where it is not set.
    pub entity: Option<String>,
    /// Created where it does not exist. `lem` where it is not set.
    pub project: Option<String>,
    /// The run's own name where it is not set.
    pub name: Option<String>,
    pub notes: Option<String>,
    pub tags: Vec<String>,
    /// Runs of one group are shown together.
    pub group: Option<String>,
    pub job_type: Option<String>,
    /// Of the run at W&B; made of lem's run id where it is not set.
    pub run_id: Option<String>,
    pub resume: Option<Resume>,
    /// Parent of the folder `wandb` with the offline runs; the current folder where it is not set.
    pub dir: Option<PathBuf>,
    /// Name of this machine, as W&B shows it.
    pub host: Option<String>,
    /// PEM file with the authorities that sign the server's certificate.
    pub ca_cert_path: Option<PathBuf>,
    /// For one request, seconds.
    pub timeout_s: f64,
    /// Send the run's files: result, configuration, series.
    pub upload_artifacts: bool,
    /// Send power, use and memory of the GPUs also as W&B's own system metrics.
    pub system_metrics: bool,
    /// Tell W&B every 30 s that the run is alive, while it is measured too: without
    /// it a run that is silent for some minutes is shown as crashed.
    pub heartbeat: bool,
    /// Whether somebody sits at a terminal who can be asked to get a key.
    #[serde(skip)]
    pub terminal: bool,
}

impl Default for WandbConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            mode: None,
            base_url: None,
            api_key: None,
            entity: None,
            project: None,
            name: None,
            notes: None,
            tags: Vec::new(),
            group: None,
            job_type: None,
            run_id: None,
            resume: None,
            dir: None,
            host: None,
            ca_cert_path: None,
            timeout_s: 60.0,
            upload_artifacts: true,
            system_metrics: true,
            heartbeat: true,
            terminal: false,
        }
    }
}

/// As it is serialised: without secrets.
impl fmt::Debug for WandbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        write!(f, "WandbConfig{shown}")
    }
}

#[allow(clippy::ref_option)] // serde gives it so
fn shown_url<S: Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_deref()
        .map(url_without_secrets)
        .map(|url| url.trim_end_matches('/').to_owned())
        .serialize(serializer)
}

/// One thing that is wrong with the section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("integrations.wandb.{key}: {problem}. {remedy}")]
pub struct ConfigError {
    pub key: &'static str,
    pub problem: String,
    pub remedy: String,
}

impl ConfigError {
    pub(crate) fn new(
        key: &'static str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            key,
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

/// W&B's own service.
pub(crate) const SERVICE: &str = "https://api.wandb.ai";

impl WandbConfig {
    /// Online, offline or disabled, with what was not said decided.
    pub fn mode(&self) -> Mode {
        match self.mode {
            Some(mode) => mode,
            None if self.api_key.is_none() && !self.terminal => Mode::Offline,
            None => Mode::Online,
        }
    }

    /// Without a slash at its end.
    pub(crate) fn base_url(&self) -> &str {
        let base = self.base_url.as_deref().unwrap_or(SERVICE);
        base.trim().trim_end_matches('/')
    }

    pub fn project(&self) -> &str {
        self.project.as_deref().unwrap_or("lem")
    }

    /// The folder that holds the offline runs. Absolute: another current folder is
    /// another destination.
    pub fn offline_root(&self) -> PathBuf {
        let root = self.dir.as_deref().unwrap_or(Path::new(".")).join("wandb");
        std::path::absolute(&root).unwrap_or(root)
    }

    /// For people, and for the cursor: without secrets.
    pub(crate) fn destination(&self) -> String {
        let entity = self.entity.as_ref().map(|entity| format!("{entity}/"));
        let project = format!("{}{}", entity.unwrap_or_default(), self.project());
        let run = self.run_id.as_ref().map(|run| format!(", run {run}"));
        let place = match self.mode() {
            Mode::Offline => self.offline_root().display().to_string(),
            Mode::Online | Mode::Disabled => url_without_secrets(self.base_url())
                .trim_end_matches('/')
                .to_owned(),
        };
        format!("{place}, project {project}{}", run.unwrap_or_default())
    }

    /// Everything that is wrong in itself, at once.
    pub fn check(&self) -> Result<(), Vec<ConfigError>> {
        let mut wrong = Vec::new();
        let mut say = |key, problem: String, remedy: &str| {
            wrong.push(ConfigError::new(key, problem, remedy));
        };
        if let Some(why) = not_a_server(self.base_url()) {
            say(
                "base_url",
                why,
                "Write https://HOST of your W&B server, or leave it out for W&B's own service",
            );
        }
        if self.mode() == Mode::Online {
            match &self.api_key {
                None => say(
                    "api_key",
                    "there is no key, and W&B takes nothing without one".to_owned(),
                    "Set WANDB_API_KEY (https://wandb.ai/authorize shows yours), or WANDB_MODE=offline and upload later with `wandb sync`",
                ),
                Some(key) if !key.expose().chars().all(|c| c.is_ascii_graphic()) => say(
                    "api_key",
                    "the key holds a blank or a character that no key has".to_owned(),
                    "Copy it again, without a line break",
                ),
                Some(_) => {}
            }
        }
        for (key, name, most, bad) in [
            ("entity", &self.entity, limits::PROJECT, "/\\#?%: "),
            ("project", &self.project, limits::PROJECT, "/\\#?%:"),
            ("run_id", &self.run_id, limits::RUN_ID, ":;,#?/'\\% "),
        ] {
            let Some(name) = name else { continue };
            let forbidden = |c: char| c.is_control() || bad.contains(c);
            if name.is_empty() || name.trim() != name || name.contains(forbidden) {
                say(
                    key,
                    format!("{name:?} is no name that W&B takes"),
                    "Use letters, digits, - and _",
                );
            } else if name.chars().count() > most {
                say(
                    key,
                    format!("it has more than {most} characters"),
                    "Choose a shorter one",
                );
            }
        }
        for (key, name) in [
            ("name", &self.name),
            ("group", &self.group),
            ("job_type", &self.job_type),
        ] {
            let most = limits::NAME;
            if name
                .as_ref()
                .is_some_and(|name| name.is_empty() || name.chars().count() > most)
            {
                say(
                    key,
                    format!("it has 1 to {most} characters at W&B"),
                    "Choose another one",
                );
            }
        }
        let fits = |tag: &String| (1..=limits::TAG).contains(&tag.chars().count());
        if let Some(tag) = self.tags.iter().find(|tag| !fits(tag)) {
            let shown: String = tag.chars().take(20).collect();
            let most = limits::TAG;
            say(
                "tags",
                format!("the tag {shown:?}… has not 1 to {most} characters"),
                "Choose another one",
            );
        }
        if !(self.timeout_s.is_finite() && self.timeout_s > 0.0 && self.timeout_s <= 86_400.0) {
            say(
                "timeout_s",
                format!("{} is not between 0 and 86400 seconds", self.timeout_s),
                "Leave it out for 60",
            );
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

fn not_a_server(base: &str) -> Option<String> {
    let host = ["http://", "https://"]
        .iter()
        .find_map(|scheme| base.strip_prefix(scheme));
    match host {
        None => Some(match base.contains("://") {
            true => format!(
                "{} begins with neither http:// nor https://",
                url_without_secrets(base)
            ),
            false => "it begins with neither http:// nor https://".to_owned(),
        }),
        Some(host) if host.is_empty() || host.starts_with('/') => {
            Some("it names no host".to_owned())
        }
        // the SDK takes this for a mistake too: the page, not the service
        Some("wandb.ai" | "app.wandb.ai" | "www.wandb.ai") => Some(
            "that is the address of W&B's pages; its service is at https://api.wandb.ai".to_owned(),
        ),
        Some(_) => None,
    }
}
