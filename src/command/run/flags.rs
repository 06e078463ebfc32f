//! What the flags of `lem run` mean.

use crate::cli::{RunArgs, SinkArgs};
use crate::command::Failure;
use crate::config::FlagValue;
use crate::sinks;

/// The flags that turn a sink on: whether given, its spelling, the sink.
fn sinks_of(on: &SinkArgs) -> [(bool, &'static str, &'static str); 4] {
    [
        (on.mlflow, "--mlflow", "mlflow"),
        (on.wandb, "--wandb", "wandb"),
        (on.prometheus.is_some(), "--prometheus", "prometheus"),
        (on.otlp, "--otlp", "otlp"),
    ]
}

/// Flags for sinks that are not in this build: refused, never accepted in silence.
pub fn refuse_unbuilt_sinks(on: &SinkArgs) -> Result<(), Failure> {
    refuse(unbuilt_sinks(on).collect())
}

fn unbuilt_sinks(on: &SinkArgs) -> impl Iterator<Item = String> {
    sinks_of(on)
        .into_iter()
        .filter(|(given, _, sink)| *given && !sinks::built().contains(sink))
        .map(|(_, flag, sink)| {
            format!("{flag}: this build of lem has no sink `{sink}`. Build with the feature `{sink}`, or leave the flag out")
        })
}

fn refuse(wrong: Vec<String>) -> Result<(), Failure> {
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
    if args.profile {
        flags.push(FlagValue::new("profiling.enabled", true, "--profile"));
    }
    flags.extend(sink_values(&args.sinks));
    flags
}

/// Of the flags that turn a sink on.
pub fn sink_values(on: &SinkArgs) -> Vec<FlagValue> {
    let mut flags = Vec::new();
    for (given, flag, sink) in sinks_of(on) {
        if given {
            flags.push(FlagValue::new(
                format!("integrations.{sink}.enabled"),
                true,
                flag,
            ));
        }
    }
    flags.extend(prometheus(on));
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
