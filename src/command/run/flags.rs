//! What the flags of `lem run` mean.

use lem_record::{CheckOutcome, Exporter};

use crate::cli::{RunArgs, SinkArgs};
use crate::command::{Exit, Failure, Outcome, show};
use crate::config::{FlagValue, Resolved};
use crate::{meter, sinks};

/// The flags that turn a sink on: whether given, its spelling, the sink.
fn sinks_of(args: &RunArgs) -> [(bool, &'static str, &'static str); 4] {
    let on = &args.sinks;
    [
        (on.mlflow, "--mlflow", "mlflow"),
        (on.wandb, "--wandb", "wandb"),
        (on.prometheus.is_some(), "--prometheus", "prometheus"),
        (on.otlp, "--otlp", "otlp"),
    ]
}

/// Flags of parts that are not built yet: refused, never accepted in silence.
pub fn refuse_unbuilt(args: &RunArgs) -> Result<(), Failure> {
    let later = [
        (args.profile, "--profile", "profile the engine's operators"),
        (
            args.resume.is_some(),
            "--resume",
            "continue a run that was broken off",
        ),
    ];
    let later = later
        .iter()
        .filter(|(given, ..)| *given)
        .map(|(_, flag, what)| {
            format!("{flag}: this version of lem does not {what} yet. Leave the flag out")
        });
    let sinks = sinks_of(args)
        .into_iter()
        .filter(|(given, _, sink)| *given && !sinks::built().contains(sink))
        .map(|(_, flag, sink)| {
            format!("{flag}: this build of lem has no sink `{sink}`. Build with the feature `{sink}`, or leave the flag out")
        });
    let wrong: Vec<String> = later.chain(sinks).collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Failure::usage(wrong.join("\n")))
    }
}

/// Flags that stand for a key of the configuration.
pub fn values(args: &RunArgs) -> Vec<FlagValue> {
    let mut flags = Vec::new();
    if let Some(cycles) = args.cycles {
        flags.push(FlagValue::new(
            "num_cycles",
            cycles,
            format!("--cycles {cycles}"),
        ));
    }
    if let Some(output) = &args.output {
        let path = output.display().to_string();
        flags.push(FlagValue::new(
            "io.results_dir",
            path.clone(),
            format!("--output {path}"),
        ));
    }
    if args.measure_baseline {
        flags.push(FlagValue::new(
            "measurement.baseline.enabled",
            true,
            "--measure-baseline",
        ));
    }
    for (given, flag, sink) in sinks_of(args) {
        if given {
            flags.push(FlagValue::new(
                format!("integrations.{sink}.enabled"),
                true,
                flag,
            ));
        }
    }
    flags.extend(prometheus(&args.sinks));
    flags
}

fn prometheus(on: &SinkArgs) -> Vec<FlagValue> {
    let mut flags = Vec::new();
    if let Some(address) = on
        .prometheus
        .as_deref()
        .filter(|address| !address.is_empty())
    {
        flags.push(FlagValue::new(
            "integrations.prometheus.address",
            address,
            format!("--prometheus={address}"),
        ));
    }
    flags.extend(on.linger.map(linger));
    flags
}

/// `--linger`, also of `lem export`.
pub fn linger(seconds: f64) -> FlagValue {
    FlagValue::new(
        "integrations.prometheus.linger_s",
        seconds,
        format!("--linger={seconds}"),
    )
}

/// Says what would be done; asks each sink what can be known without leaving anything there.
pub fn dry_run(resolved: &Resolved, exporters: Vec<Box<dyn Exporter>>) -> Outcome {
    let config = &resolved.config;
    let mut lines = vec![
        format!(
            "Model      {}",
            config.model_name.as_deref().unwrap_or("none")
        ),
        format!("Engine     {}", config.backend.as_str()),
        format!(
            "Work       {} cycles of {} prompts, {} at a time, up to {} output tokens each",
            config.num_cycles,
            config.num_input_prompts,
            config.batching.batch_size,
            config.max_output_tokens
        ),
        format!("Runs go to {}", config.io.results_dir),
    ];
    let detected = meter::detect_for_run(config, resolved.ecosystem.get("CUDA_VISIBLE_DEVICES"));
    for source in detected.sources() {
        lines.push(format!(
            "Meter      {} {} ({})",
            source.id,
            source.name,
            source.how.as_str()
        ));
    }
    let mut failed = false;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|e| Failure::failed(format!("no runtime for the checks: {e}. Raise ulimit -n")))?;
    for exporter in exporters {
        let check = runtime.block_on(exporter.check());
        failed |= check.failed();
        lines.push(format!(
            "Sink       {} to {}",
            exporter.name(),
            exporter.destination()
        ));
        for item in check.items {
            lines.push(match item.outcome {
                CheckOutcome::Ok { detail } => format!("             {}: {detail}", item.what),
                CheckOutcome::Failed { why, remedy } => {
                    format!("             {}: NO. {why}. {remedy}", item.what)
                }
                CheckOutcome::Unknown { why } => {
                    format!("             {}: not known: {why}", item.what)
                }
            });
        }
    }
    lines.push("Nothing was measured and nothing was sent.".to_owned());
    if failed {
        lines.push(
            "A sink would not take the run now; the run itself would go on and owe it.".to_owned(),
        );
    }
    show(&lines.join("\n"));
    Ok(Exit::Done)
}
