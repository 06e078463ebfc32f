//! `lem run … --dry-run`: what would be measured, and what would be sent where. It looks
//! at this machine and at the configuration; it asks no sink and writes nothing.

use std::collections::BTreeMap;

use lem_delivery::MAX_POINTS;
use lem_record::{Exporter, How};
use serde::Serialize;

use super::{prepare, started};
use crate::cli::{Format, RunArgs};
use crate::command::{Exit, Outcome, env, json, show};
use crate::config::Resolved;
use crate::meter;
use crate::sinks::{self, Kind};

/// All that is known before a run.
#[derive(Serialize)]
struct Intention {
    name: String,
    model: Option<String>,
    backend: &'static str,
    cycles: u32,
    /// Of each cycle; a file or dataset may turn out to have fewer.
    prompts: u64,
    batch_size: u64,
    max_output_tokens: u64,
    /// The parent folder of the run's.
    results_dir: String,
    meters: Vec<MeterTold>,
    tags: BTreeMap<String, String>,
    sinks: Vec<SinkTold>,
    privacy: &'static str,
}

#[derive(Serialize)]
struct MeterTold {
    id: String,
    name: String,
    how: How,
    /// Sampled series that it gives.
    series: usize,
}

#[derive(Serialize)]
struct SinkTold {
    sink: &'static str,
    destination: String,
    sends: Vec<Kind>,
}

pub fn dry_run(args: &RunArgs, resolved: &Resolved, exporters: &[Box<dyn Exporter>]) -> Outcome {
    let intention = intend(args, resolved, exporters);
    show(&match args.format {
        Format::Json => json(&intention)?,
        Format::Table => told(&intention),
    });
    Ok(Exit::Done)
}

fn intend(args: &RunArgs, resolved: &Resolved, exporters: &[Box<dyn Exporter>]) -> Intention {
    let config = &resolved.config;
    let detected = meter::detect_for_run(config, &env::outside(&resolved.ecosystem));
    let meters = detected.sources().map(|source| MeterTold {
        id: source.id.clone(),
        name: source.name.clone(),
        how: source.how,
        series: source.columns.len(),
    });
    let sinks = exporters.iter().map(|exporter| SinkTold {
        sink: exporter.name(),
        destination: exporter.destination(),
        sends: sends(resolved, exporter.name()),
    });
    Intention {
        name: started::name(args.name.as_deref(), config),
        model: config.model_name.clone(),
        backend: config.backend.as_str(),
        cycles: config.num_cycles,
        prompts: u64::from(config.num_input_prompts),
        batch_size: u64::from(if config.backend.is_server() {
            config.traffic.concurrency
        } else {
            config.batching.batch_size
        }),
        max_output_tokens: u64::from(config.max_output_tokens),
        results_dir: config.io.results_dir.clone(),
        meters: meters.collect(),
        tags: started::tags(resolved, &prepare::surroundings(resolved)),
        sinks: sinks.collect(),
        privacy: match config.prompts.texts.is_empty() {
            true => "No prompt and no output is sent: a request is its times and counts of tokens.",
            false => {
                "No output is sent. The prompts are: prompts.texts is part of the configuration. \
                 Keep private prompts in a file (prompts.path), of which only name and digest are sent."
            }
        },
    }
}

fn sends(resolved: &Resolved, sink: &str) -> Vec<Kind> {
    let kept = |kind: &Kind| {
        let off = format!("/integrations/{sink}/upload_artifacts");
        let off = resolved.tree.pointer(&off).and_then(|on| on.as_bool()) == Some(false);
        !(off && *kind == Kind::Artifacts)
    };
    sinks::sends(sink).iter().copied().filter(kept).collect()
}

fn told(run: &Intention) -> String {
    let mut lines = Vec::new();
    let mut line = |title: &str, text: String| lines.push(format!("{title:<11}{text}"));
    line("Run", run.name.clone());
    line("Model", run.model.clone().unwrap_or_else(|| "none".into()));
    line("Engine", run.backend.to_owned());
    line(
        "Work",
        format!(
            "{} cycles of {} prompts, {} at a time, up to {} output tokens each",
            run.cycles, run.prompts, run.batch_size, run.max_output_tokens
        ),
    );
    line("Runs go to", run.results_dir.clone());
    for meter in &run.meters {
        let how = meter.how.as_str();
        line("Meter", format!("{} {} ({how})", meter.id, meter.name));
    }
    for (tag, value) in &run.tags {
        line("Tag", format!("{tag}: {value}"));
    }
    for sink in &run.sinks {
        line("Sink", format!("{} to {}", sink.sink, sink.destination));
        for kind in &sink.sends {
            line("", format!("  {}", of_kind(*kind, run)));
        }
    }
    if run.sinks.is_empty() {
        line("Sinks", "none: the run stays in its folder".to_owned());
    } else {
        line("Privacy", run.privacy.to_owned());
    }
    lines.push("Nothing was measured, nothing was sent, nobody was asked.".to_owned());
    if !run.sinks.is_empty() {
        lines.push("Whether the sinks would take it: lem sinks check".to_owned());
    }
    lines.join("\n")
}

/// What is sent, and how much of it where that is known.
fn of_kind(kind: Kind, run: &Intention) -> String {
    let cycles = run.cycles;
    let requests = run.prompts.saturating_mul(u64::from(cycles));
    let series: usize = run.meters.iter().map(|meter| meter.series).sum();
    match kind {
        Kind::Parameters => {
            format!(
                "the configuration without its secrets, facts of this machine, {} tags",
                run.tags.len()
            )
        }
        Kind::Metrics => "the run's metrics, with intervals".to_owned(),
        Kind::CycleMetrics => format!("metrics of each of {cycles} cycles"),
        Kind::Series => format!("{series} sampled series, at most {MAX_POINTS} points each"),
        Kind::Live => "power, phase, tokens and progress while the run goes on".to_owned(),
        Kind::Tables => format!("tables, of {cycles} cycles and about {requests} requests"),
        Kind::Spans => {
            format!("spans of the run, {cycles} cycles, their phases and about {requests} requests")
        }
        Kind::Warnings => "warnings".to_owned(),
        Kind::Artifacts => {
            "artifacts: result.json, the configuration, timeseries.parquet".to_owned()
        }
        Kind::Records => "the log: records.jsonl".to_owned(),
    }
}
