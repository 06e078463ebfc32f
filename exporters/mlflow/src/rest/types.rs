use serde::{Deserialize, Serialize};

/// The run at the other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remote {
    pub run_id: String,
    pub experiment_id: String,
    pub artifact_uri: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServerInfo {
    pub workspaces_enabled: bool,
    pub multipart_uploads_enabled: bool,
    pub store_type: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OfExperiment {
    pub experiment: Experiment,
}

#[derive(Debug, Deserialize)]
pub(super) struct Experiment {
    pub experiment_id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub lifecycle_stage: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OfRun {
    pub run: Run,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub info: RunInfo,
    #[serde(default)]
    pub data: RunData,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RunInfo {
    #[serde(default)]
    run_id: String,
    /// The same; old servers say only this.
    #[serde(default)]
    run_uuid: String,
    pub experiment_id: String,
    #[serde(default)]
    pub artifact_uri: String,
    #[serde(default)]
    pub lifecycle_stage: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct RunData {
    #[serde(default)]
    pub params: Vec<Pair>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Pair {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

impl Run {
    pub fn id(&self) -> &str {
        if self.info.run_id.is_empty() {
            &self.info.run_uuid
        } else {
            &self.info.run_id
        }
    }

    pub fn remote(&self) -> Remote {
        Remote {
            run_id: self.id().to_owned(),
            experiment_id: self.info.experiment_id.clone(),
            artifact_uri: self.info.artifact_uri.clone(),
        }
    }
}
