use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_record::{Check, Envelope, ExportError, Exporter, Receipt, RunContext, RunStatus, Written};
use serde_json::Value;

use crate::offline::OfflineExporter;
use crate::online::OnlineExporter;
use crate::{ConfigError, Mode, WandbConfig};

/// The sink `wandb`, online or offline as its configuration says.
pub struct WandbExporter {
    config: Arc<WandbConfig>,
    way: Box<dyn Exporter + Sync>,
}

impl WandbExporter {
    /// Connects to nothing. All that is wrong with the configuration is told at once.
    pub fn new(config: WandbConfig) -> Result<Self, Vec<ConfigError>> {
        config.check()?;
        let config = Arc::new(config);
        let shared = Arc::clone(&config);
        let way: Box<dyn Exporter + Sync> = match config.mode() {
            Mode::Online => Box::new(OnlineExporter::new(shared)?),
            Mode::Offline => Box::new(OfflineExporter::new(shared)),
            Mode::Disabled => {
                return Err(vec![ConfigError::new(
                    "mode",
                    "it is disabled",
                    "Set WANDB_MODE to online or offline to send a run",
                )]);
            }
        };
        Ok(Self { config, way })
    }

    pub fn config(&self) -> &WandbConfig {
        &self.config
    }
}

impl std::fmt::Debug for WandbExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WandbExporter({:?})", self.config)
    }
}

#[async_trait]
impl Exporter for WandbExporter {
    fn name(&self) -> &'static str {
        "wandb"
    }

    fn destination(&self) -> String {
        self.way.destination()
    }

    async fn check(&self) -> Check {
        self.way.check().await
    }

    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError> {
        self.way.open(run, state).await
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        self.way.write(batch).await
    }

    async fn finish(
        &mut self,
        status: RunStatus,
        deadline: Duration,
    ) -> Result<Receipt, ExportError> {
        self.way.finish(status, deadline).await
    }

    fn state(&self) -> Value {
        self.way.state()
    }
}
