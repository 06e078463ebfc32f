use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lem_http::Client;
use lem_record::{
    Check, CheckOutcome, Envelope, ExportError, Exporter, Receipt, RunContext, RunStatus, Written,
};
use serde_json::{Value, json};

use crate::encode::{self, Envelopes, Scope, State};
use crate::live::Live;
use crate::memory::{InFlight, Memory};
use crate::mlflow;
use crate::send::send;
use crate::wire::{Line, REMEDIES, Refusal, Wire};
use crate::{ConfigError, MlflowTraces, OtlpConfig};

/// The sinks `otlp` and `mlflow-traces`.
#[derive(Debug)]
pub struct OtlpExporter {
    name: &'static str,
    destination: String,
    config: Arc<OtlpConfig>,
    wires: Vec<Wire>,
    /// Where the spans belong to a run of MLflow.
    mlflow: Option<(MlflowTraces, Client)>,
    run: Option<RunContext>,
    lines: Vec<Line>,
    memory: Memory,
    /// The encoding states at the starts of the latest batches: delivery may send one
    /// of them again.
    before: VecDeque<State>,
    /// The first record that a process which died may have sent already.
    uncertain: Option<u64>,
    live: Option<Live>,
}

const MOST_STATES: usize = 4;

impl OtlpExporter {
    /// Reads the certificates; connects to nothing. All that is wrong with the
    /// configuration is told at once.
    pub fn new(config: OtlpConfig) -> Result<Self, Vec<ConfigError>> {
        let lanes = config.lanes()?;
        let wires = Wire::all(&lanes, REMEDIES).map_err(|error| told("otlp.endpoint", error))?;
        let ways: Vec<String> = wires
            .iter()
            .map(|wire| format!("{} to {}", wire.signal.as_str(), wire.shown))
            .collect();
        let destination = match ways.is_empty() {
            true => "nowhere (every signal is off)".to_owned(),
            false => ways.join(", "),
        };
        Ok(Self::made("otlp", destination, config, wires, None))
    }

    /// The sink `mlflow-traces`: the spans only.
    pub fn for_mlflow(traces: MlflowTraces) -> Result<Self, Vec<ConfigError>> {
        let mut config = OtlpConfig {
            enabled: true,
            ..OtlpConfig::default()
        };
        config.metrics.enabled = false;
        config.logs.enabled = false;
        let client = traces
            .client()
            .map_err(|error| told("mlflow.tracking_uri", error))?;
        let wire = Wire::traces(client.clone(), mlflow::PATH, MlflowTraces::REMEDIES);
        let destination = traces.destination();
        let mlflow = Some((traces, client));
        Ok(Self::made(
            "mlflow-traces",
            destination,
            config,
            vec![wire],
            mlflow,
        ))
    }

    fn made(
        name: &'static str,
        destination: String,
        config: OtlpConfig,
        wires: Vec<Wire>,
        mlflow: Option<(MlflowTraces, Client)>,
    ) -> Self {
        Self {
            name,
            destination,
            config: Arc::new(config),
            wires,
            mlflow,
            run: None,
            lines: Vec::new(),
            memory: Memory::default(),
            before: VecDeque::new(),
            uncertain: None,
            live: None,
        }
    }

    pub fn config(&self) -> &OtlpConfig {
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

    /// Counts a batch that may be there already, and says what is known of it.
    fn begin(&mut self, first: u64) {
        let memory = &mut self.memory;
        let tried = memory.in_flight.as_ref().is_some_and(|f| f.n == first);
        if tried || first < memory.next {
            memory.resent.batches += 1;
        } else if self.uncertain == Some(first) {
            memory.resent.possibly += 1;
        }
        self.uncertain = None;
        if !tried {
            memory.in_flight = Some(InFlight {
                n: first,
                ..InFlight::default()
            });
        }
        memory.unfinished = true;
    }

    fn details(&self, run: &RunContext) -> Value {
        let resent = self.memory.resent;
        let mut details = json!({
            "signals": self.memory.counts,
            "resent_batches": resent.batches,
            "possibly_resent_batches": resent.possibly,
        });
        if self.config.traces.enabled {
            details["trace_id"] = json!(encode::trace_id(&run.run_id));
        }
        if resent.batches + resent.possibly > 0 {
            details["resent"] = json!(
                "OTLP has no key against doubles: these batches were sent again, byte for byte the same, and a receiver that adds up what it gets may hold parts of them twice"
            );
        }
        for (key, notes) in [("hints", &self.memory.hints), ("notes", &self.config.notes)] {
            if !notes.is_empty() {
                details[key] = json!(notes);
            }
        }
        if let Some(live) = &self.live {
            details["live"] = live.details();
        }
        if let Some(remote) = &self.memory.mlflow {
            details["mlflow"] = json!(remote);
        }
        details
    }
}

#[async_trait]
impl Exporter for OtlpExporter {
    fn name(&self) -> &'static str {
        self.name
    }

    fn destination(&self) -> String {
        self.destination.clone()
    }

    /// An empty message leaves nothing behind, and is answered as any other.
    async fn check(&self) -> Check {
        let mut check = Check::default();
        for wire in &self.wires {
            let line = wire.open();
            let outcome = match line.send(&[]).await {
                Ok(_) => CheckOutcome::Ok {
                    detail: format!("{} takes OTLP", wire.shown),
                },
                Err(Refusal::Invalid(_) | Refusal::TooLarge(_)) => CheckOutcome::Ok {
                    detail: format!("{} answers (it takes no empty message)", wire.shown),
                },
                Err(Refusal::Error(error)) => {
                    let (why, remedy) = match error {
                        ExportError::GiveUp { reason, remedy } => (reason, remedy),
                        ExportError::Retry { reason, .. } => {
                            (reason, line.remedies().address.to_owned())
                        }
                    };
                    CheckOutcome::Failed { why, remedy }
                }
            };
            check.push(wire.signal.as_str(), outcome);
        }
        if self.wires.is_empty() {
            let detail = "every signal is off: nothing is sent".to_owned();
            check.push("signals", CheckOutcome::Ok { detail });
        }
        for note in &self.config.notes {
            let detail = note.clone();
            check.push("environment", CheckOutcome::Ok { detail });
        }
        check
    }

    async fn open(&mut self, run: &RunContext, state: &Value) -> Result<(), ExportError> {
        // a state that cannot be read is that of another version: all is sent again
        let mut memory: Memory = serde_json::from_value(state.clone()).unwrap_or_default();
        let mut lines: Vec<Line> = self.wires.iter().map(Wire::open).collect();
        if let Some((traces, client)) = &self.mlflow {
            let remote = match memory.mlflow.take() {
                Some(remote) => remote,
                None => traces.find(client, &run.run_id).await?,
            };
            let headers = traces.headers(&remote);
            lines = lines
                .into_iter()
                .map(|line| line.with_headers(&headers))
                .collect();
            memory.mlflow = Some(remote);
        }
        self.uncertain = memory.unfinished.then_some(memory.next);
        if state.is_null() {
            memory.unfinished = true;
        }
        self.memory = memory;
        self.before.clear();
        self.lines = lines;
        if let Some(board) = run.live.as_ref().filter(|_| self.config.live)
            && self.live.is_none()
        {
            self.live = Live::start(self.name, &self.config, run, board, &self.wires);
        }
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
        let run = self.run.clone().ok_or_else(closed)?;
        let before = self.encoding_at(first.n);
        let config = Arc::clone(&self.config);
        let scope = scope(&run, &config);
        let mut plan = encode::encode(&scope, &before, batch);
        let requests = encode::requests(&mut plan, &config.limits);
        if !requests.is_empty() {
            self.begin(first.n);
            let Memory {
                in_flight,
                counts,
                hints,
                ..
            } = &mut self.memory;
            let in_flight = in_flight.get_or_insert_default();
            let wrapped = Envelopes::new(&scope);
            send(&self.lines, &wrapped, requests, in_flight, counts, hints).await?;
        }
        let sent = self.memory.in_flight.take().unwrap_or_default();
        let mut rejected = plan.rejected;
        rejected.extend(sent.rejected);
        self.remember(before, plan.state);
        self.memory.next = self.memory.next.max(last.n.saturating_add(1));
        Ok(Written {
            through: last.n,
            rejected,
            accepted: sent.accepted,
        })
    }

    async fn finish(
        &mut self,
        _status: RunStatus,
        _deadline: Duration,
    ) -> Result<Receipt, ExportError> {
        // the status went with the last record; nothing waits here
        if let Some(live) = &self.live {
            live.stop();
        }
        let run = self.run.as_ref().ok_or_else(closed)?;
        let look_at = match (&self.mlflow, &self.memory.mlflow) {
            (Some((_, client)), Some(remote)) => {
                let id = &remote.experiment_id;
                Some(format!("{}/#/experiments/{id}/traces", client.base()))
            }
            _ => None,
        };
        let details = self.details(run);
        self.memory.unfinished = false;
        Ok(Receipt { look_at, details })
    }

    fn state(&self) -> Value {
        serde_json::to_value(&self.memory).unwrap_or(Value::Null)
    }
}

fn closed() -> ExportError {
    ExportError::retry("the run is not open at the receiver")
}

fn scope<'a>(run: &'a RunContext, config: &'a OtlpConfig) -> Scope<'a> {
    Scope {
        run_id: &run.run_id,
        started: &run.started,
        started_at: run.started_at,
        config,
    }
}

fn told(key: &str, error: ExportError) -> Vec<ConfigError> {
    let (problem, remedy) = match error {
        ExportError::GiveUp { reason, remedy } => (reason, remedy),
        ExportError::Retry { reason, .. } => (reason, String::new()),
    };
    vec![ConfigError {
        key: key.to_owned(),
        problem,
        remedy,
    }]
}
