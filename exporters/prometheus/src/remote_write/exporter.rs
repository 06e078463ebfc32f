use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_record::{
    Check, Envelope, ExportError, Exporter, Receipt, RunContext, RunStatus, Stamp, Written,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::check::check;
use super::config::{RemoteWriteConfig, WRITE_PATH};
use super::courier::Courier;
use super::plan::encode;
use super::sender::Sender;
use super::state::State;
use crate::ConfigError;
use crate::encode::JOB;

/// The sink `remote-write`.
#[derive(Debug)]
pub struct RemoteWriteExporter {
    config: RemoteWriteConfig,
    sender: Sender,
    courier: Courier,
    run: Option<RunContext>,
    state: State,
    /// The states at the starts of the latest batches: delivery may send one of them again.
    before: VecDeque<State>,
    /// Samples that this process found to be there already.
    there_before: u64,
    stored: u64,
}

const MOST_STATES: usize = 16;

impl RemoteWriteExporter {
    /// Connects to nothing. All that is wrong with the configuration is told at once.
    pub fn new(config: RemoteWriteConfig) -> Result<Self, Vec<ConfigError>> {
        let client = config.client()?;
        let path = config.split().1;
        Ok(Self {
            sender: Sender::new(client, path, config.protocol),
            config,
            courier: Courier::default(),
            run: None,
            state: State::default(),
            before: VecDeque::new(),
            there_before: 0,
            stored: 0,
        })
    }

    pub fn config(&self) -> &RemoteWriteConfig {
        &self.config
    }

    /// The state with which the batch that begins with record `n` is to be encoded.
    fn state_at(&self, n: u64) -> State {
        let latest = std::iter::once(&self.state).chain(&self.before);
        latest
            .into_iter()
            .find(|state| state.next == n)
            .cloned()
            .unwrap_or_default()
    }

    /// Where Prometheus itself shows the last value of each of the run's series.
    fn graph(&self, run: &RunContext) -> String {
        let base = self.sender.client.base();
        let newest = self.state.newest;
        let began = run.started_at.unix_ms();
        let seconds = newest.saturating_sub(began).max(0) / 1000 + 60;
        let instance = run.run_id.replace('\\', "\\\\").replace('"', "\\\"");
        let query = format!(
            "last_over_time({{job=\"{JOB}\",instance=\"{instance}\"}}[{seconds}s] @ {}.{:03})",
            newest.div_euclid(1000),
            newest.rem_euclid(1000),
        );
        let query = utf8_percent_encode(&query, NON_ALPHANUMERIC);
        format!("{base}/graph?g0.tab=1&g0.expr={query}")
    }

    fn remember(&mut self, before: State, after: State) {
        self.before.retain(|state| state.next != before.next);
        self.before.push_front(before);
        self.before.truncate(MOST_STATES);
        self.state = after;
    }
}

#[async_trait]
impl Exporter for RemoteWriteExporter {
    fn name(&self) -> &'static str {
        "remote-write"
    }

    fn destination(&self) -> String {
        self.config.destination()
    }

    async fn check(&self) -> Check {
        check(&self.sender).await
    }

    /// A receiver has no runs: there is nothing to find and nothing to make.
    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError> {
        // a state that cannot be read is that of another version
        self.state = serde_json::from_value(state.clone()).unwrap_or_default();
        self.before.clear();
        self.courier = Courier::default();
        self.run = Some(run.clone());
        Ok(())
    }

    async fn write(&mut self, batch: &[Arc<Envelope>]) -> Result<Written, ExportError> {
        let Some(run) = &self.run else {
            return Err(ExportError::retry("the run is not open"));
        };
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else {
            return Ok(Written {
                through: self.state.next.saturating_sub(1),
                rejected: Vec::new(),
                accepted: 0,
            });
        };
        let before = self.state_at(first.n);
        let plan = encode(run, &before, batch, Stamp::now().unix_ms());
        let most = usize::try_from(self.config.max_samples).unwrap_or(usize::MAX);
        let sending = self
            .courier
            .deliver(&mut self.sender, first.n, &plan.atoms, most);
        let mut delivered = sending.await?;
        self.there_before += delivered.there_before;
        self.stored += delivered.stored;
        delivered.rejected.extend(plan.rejected);
        delivered.rejected.sort_by_key(|rejected| rejected.n);
        self.remember(before, plan.state);
        Ok(Written {
            through: last.n,
            rejected: delivered.rejected,
            accepted: delivered.stored + delivered.there_before,
        })
    }

    /// Every series has ended with the run's last record.
    async fn finish(&mut self, _: RunStatus, _: Duration) -> Result<Receipt, ExportError> {
        let Some(run) = &self.run else {
            return Err(ExportError::retry("the run is not open"));
        };
        let graph = (self.sender.path == WRITE_PATH).then(|| self.graph(run));
        Ok(Receipt {
            look_at: Some(graph.unwrap_or_else(|| self.destination())),
            details: json!({
                "protocol": self.sender.speaks(),
                "stored": self.stored,
                "there_before": self.there_before,
            }),
        })
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.state).unwrap_or(Value::Null)
    }
}
