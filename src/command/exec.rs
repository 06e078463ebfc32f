//! `lem exec`: energy, power series, environment and all sinks for any command.
//!
//! Standard output is the command's. The report goes to standard error; with
//! `--format json` the two change places.

use std::io::ErrorKind;
use std::process::ExitCode;
use std::time::Duration;

use lem_delivery::{Delivery, Outcome as Delivered, Policy, Spool};
use lem_record::{Record, Recorder as _, RunStarted, RunStatus, Warning};
use serde_json::Value;

use super::run::{self, flags, prepare, started};
use super::shared::Shared;
use super::{Exit, Failure, close, env, export, results, say, settings, show, summary};
use crate::cli::{ExecArgs, Format};
use crate::config::{FlagValue, Resolved};
use crate::engine::Cancel;
use crate::exec::{self, Described, ExecError, Job, Measured, Place, Program};
use crate::measurement::{self, BaselineKind, Sampling, Shown};
use crate::meter::{self, Sampler, Source};
use crate::sinks;

/// The parts of a configuration that a command's run obeys. The rest is an engine's, and is
/// not recorded, as if it had been used.
const OBEYED: &[&str] = &[
    "config_name",
    "gpus",
    "measurement",
    "carbon",
    "cost",
    "power_model",
    "io",
    "tags",
    "notes",
    "integrations",
];

/// As shells tell that a command is not there, or cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

pub fn exec(args: &ExecArgs) -> Result<ExitCode, Failure> {
    flags::refuse_unbuilt_sinks(&args.sinks)?;
    let resolved =
        settings::resolve_without_model(args.config.as_deref(), &args.set, values(args))?;
    settings::require_built_sinks(&resolved)?;
    let exporters = run::exporters(&resolved, None)?;
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::usage("there is no command. Write it behind --"))?;
    let described = exec::described(program, arguments);
    let program = Program {
        program: program.clone(),
        arguments: arguments.to_vec(),
        output_to_stderr: args.format == Format::Json,
    };

    let config = &resolved.config;
    let detected = meter::detect_for_command(config, &env::outside(&resolved.ecosystem));
    let sources: Vec<Source> = detected.sources().cloned().collect();
    let absent = detected.absent;
    let interval = Duration::from_millis(u64::from(config.measurement.interval_ms));
    let sampler = Sampler::start(detected.meters, interval).map_err(|error| {
        Failure::failed(format!("the sampler's thread cannot be started: {error}. Raise the limit on processes (ulimit -u)"))
    })?;
    let probe = Sampling::new(sampler);
    let started = describe(args, &resolved, &described, &sources, &absent)?;
    let shared = Shared::look(config, &env::outside(&resolved.ecosystem));
    let mut first = Vec::new();
    first.extend(shared.before(false).map(Record::Warning));
    if config.measurement.baseline.enabled {
        say("Measuring the idle power before the command");
        let rule = &config.measurement.baseline;
        first = measurement::observe(&probe, rule, BaselineKind::Bare, &Cancel::default());
    }

    let run_id = started::new_run_id();
    let folder = started::folder(&config.io.results_dir, &run_id)?;
    let tree = started.config.clone();
    let spool =
        Spool::create(&folder, &run_id, started).map_err(|e| Failure::failed(e.to_string()))?;
    started::write_config(
        &folder,
        &Resolved {
            tree,
            ..resolved.clone()
        },
    )?;
    let notes = resolved.notes.iter();
    first.extend(notes.map(|note| Record::Warning(note.to_record())));
    for record in first {
        spool.record(record);
    }
    spool
        .commit()
        .map_err(|e| Failure::failed(ExecError::Log(e).to_string()))?;
    let delivery = Delivery::start(&spool, exporters, &Policy::default())
        .map_err(|error| Failure::failed(error.to_string()))?;

    let board = spool.live().unwrap_or_default();
    probe.show(&board);
    let shown = Shown::new(&board, 0);
    let measured = exec::measure(&Job {
        program: &program,
        place: Place {
            run_id: &run_id,
            run_folder: &folder,
        },
        probe: &probe,
        recorder: &spool,
        shown: &shown,
        segment: Duration::from_secs_f64(config.measurement.segment_s),
    });
    // The command is over: a signal is for us again.
    exec::end_on_signal(Exit::Interrupted as i32);
    if let Some(warning) = shared.after() {
        spool.record(Record::Warning(warning));
    }
    finish(args, &resolved, spool, delivery, measured)
}

/// Flags that stand for a key of the configuration.
fn values(args: &ExecArgs) -> Vec<FlagValue> {
    let mut values = Vec::new();
    if let Some(output) = &args.output {
        let path = output.display().to_string();
        let typed = format!("--output {path}");
        values.push(FlagValue::new("io.results_dir", path, typed));
    }
    if args.measure_baseline {
        let typed = "--measure-baseline";
        values.push(FlagValue::new("measurement.baseline.enabled", true, typed));
    }
    if let Some(ms) = args.interval_ms {
        let typed = format!("--interval-ms {ms}");
        values.push(FlagValue::new("measurement.interval_ms", ms, typed));
    }
    values.extend(flags::sink_values(&args.sinks));
    values
}

/// The first record of the run.
fn describe(
    args: &ExecArgs,
    resolved: &Resolved,
    described: &Described,
    sources: &[Source],
    absent: &[meter::Absent],
) -> Result<RunStarted, Failure> {
    let value = |what: serde_json::Result<Value>| {
        what.map_err(|error| {
            Failure::failed(format!(
                "the run cannot be described: {error}. Please report it"
            ))
        })
    };
    let config = &resolved.config;
    let surroundings = prepare::surroundings(resolved);
    let mut environment = value(serde_json::to_value(&surroundings))?;
    if let Some(map) = environment.as_object_mut() {
        let command = value(serde_json::to_value(described))?;
        map.insert(exec::DESCRIBED.into(), command);
        let absent = value(serde_json::to_value(absent))?;
        map.insert("absent_sensors".into(), absent);
    }
    let mut tags = started::tags(resolved, &surroundings);
    for of_engine in ["backend", "model"] {
        if !config.tags.contains_key(of_engine) {
            tags.remove(of_engine);
        }
    }
    let obeyed = |key: &str| OBEYED.contains(&key.split('.').next().unwrap_or_default());
    let mut tree = resolved.tree.clone();
    if let Some(map) = tree.as_object_mut() {
        map.retain(|key, _| obeyed(key));
    }
    let mut provenance = resolved.origins.clone();
    provenance.retain(|key, _| obeyed(key));
    let power = sources.iter().filter(|source| source.gives_energy());
    Ok(RunStarted {
        format: 1,
        producer: format!("lem {}", env!("CARGO_PKG_VERSION")),
        name: args
            .name
            .clone()
            .or_else(|| config.config_name.clone())
            .unwrap_or_else(|| described.name().to_owned()),
        config: tree,
        provenance,
        tags,
        boot_id: environment
            .pointer("/host/boot_id")
            .and_then(Value::as_str)
            .map(str::to_owned),
        environment,
        pid: std::process::id(),
        sinks: sinks::to_record(config, &resolved.ecosystem)
            .map_err(|e| Failure::usage(e.to_string()))?,
        varying: match power.count() {
            0 | 1 => Vec::new(),
            _ => vec!["hw.id".to_owned()],
        },
        sources: value(serde_json::to_value(sources))?,
        model: Value::Null,
    })
}

/// How the run's own end is told, of the command's.
fn status(
    measured: &Result<(Measured, Option<ExecError>), ExecError>,
) -> (RunStatus, Option<String>) {
    match measured {
        Err(error) => (RunStatus::Failed, Some(error.to_string())),
        Ok((
            Measured {
                asked: Some(name), ..
            },
            _,
        )) => (
            RunStatus::Interrupted,
            Some(format!("{name} was sent, and passed on to the command")),
        ),
        Ok((Measured { exit, .. }, _)) => match exit {
            exec::Exit::Code(0) => (RunStatus::Finished, None),
            exec::Exit::Code(code) => (
                RunStatus::Failed,
                Some(format!("the command ended with exit code {code}")),
            ),
            exec::Exit::Signal(signal) => (
                RunStatus::Failed,
                Some(format!("signal {signal} ended the command")),
            ),
        },
    }
}

fn finish(
    args: &ExecArgs,
    resolved: &Resolved,
    spool: Spool,
    delivery: Delivery,
    measured: Result<(Measured, Option<ExecError>), ExecError>,
) -> Result<ExitCode, Failure> {
    let (status, reason) = status(&measured);
    if spool.disturbances() > 0 {
        spool.record(Record::Warning(Warning {
            code: "delivery.disturbed".into(),
            message: "While the command ran a sink was still busy on its thread".into(),
            remedy: "Deliver after the run instead: leave the sink's flag out and use lem export"
                .into(),
        }));
    }
    spool.record(Record::Table(run::thermal_at_end()));
    let folder = spool.folder().to_owned();
    let delivered = close::close(&spool, status, reason).map(|_| {
        let deadline = resolved.config.integrations.deadline_s;
        let deadline = deadline.unwrap_or(run::DEADLINE_S);
        delivery.finish(
            status,
            Duration::try_from_secs_f64(deadline).unwrap_or(Duration::MAX),
        )
    });
    drop(spool);
    let told = delivered.and_then(|delivered| report(args, resolved, &folder, delivered));
    // The command's own end comes first in what the exit code says.
    let code = match measured {
        Err(error) => {
            say(&format!("error: {error}"));
            match error {
                ExecError::Start { source, .. } if source.kind() == ErrorKind::NotFound => {
                    NOT_FOUND
                }
                ExecError::Start { .. } => NOT_EXECUTABLE,
                _ => Exit::Failed as u8,
            }
        }
        Ok((measured, log)) => {
            if let Some(error) = log {
                say(&format!("error: {error}"));
            }
            measured.exit.status()
        }
    };
    match told {
        Ok(true) => Ok(code.into()),
        Ok(false) if code == 0 && args.sinks.strict_export => Ok(Exit::Owing.into()),
        Ok(false) => Ok(code.into()),
        Err(failure) if code == 0 => Err(failure),
        Err(failure) => {
            say(&format!("error: {failure}"));
            Ok(code.into())
        }
    }
}

/// Writes and shows the result; whether every sink has everything.
fn report(
    args: &ExecArgs,
    resolved: &Resolved,
    folder: &std::path::Path,
    delivered: Vec<Delivered>,
) -> Result<bool, Failure> {
    let result = close::write_result(folder, &delivered)?;
    let text = results::text(&result, args.format)?;
    match args.format {
        Format::Json => show(&text),
        Format::Table => say(&format!("\n{text}")),
    }
    summary::of_run(&resolved.ecosystem, &result);
    export::tell(&delivered, folder, args.format);
    Ok(delivered.iter().all(Delivered::complete))
}
