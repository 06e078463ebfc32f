//! `io` and `integrations`: where a run goes. One file a sink.

mod files;
mod mlflow;
mod openmetrics;
mod otlp;
mod prometheus;
mod pushgateway;
mod remote_write;
mod textfile;
mod wandb;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use files::FilesSection;
pub use mlflow::MlflowSection;
pub use openmetrics::OpenMetricsSection;
pub use otlp::{OtlpCompression, OtlpProtocol, OtlpSection, OtlpTemporality};
pub use prometheus::{PrometheusSection, PrometheusTls};
pub use pushgateway::PushgatewaySection;
pub use remote_write::{RemoteWriteProtocol, RemoteWriteSection};
pub use textfile::TextfileSection;
pub use wandb::{WandbMode, WandbSection};

/// Files and folders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Io {
    /// Parent folder of runs (`--output`).
    pub results_dir: String,
}

impl Default for Io {
    fn default() -> Self {
        Self {
            results_dir: "lem-runs".into(),
        }
    }
}

/// The sinks. Each is off unless enabled here or by its flag.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Integrations {
    /// How long the end of a run waits for the sinks, seconds; what is owed then is left to `lem export`.
    #[serde(rename = "deadline_s")]
    #[schemars(range(min = 0.0, max = 86_400.0))]
    pub deadline_s: Option<f64>,
    pub mlflow: MlflowSection,
    pub wandb: WandbSection,
    pub files: FilesSection,
    pub prometheus: PrometheusSection,
    pub pushgateway: PushgatewaySection,
    pub remote_write: RemoteWriteSection,
    pub openmetrics: OpenMetricsSection,
    pub textfile: TextfileSection,
    pub otlp: OtlpSection,
}
