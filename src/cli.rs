//! The command line's definitions: what may be typed, and nothing of what it does.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod results;

pub use crate::command::MigrateArgs;
pub use results::{
    AggregateArgs, CompareArgs, ListArgs, RebuildArgs, ResultsVerb, RmArgs, ShowArgs,
};

/// Measures what LLM inference really costs (energy, time, compute, memory, carbon), split into
/// prefill and decode, with an error bar on every joule, and delivers the numbers to MLflow and
/// other tools.
#[derive(Debug, Parser)]
#[command(
    name = "lem",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = "\
Examples:
  lem run configs/quickstart.yaml                 measure a small real model
  lem run my.yaml --set batching.batch_size=4     change one key
  lem run my.yaml --mlflow                        deliver to MLFLOW_TRACKING_URI, or ./mlruns
  lem exec -- python train.py                     measure any command
  lem export lem-runs/RUN --to mlflow             deliver later, or again
  lem export --pending                            deliver whatever is owed
  lem sinks check my.yaml                         would the sinks take a run?
  lem env                                         what can be measured on this machine

Exit codes: 0 done, 1 the run failed, 2 usage or configuration, 3 measured but a delivery is
incomplete (lem export, and lem run with --strict-export), 130 interrupted. lem exec ends as its
command does. Coming from version 2: docs/migration.md.")]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure a model: baseline, warm-up, cycles, result, delivery
    Run(RunArgs),
    /// Measure any command: energy, power, phases, and all sinks
    Exec(ExecArgs),
    /// Deliver runs to sinks, now or again; a repeat changes nothing there
    Export(ExportArgs),
    /// Show which sinks there are, and check whether they would take a run
    Sinks {
        #[command(subcommand)]
        verb: Option<SinksVerb>,
    },
    /// Show this machine's power and state to Prometheus or OTLP, for as long as it lives
    Monitor(MonitorArgs),
    /// Find out how this machine's GPUs tell their power, for all later runs
    Calibrate(CalibrateArgs),
    /// List the engines: which this build and this machine can run, and why not the others
    Engines(EnginesArgs),
    /// Programs in any language that are engines
    #[command(subcommand)]
    Worker(WorkerVerb),
    /// Look at the results of runs
    #[command(subcommand)]
    Results(ResultsVerb),
    /// Check a run: its checksums, and that its result follows from its records
    #[command(after_help = "Exit code 1 where a run is not as it was written.")]
    Verify(VerifyArgs),
    /// Check, show and write configurations
    #[command(subcommand)]
    Config(ConfigVerb),
    /// List every metric with its names in every tool
    Metrics(MetricsArgs),
    /// Show what this machine is and what can be measured on it
    Env(EnvArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  lem completions bash > ~/.local/share/bash-completion/completions/lem"
    )]
    Completions { shell: clap_complete::Shell },
    /// Write the manual pages
    Man {
        /// Folder for one page a verb; left out, lem's own page goes to standard output
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum MetricsFormat {
    #[default]
    Table,
    Json,
    Markdown,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration (YAML); with --resume the one that the run recorded, if left out
    #[arg(required_unless_present = "resume")]
    pub config: Option<PathBuf>,
    /// Set one key; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Parent folder of runs [default: ./lem-runs]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Name of the run
    #[arg(long)]
    pub name: Option<String>,
    /// Measured cycles
    #[arg(long, value_name = "N")]
    pub cycles: Option<u32>,
    /// Measure the idle power before, loaded and after
    #[arg(long)]
    pub measure_baseline: bool,
    /// Profile the engine's operators
    #[arg(long)]
    pub profile: bool,
    /// Go on with a run that was broken off: its folder, or its id. Finished cycles are kept
    #[arg(long, value_name = "RUN")]
    pub resume: Option<String>,
    /// Say what would be measured and what would be sent where; measure, ask and send nothing
    #[arg(long)]
    pub dry_run: bool,
    #[arg(long, value_enum, default_value_t, help = FORMAT_HELP)]
    pub format: Format,

    #[command(flatten)]
    pub sinks: SinkArgs,
}

/// Where to deliver to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub struct SinkArgs {
    /// Deliver to MLflow
    #[arg(long)]
    pub mlflow: bool,
    /// Deliver to Weights & Biases
    #[arg(long)]
    pub wandb: bool,
    /// Serve a Prometheus endpoint, on 127.0.0.1:9464 unless told otherwise
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub prometheus: Option<String>,
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "120", help = LINGER_HELP)]
    pub linger: Option<f64>,
    /// Deliver over OTLP
    #[arg(long)]
    pub otlp: bool,
    /// Exit with 3 where a delivery is incomplete
    #[arg(long)]
    pub strict_export: bool,
}

const LINGER_HELP: &str = "Let the Prometheus endpoint wait so long for a scrape of the summary; without a number 120 seconds";

/// Any command, measured: its energy and power, the phases that it marks, and a run like any
/// other in a folder, delivered to every sink.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem exec -- python train.py                     what a program costs
  lem exec --format json -- ./bench > cost.json   the result for a script
  lem exec --mlflow --name sweep-3 -- make bench  deliver it too
  lem exec -- sh -c 'echo begin load > $LEM_PHASES; load; echo end load > $LEM_PHASES; work'

The command's standard output is left alone, and the report goes to standard error; with
--format json it is the other way round. Into the pipe $LEM_PHASES the command can write a line
`begin NAME [T]`, `end NAME [T]`, `mark NAME [T]` or `tokens N [input|output]`; T is
CLOCK_MONOTONIC in nanoseconds. The arguments are recorded; what looks like a secret is not.

Exit codes: those of the command, 128 and the signal's number where a signal ended it, 127 where
it is not found, 126 where it cannot be executed; and as lem run, where lem itself fails.")]
pub struct ExecArgs {
    /// A configuration for the measurement and the sinks; it need not name a model
    #[arg(long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Set one key; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Parent folder of runs [default: ./lem-runs]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Name of the run [default: the command's]
    #[arg(long)]
    pub name: Option<String>,
    /// Measure the idle power before the command
    #[arg(long)]
    pub measure_baseline: bool,
    /// How often sensors are polled, milliseconds
    #[arg(long, value_name = "MS")]
    pub interval_ms: Option<u32>,
    /// What is reported: a table on standard error, or one JSON object on standard output
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    #[command(flatten)]
    pub sinks: SinkArgs,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// A long-lived exporter of this machine's power, energy and state: no run, no folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem monitor                                     serve http://127.0.0.1:9464/metrics
  lem monitor --prometheus=0.0.0.0:9464           for a Prometheus elsewhere
  lem monitor --otlp --interval-ms 10000          send to OTEL_EXPORTER_OTLP_ENDPOINT

It shows hw_power_watts and hw_energy_joules_total of every sensor, and the state of the GPUs;
what is modelled or made of power samples says so (lem_how). Sensors that vanish are looked for
again. SIGTERM and Ctrl-C end it with exit code 0. docs/monitor.md has the systemd unit.")]
pub struct MonitorArgs {
    /// A configuration for the meters and the two sinks; it need not name a model
    #[arg(long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Set one key; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How often sensors are polled, milliseconds [default: 1000]
    #[arg(long, value_name = "MS")]
    pub interval_ms: Option<u32>,
    /// Serve a Prometheus endpoint, on 127.0.0.1:9464 unless told otherwise; so it is without a sink
    #[arg(long, value_name = "ADDR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub prometheus: Option<String>,
    /// Send over OTLP
    #[arg(long)]
    pub otlp: bool,
}

/// Finds the lag, the averaging window and the update period of each power reading of this
/// machine's GPUs, from a load of known times.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem calibrate                                   every visible GPU, with lem's own load
  lem calibrate --gpu 0 --seconds 120             one GPU, longer
  lem calibrate --gpu 0 -- ./burn                 with a command that keeps the GPU busy

What is found is kept in lem's cache, by board and driver, and used by every later run on this
machine; `lem env` says whether a GPU is calibrated. The GPU should have no other work. A command
is stopped and continued by signals; it has to run for the whole time.")]
pub struct CalibrateArgs {
    /// GPUs, counted as the visible ones are; all without it
    #[arg(long, value_name = "N", value_delimiter = ',')]
    pub gpu: Vec<u32>,
    /// How long each GPU is driven, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 40, value_parser = clap::value_parser!(u32).range(10..=3600))]
    pub seconds: u32,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// A command that keeps the GPU busy, in place of lem's own load
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

const FORMAT_HELP: &str = "What standard output gets: a table, or one JSON object (the result)";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem export lem-runs/RUN --to mlflow             one run, to one sink
  lem export lem-runs/* --to mlflow,files         many runs, to several
  lem export --pending                            what runs in ./lem-runs owe to their sinks

A sink's settings are those of today (variables, --config, --set); what they leave open is taken
from the run. A folder that was copied from another machine is delivered as from there.")]
pub struct ExportArgs {
    /// The runs' folders; with --pending, folders that hold such
    #[arg(value_name = "RUN_DIR", required_unless_present = "pending")]
    pub runs: Vec<PathBuf>,
    /// The sink; several with commas, or given again. With --pending: only these
    #[arg(
        long,
        value_name = "SINK",
        value_delimiter = ',',
        required_unless_present = "pending"
    )]
    pub to: Vec<String>,
    /// Deliver whatever is owed by the runs in a folder [default: that of `io.results_dir`]
    #[arg(long)]
    pub pending: bool,
    /// A configuration to take the sinks' settings from, before those recorded in the run
    #[arg(long, value_name = "CONFIG")]
    pub config: Option<PathBuf>,
    /// Set one key (`integrations.mlflow.tracking_uri=…`); may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How long to go on trying with each run, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    pub deadline: f64,
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "120", help = LINGER_HELP)]
    pub linger: Option<f64>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum SinksVerb {
    /// List every sink: in this build or not, on or off, where to
    List(SinksListArgs),
    /// Ask each sink that is on whether it would take a run; leaves nothing there
    #[command(after_help = "Exit code 1 where a sink would not take a run.")]
    Check(SinksCheckArgs),
}

#[derive(Debug, Default, Args)]
pub struct SinksListArgs {
    /// The configuration that turns sinks on
    pub config: Option<PathBuf>,
    /// Set one key; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
pub struct SinksCheckArgs {
    /// The configuration that turns sinks on
    pub config: Option<PathBuf>,
    /// Check this sink, on or off; several with commas, or given again
    #[arg(long, value_name = "SINK", value_delimiter = ',')]
    pub to: Vec<String>,
    /// Set one key; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How long to wait for each sink, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    pub timeout: f64,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem results plot lem-runs/RUN                       in the terminal
  lem results plot lem-runs/RUN --out power.svg       180 mm wide, for a paper
  lem results plot lem-runs/RUN --cycle 0 --out cycle.png
  lem results plot lem-runs/RUN --whole --what power,temperature,clock --out run.svg")]
pub struct PlotArgs {
    #[arg(value_name = "RUN_DIR")]
    pub run: PathBuf,
    /// File to write, .svg or .png; may be given again. Left out, it is drawn in the terminal
    #[arg(long, value_name = "FILE")]
    pub out: Vec<PathBuf>,
    /// Draw in the terminal, also where --out is given
    #[arg(long)]
    pub terminal: bool,
    /// What to draw; several with commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "power,temperature,tokens"
    )]
    pub what: Vec<PlotWhat>,
    /// Draw one cycle
    #[arg(long, value_name = "N", conflicts_with = "whole")]
    pub cycle: Option<u32>,
    /// Draw the whole run: with its baselines and warm-up
    #[arg(long)]
    pub whole: bool,
    /// Width of a PNG, pixels; 2126 are 180 mm at 300 dots an inch
    #[arg(long, value_name = "PIXELS", default_value_t = 2126, value_parser = clap::value_parser!(u32).range(200..=16384))]
    pub width: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlotWhat {
    /// Power, with phases and idle levels
    Power,
    /// The power of each device beside the sum
    Devices,
    Temperature,
    Utilization,
    Clock,
    Memory,
    /// When each request's tokens came
    Tokens,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The runs' folders
    #[arg(value_name = "RUN_DIR", required = true)]
    pub runs: Vec<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Say everything that is wrong with a configuration
    Validate {
        config: PathBuf,
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// Show the resolved configuration
    Show {
        config: PathBuf,
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Say where each value was defined
        #[arg(long)]
        origin: bool,
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print the JSON Schema of configurations, for editors
    Schema,
    /// Write a commented configuration to start from
    New {
        /// The file; left out, standard output
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct MetricsArgs {
    #[arg(long, value_enum, default_value_t)]
    pub format: MetricsFormat,
}

#[derive(Debug, Args)]
pub struct EnvArgs {
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem engines                                     what can run here
  lem engines --set worker.python=venv/bin/python look for transformers in another Python
  lem engines --no-python --format json           for a script, without starting Python")]
pub struct EnginesArgs {
    /// A configuration, for its worker and server
    pub config: Option<PathBuf>,
    /// Set one key; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Start no Python to ask for its packages
    #[arg(long)]
    pub no_python: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum WorkerVerb {
    /// Try a worker against the protocol: each requirement, whether it holds, and why not
    Check(WorkerCheckArgs),
    /// Print the worker of the backend `transformers`, to read it or to start from
    Show,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem worker check -- python3 workers/echo.py     a program that is to be an engine
  lem worker check my.yaml                        the worker of a configuration, with its model

The protocol is in docs/worker-protocol.md. Exit code 1 where a requirement does not hold.")]
pub struct WorkerCheckArgs {
    /// The configuration of the worker and its model
    pub config: Option<PathBuf>,
    /// Set one key (`model_name=…`, `worker.options.x=…`); may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// The program and its arguments, in place of worker.command
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}
