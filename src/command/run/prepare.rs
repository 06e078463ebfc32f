//! Everything before the first measured window: meters, idle power, model, prompts.

use std::path::Path;
use std::time::Duration;

use lem_record::{Record, Warning};

use super::progress::ByteBar;
use crate::command::shared::Shared;
use crate::command::{Failure, env, say};
use crate::config::{Finding, LoadFormat, Resolved};
use crate::engine::{self, Cancel, Engine, EngineError};
use crate::environment::{self, Environment, Inputs};
use crate::measurement::{self, BaselineKind, IdleCache, Sampling};
use crate::meter::{self, Absent, Sampler, Source};
use crate::model::{self, Options};
use crate::workload::{self, Workload};

/// What a run is made of.
pub struct Prepared {
    pub environment: Environment,
    pub sources: Vec<Source>,
    pub absent: Vec<Absent>,
    pub probe: Sampling,
    pub engine: Box<dyn Engine>,
    pub workload: Workload,
    /// Kept in memory until there is a log.
    pub bare_baseline: Vec<Record>,
    /// Where idle powers of this board are kept from run to run, where any is measured.
    pub idle_cache: Option<IdleCache>,
    pub notes: Vec<Warning>,
    /// Where GPUs are measured.
    pub shared: Option<Shared>,
    /// For `measurement.cool_down`.
    pub first_start: std::cell::RefCell<Option<measurement::Temperatures>>,
    /// The engine serves several runs: its log is none of theirs.
    pub serves_several: bool,
}

pub fn prepare(resolved: &Resolved, cancel: &Cancel) -> Result<Prepared, Failure> {
    let config = &resolved.config;
    let ecosystem = &resolved.ecosystem;
    let environment = surroundings(resolved);

    let detected = meter::detect_for_run(config, &env::outside(ecosystem));
    let sources: Vec<Source> = detected.sources().cloned().collect();
    let interval = Duration::from_millis(u64::from(config.measurement.interval_ms));
    let sampler = Sampler::start(detected.meters, interval).map_err(|error| {
        Failure::failed(format!("the sampler's thread cannot be started: {error}. Raise the limit on processes (ulimit -u)"))
    })?;
    let probe = Sampling::new(sampler);

    // Prompts and model come first onto this machine: a download is no idle power.
    let options = options(resolved);
    let mut bar = ByteBar::new();
    let gathered = workload::gather(config, &options, &mut bar).map_err(refused)?;
    let name = config.model_name.as_deref().unwrap_or_default();
    let files = engine::opens_files(config)
        .then(|| model::resolve(name, &options, &mut bar).map_err(refused))
        .transpose()?;
    drop(bar);

    let shared = Shared::of_run(config, &env::outside(ecosystem));
    let mut bare_baseline = Vec::new();
    let loaded = format!("{} {name}", config.backend.as_str());
    let cache = options.cache.as_deref();
    let idle_cache = cache.and_then(|cache| IdleCache::of(cache, &environment, &sources, loaded));
    if config.measurement.baseline.enabled {
        say(BaselineKind::Bare.told());
        let rule = &config.measurement.baseline;
        bare_baseline = measurement::observe(&probe, rule, BaselineKind::Bare, cancel);
    } else if let Some(cache) = &idle_cache {
        let now = jiff::Timestamp::now().as_second();
        let known = cache.load(config.measurement.baseline.max_age_h, now);
        bare_baseline.extend(known.map(Record::Table));
    }
    say(&match &config.server.url {
        Some(url) if config.backend.is_server() => format!("Attaching to {url}"),
        _ if config.backend.is_server() => {
            format!("Starting {} with {name}", config.backend.as_str())
        }
        _ => format!("Loading {name}"),
    });
    let engine = engine::open(config, files.as_ref(), ecosystem).map_err(refused)?;
    let workload = workload::build_from(config, gathered, engine.as_ref()).map_err(refused)?;
    let mut notes = workload.warnings.clone();
    let attached = config.server.url.is_some();
    notes.extend(shared.as_ref().and_then(|shared| shared.before(attached)));
    Ok(Prepared {
        environment,
        sources,
        absent: detected.absent,
        probe,
        engine,
        notes,
        shared,
        first_start: std::cell::RefCell::default(),
        workload,
        bare_baseline,
        idle_cache,
        serves_several: false,
    })
}

impl Prepared {
    /// What the configuration's findings have to say in the run.
    pub fn note<'a>(&mut self, findings: impl Iterator<Item = &'a Finding>) {
        self.notes.extend(findings.map(Finding::to_record));
    }

    /// Turns to a configuration that the loaded engine and the meters serve as they are: other
    /// prompts, lengths or batches.
    pub fn turn_to(&mut self, resolved: &Resolved) -> Result<(), Failure> {
        let config = &resolved.config;
        let mut bar = ByteBar::new();
        let gathered = workload::gather(config, &options(resolved), &mut bar).map_err(refused)?;
        drop(bar);
        self.engine.turn_to(config);
        self.workload =
            workload::build_from(config, gathered, self.engine.as_ref()).map_err(refused)?;
        self.notes.clone_from(&self.workload.warnings);
        Ok(())
    }
}

/// How models and datasets are fetched.
fn options(resolved: &Resolved) -> Options {
    let config = &resolved.config;
    let ecosystem = &resolved.ecosystem;
    let mut options = Options::from(|name| {
        ecosystem
            .secret(name)
            .map(|value| value.expose().to_owned())
    });
    options.sha256.clone_from(&config.model_sha256);
    options.shape_only = config.load_format == LoadFormat::Dummy;
    options
}

/// This machine, and the repository of the configuration.
pub fn surroundings(resolved: &Resolved) -> Environment {
    let folder = resolved.files.first().and_then(|file| file.parent());
    let here = |folder: &Path| folder.as_os_str().is_empty();
    environment::collect(&Inputs {
        config_folder: folder.map(|f| if here(f) { Path::new(".") } else { f }),
        ..env::inputs(&resolved.ecosystem)
    })
}

fn refused(error: EngineError) -> Failure {
    Failure::failed(error.to_string())
}
