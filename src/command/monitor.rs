//! `lem monitor`: the meters, for as long as the machine lives, and two sinks that show them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use lem_delivery::{Delivery, DeliveryState, Policy, Spool};
use lem_record::{Exporter, RunStarted, RunStatus, Stamp};
use serde_json::{Value, json};

use super::run::{flags, started};
use super::{Exit, Failure, Outcome, env, say, settings};
use crate::cli::{MonitorArgs, SinkArgs};
use crate::config::{Config, FlagValue, Resolved};
use crate::meter::{self, Component, Detected, Outside, Source, gpu};
use crate::monitor::{Meters, Watch};
use crate::{environment, sinks};

/// The sinks that show what is true now; the others want a run.
const LIVE: [&str; 2] = ["prometheus", "otlp"];
const INTERVAL_MS: u32 = 1000;
/// At the end the sinks get this long.
const DEADLINE: Duration = Duration::from_secs(2);
/// How often it looks whether the sinks still live.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub fn monitor(args: &MonitorArgs) -> Outcome {
    let on = SinkArgs {
        mlflow: false,
        wandb: false,
        prometheus: args.prometheus.clone(),
        linger: None,
        otlp: args.otlp,
        strict_export: false,
    };
    flags::refuse_unbuilt_sinks(&on)?;
    let mut values = flags::sink_values(&on);
    if let Some(ms) = args.interval_ms {
        let typed = format!("--interval-ms {ms}");
        values.push(FlagValue::new("measurement.interval_ms", ms, typed));
    }
    let resolved = settings::resolve_without_model(args.config.as_deref(), &args.set, values)?;
    let mut config = resolved.config.clone();
    if !resolved.given("measurement.interval_ms") {
        config.measurement.interval_ms = INTERVAL_MS;
    }
    // Nobody waits for a last scrape of what goes on for ever.
    config.integrations.prometheus.linger_s = Some(0.0);
    let exporters = exporters(&mut config, &resolved)?;
    let ended = signals()?;

    let folder = Folder::choose();
    let run_id = format!("monitor-{}", folder.host);
    let spool = Spool::create(&folder.path, &run_id, describe(&config, &resolved))
        .map_err(|error| Failure::failed(error.to_string()))?;
    let board = spool.live().unwrap_or_default();
    let interval = Duration::from_millis(u64::from(config.measurement.interval_ms));
    let machine = Machine {
        config,
        outside: env::outside(&resolved.ecosystem),
        driver: false,
    };
    let mut watch = Watch::new(machine, interval, board);
    let found = watch.start(false).map_err(|error| {
        Failure::failed(format!("the sampler's thread cannot be started: {error}. Raise the limit on processes (ulimit -u)"))
    })?;
    for absent in &found.absent {
        say(&format!("note: {}: {}", absent.what, absent.reason));
    }
    for source in watch.sources().iter().filter(|s| s.gives_energy()) {
        say(&format!(
            "Reading {} ({}): {}",
            source.id,
            source.how.as_str(),
            source.name
        ));
    }
    for exporter in &exporters {
        say(&format!("{}: {}", exporter.name(), exporter.destination()));
    }
    let delivery = Delivery::start(&spool, exporters, &Policy::default())
        .map_err(|error| Failure::failed(error.to_string()))?;
    let began = Instant::now();
    let outcome = follow(&mut watch, interval, &delivery, &ended);
    drop(watch);
    delivery.finish(RunStatus::Finished, DEADLINE);
    drop(spool);
    let (cpu, lived) = (crate::monitor::cpu_seconds(), began.elapsed().as_secs_f64());
    say(&format!(
        "Stopped after {lived:.0} s; lem took {cpu:.2} s of processor time ({:.2} %)",
        100.0 * cpu / lived.max(1e-3)
    ));
    outcome
}

/// Ticks until a signal comes, or no sink is left.
fn follow(
    watch: &mut Watch<Machine>,
    interval: Duration,
    delivery: &Delivery,
    ended: &Receiver<()>,
) -> Outcome {
    // Between two readings of the sampler, so that what is served is not about to be old.
    let mut due = Instant::now() + interval / 2;
    let mut looked = Instant::now();
    let mut gone: Vec<String> = Vec::new();
    loop {
        match ended.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(Exit::Done),
            Err(RecvTimeoutError::Timeout) => {}
        }
        for line in watch.tick(Stamp::mono_ns()) {
            say(&line);
        }
        // A tick that was missed is not made up for.
        due += interval;
        due = due.max(Instant::now());
        if looked.elapsed() < LOOK_EVERY {
            continue;
        }
        looked = Instant::now();
        let outcomes = delivery.outcomes();
        for outcome in &outcomes {
            if outcome.state == DeliveryState::GaveUp && !gone.contains(&outcome.sink) {
                gone.push(outcome.sink.clone());
                let reason = outcome.reason.as_deref().unwrap_or("it gave up");
                let remedy = outcome.remedy.as_deref().unwrap_or_default();
                say(&format!("error: {}: {reason}. {remedy}", outcome.sink));
            }
        }
        if gone.len() == outcomes.len() {
            return Err(Failure::failed(
                "no sink is left that shows what is measured; correct the above and start it again",
            ));
        }
    }
}

/// Those that are on and can show what is true now; the Prometheus endpoint where none is on.
fn exporters(config: &mut Config, resolved: &Resolved) -> Result<Vec<Box<dyn Exporter>>, Failure> {
    let enabled = sinks::enabled(config);
    for name in enabled.iter().filter(|name| !LIVE.contains(name)) {
        say(&format!(
            "note: the sink {name} is left out: it takes runs, and lem monitor makes none"
        ));
    }
    if !enabled.iter().any(|name| LIVE.contains(name)) {
        config.integrations.prometheus.enabled = true;
    }
    config.integrations.otlp.live = true;
    let mut made = Vec::new();
    let mut wrong = Vec::new();
    for name in sinks::enabled(config) {
        if !LIVE.contains(&name) {
            continue;
        }
        match sinks::make(name, config, &resolved.ecosystem, None) {
            Ok(sink) => made.push(sink),
            Err(errors) => wrong.extend(errors.0),
        }
    }
    if wrong.is_empty() && made.is_empty() {
        wrong.push("this build of lem has neither the sink prometheus nor otlp. Build it with one of these features".to_owned());
    }
    match wrong.is_empty() {
        true => Ok(made),
        false => Err(Failure::usage(wrong.join("\n"))),
    }
}

/// This machine's sensors.
struct Machine {
    config: Config,
    outside: Outside,
    /// The NVIDIA driver was loaded when we looked last.
    driver: bool,
}

impl Machine {
    fn driver() -> bool {
        Path::new("/dev/nvidiactl").exists()
    }
}

impl Meters for Machine {
    fn detect(&mut self, again: bool) -> Detected {
        if again {
            gpu::restart();
        }
        self.driver = Self::driver();
        meter::detect_for_command(&self.config, &self.outside)
    }

    fn appeared(&self, known: &[Source]) -> bool {
        !self.driver && Self::driver() && known.iter().all(|s| s.component != Component::Gpu)
    }
}

/// What the sinks are told of this machine.
fn describe(config: &Config, resolved: &Resolved) -> RunStarted {
    let environment = environment::collect(&env::inputs(&resolved.ecosystem));
    RunStarted {
        format: 1,
        producer: format!("lem {}", env!("CARGO_PKG_VERSION")),
        name: "monitor".to_owned(),
        config: json!({ "measurement": { "interval_ms": config.measurement.interval_ms } }),
        provenance: BTreeMap::new(),
        tags: BTreeMap::new(),
        boot_id: None,
        environment: serde_json::to_value(environment).unwrap_or_default(),
        pid: std::process::id(),
        sinks: BTreeMap::new(),
        varying: vec!["hw.id".to_owned()],
        sources: Value::Null,
        model: Value::Null,
    }
}

/// Sinks find the first record in a folder; this one is for nobody else, and goes at the end.
struct Folder {
    path: PathBuf,
    host: String,
}

impl Folder {
    fn choose() -> Self {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        let host: String = host.chars().filter(|c| word(*c)).take(64).collect();
        let name = format!("lem-monitor-{}", started::new_run_id());
        Self {
            path: std::env::temp_dir().join(name),
            host,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is one small file among temporary ones.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Says once that SIGTERM or SIGINT came.
fn signals() -> Result<Receiver<()>, Failure> {
    let (tell, told) = mpsc::channel();
    let cannot =
        |error: std::io::Error| Failure::failed(format!("signals cannot be watched: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(cannot)?;
    let watching = std::thread::Builder::new().name("lem-signals".into());
    let spawned = watching.spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
            ) else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            // It has ended by itself.
            let _ = tell.send(());
            // A second one does not wait for the sinks.
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(Exit::Interrupted as i32);
        });
    });
    spawned.map_err(cannot)?;
    Ok(told)
}
