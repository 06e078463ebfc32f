//! Servers: launched or attached to, asked over HTTP by `lem-client`, and measured from outside.
//!
//! ```text
//! launch ─► process ─┐
//!                    ├─► control: ready? which model? version, tokenizer, metrics   (not measured)
//! url ───────────────┘
//! work ─► drive ─► lem-client ─► events                                             (measured)
//! ```
//!
//! What differs between kinds of servers is data: [`kind::Kind`] and the table of metrics.
//! What is seen is what came over the wire: [`Capabilities`] says which of it is true for
//! single tokens, and the server's own times are kept beside ours, never mixed.

mod control;
mod describe;
mod drive;
mod kind;
mod launch;
mod metrics;
mod process;
mod score;
mod steps;
mod text;
mod times;
mod told;

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lem_client as client;
use lem_record::{Record, Secret};
use rand::Rng as _;

use super::{
    Cancel, Capabilities, Engine, EngineError, EventSink, ModelDescription, Request, Work,
};
use crate::config::{Address, Config, Ecosystem};
use crate::model::ModelFiles;

use control::{Control, Fault};
use kind::{Kind, Tokenizer};
use metrics::Metrics;
use process::Process;
use steps::Steps;
use told::CycleTold;

/// Where a launched server's log goes, below the run's folder.
pub const LOG: &str = "artifacts/server.log";

/// Between two looks at a server that is starting.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// A server that dies takes its connections with it a moment before it is gone itself.
const DYING: Duration = Duration::from_millis(500);

/// A server with a model.
pub struct Server {
    config: Box<Config>,
    kind: &'static Kind,
    control: Control,
    target: client::Target,
    model: String,
    tokenizer: Option<Tokenizer>,
    description: ModelDescription,
    metrics: Metrics,
    cycle: CycleTold,
    /// Its steps, where they are logged.
    steps: Option<Steps>,
    /// Makes each cycle's salt a new one, also beside other runs.
    salt: u64,
    generations: u64,
    /// Dropped last: the server outlives what talks to it.
    process: Option<Process>,
}

/// Launches the configured server, or attaches to it.
pub fn open(
    config: &Config,
    files: Option<&ModelFiles>,
    ecosystem: &Ecosystem,
) -> Result<Server, EngineError> {
    let kind = Kind::of(config.backend).ok_or_else(|| {
        EngineError::new(
            format!("{} is no server", config.backend.as_str()),
            "Choose another backend",
        )
    })?;
    let key = api_key(config, ecosystem)?;
    let (process, control, line) = match &config.server.url {
        Some(url) => {
            let control = Control::new(url.expose(), key)?;
            attach(kind, &control)?;
            (None, control, None)
        }
        None => {
            let (process, control, line) = launched(config, kind, files, key)?;
            (Some(process), control, Some(line))
        }
    };
    let (model, card) = describe::served_name(config, kind, &control)?;
    let mut description = describe::describe(config, kind, &control, card.as_ref(), files);
    description.launch = line;
    let tokenizer = kind.tokenizer.filter(|tokenizer| {
        let tried = tokenizer.encode(&control, &model, "a", false);
        tried.is_ok()
    });
    let elsewhere = config.server.metrics_url.as_ref().map(metrics_url);
    let metrics = Metrics::new(kind, elsewhere.transpose()?);
    let target = target(config, kind, &control, &model);
    Ok(Server {
        config: Box::new(config.clone()),
        kind,
        control,
        target,
        model,
        tokenizer,
        description,
        metrics,
        cycle: CycleTold::default(),
        steps: process
            .as_ref()
            .filter(|_| config.server.iterations)
            .map(|_| Steps::default()),
        salt: rand::rng().random(),
        generations: 0,
        process,
    })
}

/// The key from the variable that the configuration names. OpenAI's own goes to its own
/// backend only: another server must not get it unasked.
fn api_key(config: &Config, ecosystem: &Ecosystem) -> Result<Option<Secret>, EngineError> {
    match &config.server.api_key_env {
        Some(name) => ecosystem.secret(name).map(Some).ok_or_else(|| {
            EngineError::new(
                format!("server.api_key_env names the variable {name}, which is not set"),
                format!("Set {name} to the server's API key, or remove server.api_key_env"),
            )
        }),
        None if config.backend == crate::config::Backend::Openai => {
            Ok(ecosystem.secret("OPENAI_API_KEY"))
        }
        None => Ok(None),
    }
}

fn metrics_url(address: &Address) -> Result<reqwest::Url, EngineError> {
    reqwest::Url::parse(address.expose().trim()).map_err(|error| {
        EngineError::new(
            format!("server.metrics_url is no address: {error}"),
            "Write it as http://127.0.0.1:8000/metrics",
        )
    })
}

fn attach(kind: &Kind, control: &Control) -> Result<(), EngineError> {
    match control.get(kind.ready, describe::LONGEST) {
        Ok(_) => Ok(()),
        // A proxy before it may have the interface and nothing else.
        Err(Fault::Status(404 | 405, _)) => Ok(()),
        Err(fault) => Err(fault.told(kind.name, control)),
    }
}

/// Starts it and waits until it is ready; once more without what an older one does not know.
fn launched(
    config: &Config,
    kind: &Kind,
    files: Option<&ModelFiles>,
    key: Option<Secret>,
) -> Result<(Process, Control, String), EngineError> {
    let folder = Path::new(&config.io.results_dir);
    for optional in [true, false] {
        let port = match config.server.port {
            Some(port) => port,
            None => process::free_port()?,
        };
        let line = launch::line(config, files, port, optional)?;
        let control = Control::new(&format!("http://127.0.0.1:{port}"), key.clone())?;
        let mut process = Process::start(&line, folder)?;
        match ready(config, kind, &mut process, &control) {
            Ok(()) => return Ok((process, control, line.shown())),
            Err(_) if optional && unknown_argument(&process, &line.optional) => {}
            Err(error) => return Err(error),
        }
    }
    Err(EngineError::new(
        format!("{} does not start", kind.name),
        "Start it by hand and attach with server.url",
    ))
}

fn unknown_argument(process: &Process, optional: &[&str]) -> bool {
    let tail = process.tail();
    tail.contains("unrecognized arguments") && optional.iter().any(|flag| tail.contains(flag))
}

fn ready(
    config: &Config,
    kind: &Kind,
    process: &mut Process,
    control: &Control,
) -> Result<(), EngineError> {
    let longest = Duration::try_from_secs_f64(config.server.ready_timeout_s).unwrap_or_default();
    let end = Instant::now() + longest;
    loop {
        if let Some(status) = process.ended() {
            return Err(process.told(status));
        }
        match control.get(kind.ready, Duration::from_secs(5)) {
            Ok(_) => return Ok(()),
            Err(fault @ Fault::Status(401 | 403 | 404, _)) => {
                return Err(fault.told(kind.name, control));
            }
            // Not listening yet, or (503) loading.
            Err(_) => {}
        }
        if Instant::now() >= end {
            return Err(EngineError::new(
                format!(
                    "{} was not ready within {} s. Its last lines:\n{}\n",
                    kind.name,
                    config.server.ready_timeout_s,
                    process.tail()
                ),
                "Raise server.ready_timeout_s where it is only slow (a first start downloads the model)",
            ));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn target(config: &Config, kind: &Kind, control: &Control, model: &str) -> client::Target {
    let (api, features) = kind.spoken(config.server.api);
    let mut root = control.root().clone();
    let (user, password) = (
        root.username().to_owned(),
        root.password().map(str::to_owned),
    );
    let _ = root.set_username("");
    let _ = root.set_password(None);
    let mut target = client::Target::new(root.as_str().trim_end_matches('/'), api);
    target.model = Some(model.to_owned());
    target.stream = config.streaming;
    target.features = features;
    target.api_key = control.key().map(|key| client::Secret::new(key.expose()));
    if target.api_key.is_none() && !user.is_empty() {
        use base64::Engine as _;
        let pair = format!("{user}:{}", password.unwrap_or_default());
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        let basic = client::Secret::new(format!("Basic {pair}"));
        target.headers.push(("authorization".into(), basic));
    }
    target
}

impl Server {
    /// Why nothing more can come of it, where that is so.
    fn end_of_it(&mut self, tally: &drive::Tally, gone: bool) -> Option<EngineError> {
        if tally.failed > 0
            && let Some(process) = &mut self.process
        {
            let end = Instant::now() + DYING;
            while process.ended().is_none() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if let Some(process) = &mut self.process
            && let Some(status) = process.ended()
        {
            return Some(process.told(status));
        }
        let failure = tally.first_failure.clone().unwrap_or_default();
        if gone {
            return Some(EngineError::new(
                format!("The server at {} is gone: {failure}", self.control.shown()),
                "Look into its log; what was measured before is kept",
            ));
        }
        None
    }

    fn cannot(&self, what: &str) -> EngineError {
        EngineError::new(
            format!("{} does not {what} when it is asked", self.kind.name),
            "Use prompts that are text, or another server",
        )
    }
}

impl Engine for Server {
    fn describe(&self) -> &ModelDescription {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Each request says for itself whether its times were those of single tokens.
            true_token_times: false,
            phase_boundaries: drive::one_at_a_time(&self.config),
            score: self.kind.backend == crate::config::Backend::Vllm,
            in_process: false,
        }
    }

    fn tokenizes(&self) -> bool {
        self.tokenizer.is_some()
    }

    fn encode(&self, text: &str, chat: bool) -> Result<Vec<u32>, EngineError> {
        let tokenizer = self.tokenizer.ok_or_else(|| self.cannot("tokenise"))?;
        tokenizer
            .encode(&self.control, &self.model, text, chat)
            .map_err(|fault| fault.told("A prompt could not be tokenised", &self.control))
    }

    fn decode(&self, tokens: &[u32]) -> Result<String, EngineError> {
        let tokenizer = self
            .tokenizer
            .ok_or_else(|| self.cannot("make text of tokens"))?;
        tokenizer
            .decode(&self.control, &self.model, tokens)
            .map_err(|fault| fault.told("Tokens could not be made text", &self.control))
    }

    fn generate(
        &mut self,
        work: &Work,
        events: &mut dyn EventSink,
        cancel: &Cancel,
    ) -> Result<(), EngineError> {
        self.generations += 1;
        let salt = format!("{:016x}-{}", self.salt, self.generations);
        let api = self.target.api;
        self.target.extra_body = drive::body(&self.config, self.kind, api, &work.sampling, &salt);
        let tokens = self.kind.takes_tokens && api.takes_token_ids();
        let text = |request: &Request| -> Arc<str> {
            Arc::from(self.decode(&request.tokens).unwrap_or_default())
        };
        let plan = drive::plan(&self.config, work, tokens, text);
        let gone = Cell::new(false);
        let phases = drive::one_at_a_time(&self.config) && work.batch_size <= 1;
        let scheduled = !work.due_ns.is_empty();
        let mut sink = drive::Sink::new(events, &work.requests, phases, scheduled, &gone);
        let stop = || cancel.is_cancelled() || gone.get();
        let every = self.config.server.metrics_interval_s;
        let every = every.and_then(|s| Duration::try_from_secs_f64(s).ok());
        let report = self.metrics.beside(&self.control, every, || {
            client::run(&self.target, &plan, &mut sink, &stop)
        });
        let tally = std::mem::take(&mut sink.tally);
        let report = report.map_err(|error| EngineError::new(error.what, error.remedy))?;
        let ended = self.end_of_it(&tally, gone.get());
        self.cycle.add(&tally, &report);
        ended.map_or(Ok(()), Err)
    }

    fn turn_to(&mut self, config: &Config) {
        self.target.stream = config.streaming;
        *self.config = config.clone();
    }

    fn run_folder(&mut self, folder: &Path) -> std::io::Result<()> {
        match &mut self.process {
            Some(process) => process.move_log(&folder.join(LOG)),
            None => Ok(()),
        }
    }

    fn before_cycle(&mut self, _cycle: u32) {
        self.cycle.begin();
        if let (Some(steps), Some(process)) = (&mut self.steps, &self.process) {
            steps.skip(process.log());
        }
        self.metrics.before(&self.control);
    }

    fn after_cycle(&mut self, cycle: u32) -> Vec<Record> {
        let (told, other) = self.metrics.after(&self.control, self.cycle.answered());
        let mut records = self.cycle.records(cycle, &told, other);
        if let (Some(steps), Some(process)) = (&mut self.steps, &self.process) {
            records.extend(steps.read(process.log(), cycle));
        }
        records
    }

    fn score(&mut self, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
        score::score(self.kind, &self.control, &self.model, tokens)
    }
}
