//! Engines in other languages: a process that speaks lines of JSON on its standard streams.
//!
//! `docs/worker-protocol.md` is for who writes one. A worker is not trusted: its clock is
//! compared with ours, each of its times must lie between a question and the arrival of the
//! line that tells it, and its counts are held against what was asked ([`ledger`]). One that
//! hangs, dies or lies is ended, with all that it started; what it had done before stands.
//!
//! | file | |
//! |---|---|
//! | [`protocol`] | the lines |
//! | [`process`] | starting, watching, ending |
//! | [`reader`] | standard output to messages |
//! | [`connection`] | questions and answers, times, the clock |
//! | [`follow`] | a generation, until its answer |
//! | [`ledger`] | what a generation may say |
//! | [`tables`] | what the engine tells beside its tokens |
//! | [`options`] | from the configuration to a command and a `load` |
//! | [`python`] | finding Python for the embedded workers |
//! | [`check`] | `lem worker check` |

pub mod check;
mod connection;
mod follow;
mod ledger;
mod options;
mod process;
mod protocol;
pub mod python;
mod reader;
mod tables;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lem_record::{Record, Stamp, Table, Warning};
use serde_json::{Map, Value};

use self::connection::{ClockBounds, Connection};
use self::follow::{Asked, follow};
use self::ledger::Ledger;
use self::protocol::{
    Can, Decoded, Encode, Encoded, Generate, Load, Loaded, Nothing, Scored, Tokens,
};
use super::{Cancel, Capabilities, Engine, EngineError, EventSink, ModelDescription, Work};
use crate::config::Config;
use crate::model::ModelFiles;

pub use self::options::fetched_by_lem;
pub use self::process::Launch;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The longest silence while an answer is waited for.
    pub answer: Duration,
    /// A whole generation, also one that gives signs of life. A run has no such limit.
    pub whole: Option<Duration>,
    pub load: Duration,
    /// To end, after a cancellation or when unloaded.
    pub stop: Duration,
}

/// A worker whose model is loaded.
pub struct WorkerEngine {
    /// Encoding and decoding take `&self`.
    connection: Mutex<Connection>,
    can: Can,
    description: ModelDescription,
    patience: Patience,
    clock: ClockBounds,
    /// Of the last generation, until it is recorded.
    told: Vec<(u64, Map<String, Value>)>,
    /// Its answer to the last generation: figures of the whole, such as peaks of memory.
    answer: Value,
    warnings: Vec<Warning>,
    clock_recorded: bool,
    rubbish_recorded: usize,
}

/// Starts the worker of the configuration and lets it load the model.
pub fn open(config: &Config, files: Option<&ModelFiles>) -> Result<WorkerEngine, EngineError> {
    let launch = options::launch(config)?;
    let load = options::load(config, files)?;
    let mut engine = start(launch, &load, options::patience(config))?;
    let known = &mut engine.description;
    known.name = config.model_name.clone().unwrap_or_default();
    if let Some(files) = files {
        known.sha256.clone_from(&files.sha256);
        known.source = Some(files.source.clone());
    }
    Ok(engine)
}

/// Tries the worker of the configuration against the protocol.
pub fn check_configured(
    config: &Config,
    files: Option<&ModelFiles>,
) -> Result<Vec<check::Finding>, EngineError> {
    let launch = options::launch(config)?;
    let load = options::load(config, files)?;
    Ok(check::check(launch, &load, options::patience(config)))
}

fn start(launch: Launch, load: &Load, patience: Patience) -> Result<WorkerEngine, EngineError> {
    let mut connection = Connection::start(launch)?;
    // Importing its libraries may take as long as loading.
    let hello = connection.hello(patience.load)?;
    let clock = connection.check_clock(patience.answer)?;
    let loaded: Loaded = connection.ask("load", load, patience.load)?;
    let mut description: ModelDescription =
        connection.ask("describe", &Nothing {}, patience.answer)?;
    if description.engine.is_empty() {
        description.engine = hello.name;
        description.engine_version = hello.version;
    }
    description.name.clone_from(&load.model);
    description.random_weights |= load.load_format == "dummy";
    Ok(WorkerEngine {
        connection: Mutex::new(connection),
        can: loaded.can,
        description,
        patience,
        clock,
        told: Vec::new(),
        answer: Value::Null,
        warnings: Vec::new(),
        clock_recorded: false,
        rubbish_recorded: 0,
    })
}

impl WorkerEngine {
    fn connection(&mut self) -> &mut Connection {
        self.connection
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn shared<T: serde::de::DeserializeOwned>(
        &self,
        verb: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, EngineError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connection.ask(verb, body, self.patience.answer)
    }

    fn generate_as(
        &mut self,
        verb: &str,
        work: &Work,
        trace: Option<&str>,
        events: &mut dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Value, EngineError> {
        if !work.due_ns.is_empty() {
            return Err(EngineError::new(
                "a worker answers closed batches, not a schedule of arrivals",
                "Set traffic.mode to closed, or use a server as the backend",
            ));
        }
        let body = Generate {
            trace,
            ..Generate::of(work)
        };
        let sent_ns = Stamp::mono_ns();
        let mut ledger = Ledger::new(work, self.can, sent_ns);
        let id = self.connection().send(verb, &body)?;
        let (can, patience) = (self.can, self.patience);
        let outcome = follow(
            self.connection(),
            Asked { id, verb },
            can,
            patience,
            &mut ledger,
            events,
            cancel,
        );
        let error = outcome.as_ref().err().map(|error| error.what.clone());
        let over = cancel.is_cancelled();
        ledger.end(error.as_deref().filter(|_| !over), Stamp::mono_ns(), events);
        self.told = std::mem::take(&mut ledger.told);
        match outcome {
            // Asked to stop it was; that it had to be ended is worth a warning, no failure.
            Err(error) if over => {
                self.warnings.push(Warning {
                    code: "worker.ended".into(),
                    message: error.what,
                    remedy: error.remedy,
                });
                Ok(Value::Null)
            }
            other => other,
        }
    }

    /// Answers the requests under the engine's own profiler, which is no measurement: what it
    /// found, as the worker tells it. `trace` is a file that it may write.
    pub fn profile(
        &mut self,
        work: &Work,
        trace: Option<&str>,
        events: &mut dyn EventSink,
        cancel: &Cancel,
    ) -> Result<Value, EngineError> {
        if !self.can.profile {
            return Err(EngineError::new(
                format!("The worker {:?} has no profiler", self.description.engine),
                "Leave --profile out",
            ));
        }
        self.generate_as("profile", work, trace, events, cancel)
    }
}

const WRONG: &str = "Its times and counts are not to be relied on: correct the worker; lem worker check -- COMMAND tries it against the protocol";

impl Engine for WorkerEngine {
    fn describe(&self) -> &ModelDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            true_token_times: self.can.true_token_times,
            phase_boundaries: self.can.phase_boundaries,
            score: self.can.score,
            in_process: false,
        }
    }

    fn encode(&self, text: &str, chat: bool) -> Result<Vec<u32>, EngineError> {
        if !self.can.encode {
            return Err(no_text(&self.description.engine));
        }
        let encoded: Encoded = self.shared("encode", &Encode { text, chat })?;
        Ok(encoded.tokens)
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        if !self.can.encode {
            return Err(no_text(&self.description.engine));
        }
        let decoded: Decoded = self.shared("decode", &Tokens { tokens })?;
        Ok(decoded.text)
    }

    fn generate(
        &mut self,
        work: &Work,
        events: &mut dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        self.answer = self.generate_as("generate", work, None, events, cancel)?;
        Ok(())
    }

    fn after_cycle(&mut self, cycle: u32) -> Vec<Record> {
        let mut records = Vec::new();
        if !self.clock_recorded {
            self.clock_recorded = true;
            records.push(Record::Table(Table {
                name: "worker".into(),
                columns: vec!["what".into(), "value".into()],
                rows: vec![
                    vec!["clock_low_ns".into(), self.clock.low_ns.into()],
                    vec!["clock_high_ns".into(), self.clock.high_ns.into()],
                ],
            }));
        }
        let answer = std::mem::take(&mut self.answer);
        records.extend(tables::of_cycle(cycle, &answer).map(Record::Table));
        let told = std::mem::take(&mut self.told);
        records.extend(tables::of_requests(cycle, told).map(Record::Table));
        let connection = self.connection();
        let count = connection.rubbish.len();
        let first = connection.rubbish.first().cloned().unwrap_or_default();
        if count > self.rubbish_recorded {
            self.rubbish_recorded = count;
            self.warnings.push(Warning {
                code: "worker.rubbish".into(),
                message: format!("The worker wrote {count} lines to standard output that are no messages; the first: {first}"),
                remedy: "Let it write only messages there, and everything else to standard error".into(),
            });
        }
        records.extend(self.warnings.drain(..).map(Record::Warning));
        records
    }

    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        if !self.can.score {
            return Err(EngineError::new(
                format!(
                    "The worker {:?} gives no log-probabilities",
                    self.description.engine
                ),
                "Set quality.enabled to false, or use another backend",
            ));
        }
        let scored: Scored = self.shared("score", &Tokens { tokens })?;
        check_scores(tokens.len(), &scored.logprobs).map_err(|why| {
            let what = format!("The worker's log-probabilities cannot be: {why}");
            self.connection().fail(&what, WRONG)
        })?;
        Ok(scored.logprobs)
    }
}

impl Drop for WorkerEngine {
    fn drop(&mut self) {
        let patience = self.patience.stop;
        self.connection().unload(patience);
    }
}

fn check_scores(tokens: usize, scores: &[f32]) -> Result<(), String> {
    let wanted = tokens.saturating_sub(1);
    if scores.len() != wanted {
        return Err(format!(
            "there are {} for {tokens} tokens, where each but the first has one",
            scores.len()
        ));
    }
    // Rounding may put a certain token a little above.
    match scores.iter().find(|p| !p.is_finite() || **p > 1e-3) {
        Some(wrong) => Err(format!("{wrong} is no natural logarithm of a probability")),
        None => Ok(()),
    }
}

fn no_text(engine: &str) -> EngineError {
    EngineError::new(
        format!("The worker {engine:?} does not encode or decode text"),
        "Use prompts.type: synthetic, or a worker that can",
    )
}
