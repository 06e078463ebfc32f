//! What may be typed after `lem results`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{MigrateArgs, PlotArgs};
use crate::results::grid::GridFormat;

#[derive(Debug, Subcommand)]
pub enum ResultsVerb {
    /// List the runs of a folder: filtered and sorted by any field
    List(ListArgs),
    /// Show a run's result, also of one that was killed
    Show(ShowArgs),
    /// Compare runs: what was set differently, and how every metric differs, with intervals
    Compare(CompareArgs),
    /// Make one result of several processes, GPUs or hosts that worked together
    Aggregate(AggregateArgs),
    /// Make result.json again from the runs' records
    Rebuild(RebuildArgs),
    /// Remove runs
    Rm(RmArgs),
    /// Draw power, phases, temperature and token times
    Plot(PlotArgs),
    /// Make results of version 3 of those of version 2
    Migrate(MigrateArgs),
    /// Print the JSON Schema of result.json
    Schema,
}

const RUNS_HELP: &str =
    "Folder of runs in which ids and names are looked for [default: that of `io.results_dir`]";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem results list --filter status=finished --sort energy.per_output_token
  lem results list --filter 'config.batching.batch_size>=4' --filter model_name~qwen
  lem results list --columns name,batch_size,latency.ttft.p99 --format latex > table.tex
  lem results list --filter owed~mlflow --columns id,folder,owed

A field is a path of the result (decode_energy_j, config.batching.batch_size, tags.team), an id of
lem metrics (energy.per_output_token, latency.ttft.p99), or a name that is found in one place only.
What a run does not have meets no filter but `FIELD=`, and is sorted last.")]
pub struct ListArgs {
    /// Folder of runs [default: that of `io.results_dir`]
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// A condition: a field, one of = != < <= > >= ~ (a pattern), a value; all that are given hold
    #[arg(long, value_name = "EXPR")]
    pub filter: Vec<String>,
    /// Sort by a field, FIELD:desc downwards; several by their order [default: newest first]
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pub sort: Vec<String>,
    /// The fields to show
    #[arg(long, value_name = "FIELDS", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// At most so many runs
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[arg(long, value_enum, default_value_t)]
    pub format: GridFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem results show lem-runs/RUN
  lem results show 20260203 --field energy.per_output_token
  lem results show my-run --format latex > table.tex")]
pub struct ShowArgs {
    /// The run: its folder, its id or the beginning of it, or its name
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    #[arg(long, value_name = "DIR", help = RUNS_HELP)]
    pub runs: Option<PathBuf>,
    /// Show one field alone
    #[arg(long, value_name = "FIELD")]
    pub field: Option<String>,
    /// A report, or the whole result, or its metrics as a table
    #[arg(long, value_enum, default_value_t)]
    pub format: GridFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem results compare before after
  lem results compare lem-runs/A lem-runs/B lem-runs/C --format markdown

The first run is what the others are compared with. A ratio is that of the means over the cycles,
with its 95 % interval (Fieller); the gain of the sensors is in it where the runs were measured by
different boards, and cancels on the same. `lower` and `higher` are said only where the interval
excludes 1 and the difference holds for all metrics together (Benjamini-Hochberg, 5 %).")]
pub struct CompareArgs {
    /// The runs, each by its folder, id or name; the first is the reference
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    pub run: Vec<PathBuf>,
    #[arg(long, value_name = "DIR", help = RUNS_HELP)]
    pub runs: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t)]
    pub format: GridFormat,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem results aggregate node1/RUN node2/RUN       two processes of one job
  lem results aggregate --sweep 20260203-sweep    the points of a sweep, from several folders

Computed from the runs' logs, which stay as they are. Each device's energy counts once, however
many processes it served; percentiles are those of all requests; throughput is all tokens over the
time in which the processes worked.")]
pub struct AggregateArgs {
    /// The runs, each by its folder, id or name; with --sweep, folders to look for its points in
    #[arg(value_name = "RUN", required_unless_present = "sweep")]
    pub run: Vec<PathBuf>,
    #[arg(long, value_name = "DIR", help = RUNS_HELP)]
    pub runs: Option<PathBuf>,
    /// Where the aggregated result is written [default: `aggregates` beside the first run]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Processes that there must be
    #[arg(long, value_name = "N")]
    pub expect: Option<usize>,
    /// Put different models, engines or measured and modelled energies together nevertheless
    #[arg(long)]
    pub allow_mixed: bool,
    /// Bring the points of a sweep together in a table
    #[arg(long, value_name = "ID", conflicts_with_all = ["expect", "out"])]
    pub sweep: Option<String>,
    #[arg(long, value_enum, default_value_t)]
    pub format: GridFormat,
}

#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// The runs, each by its folder, id or name
    #[arg(value_name = "RUN", required_unless_present = "all")]
    pub run: Vec<PathBuf>,
    /// Every run of the folder of runs
    #[arg(long, conflicts_with = "run")]
    pub all: bool,
    #[arg(long, value_name = "DIR", help = RUNS_HELP)]
    pub runs: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem results rm 20260203-1
  lem results rm --older-than 30d --filter status=killed --dry-run

Only runs are removed, never one that is being measured. Without a terminal to ask on, --yes is
needed.")]
pub struct RmArgs {
    /// The runs, each by its folder, id or name
    #[arg(value_name = "RUN", required_unless_present_any = ["filter", "older_than"])]
    pub run: Vec<PathBuf>,
    /// Of the folder of runs those that meet a condition, as in lem results list
    #[arg(long, value_name = "EXPR", conflicts_with = "run")]
    pub filter: Vec<String>,
    /// Those that began longer ago: 30d, 12h, 8w
    #[arg(long, value_name = "AGE", conflicts_with = "run")]
    pub older_than: Option<String>,
    #[arg(long, value_name = "DIR", help = RUNS_HELP)]
    pub runs: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
}
