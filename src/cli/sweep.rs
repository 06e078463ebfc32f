//! `lem sweep`: what may be typed.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Format, SinkArgs};
use crate::config::SweepOrder;

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    subcommand_value_name = "VERB",
    after_help = "\
Examples:
  lem sweep my.yaml --vary batching.batch_size=1,2,4,8 --vary max_output_tokens=32,128
  lem sweep my.yaml --zip 'batching.batch_size=1,8 num_input_prompts=8,64'
  lem sweep my.yaml --vary batching.batch_size=1,64 --skip 'batching.batch_size > num_input_prompts'
  lem sweep a.yaml b.yaml --order interleaved     several configurations in one campaign
  lem sweep --resume 20261124-083000-9f3c2a       go on with what a kill or Ctrl-C broke off
  lem sweep plan my.yaml --vary num_cycles=3 --out plan.json
  lem sweep run plan.json --index 4               one point, on any machine

Values are read as --set reads them. One that holds a comma is quoted, for the shell too:
--vary 'model_name=\"a,b\",c'; lists are written [0,1]. The same can stand in the configuration,
in the section `sweep`. All points are checked before anything is measured. A point that fails
does not end the sweep: it is told at the end, with exit code 1."
)]
pub struct SweepArgs {
    #[command(subcommand)]
    pub verb: Option<SweepVerb>,

    #[command(flatten)]
    pub points: PointArgs,

    /// Go on with a sweep that was broken off: its id, or its folder
    #[arg(long, value_name = "SWEEP", conflicts_with_all = ["vary", "zip", "point", "skip", "cycles", "order", "seed", "stop_early", "best", "name", "id", "measure_baseline"])]
    pub resume: Option<String>,
    /// With --resume: measure again what failed
    #[arg(long, requires = "resume")]
    pub retry_failed: bool,
    /// Say what would be measured, in which order; measure and send nothing
    #[arg(long)]
    pub dry_run: bool,
    /// What standard output gets: a table, or one JSON object
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    #[command(flatten)]
    pub sinks: SinkArgs,
}

/// What the points are.
#[derive(Debug, Args)]
pub struct PointArgs {
    /// The configuration (YAML); several are measured beside one another
    #[arg(value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// Set one key for all points; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Vary a key; given again, every combination is a point
    #[arg(long, value_name = "KEY=V,V,…")]
    pub vary: Vec<String>,
    /// Vary keys together, the first values with the first; may be given again
    #[arg(long, value_name = "KEY=V,V KEY=V,V")]
    pub zip: Vec<String>,
    /// One more point, beside the combinations; may be given again
    #[arg(long, value_name = "KEY=V,KEY=V")]
    pub point: Vec<String>,
    /// Leave out points for which this holds; may be given again
    #[arg(long, value_name = "CONDITION")]
    pub skip: Vec<String>,
    /// Measured cycles of each point
    #[arg(long, value_name = "N")]
    pub cycles: Option<u32>,
    /// In which order points are visited [default: blocks]
    #[arg(long, value_enum)]
    pub order: Option<SweepOrder>,
    /// Seed of the order [default: random_seed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// End points that are certainly poor, as energy.per_output_token:1.5 says
    #[arg(long, value_name = "METRIC:FACTOR")]
    pub stop_early: Option<String>,
    /// What the best point is best in [default: energy.per_output_token]
    #[arg(long, value_name = "METRIC")]
    pub best: Option<String>,
    /// Name of the sweep
    #[arg(long)]
    pub name: Option<String>,
    /// Id of the sweep, and of its folder [default: made of the time]
    #[arg(long)]
    pub id: Option<String>,
    /// Parent folder of the sweep's [default: ./lem-runs]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Measure the idle power of each point
    #[arg(long)]
    pub measure_baseline: bool,
}

#[derive(Debug, Subcommand)]
pub enum SweepVerb {
    /// Write the plan: points, order of visits, configurations without secrets
    Plan(Box<SweepPlanArgs>),
    /// Measure one point of a plan, as one job of an array does
    Run(SweepRunArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
The same configuration, flags and --id give the same plan, byte for byte. `lem sweep run` needs
nothing but the plan, and secrets from the variables of its machine.")]
pub struct SweepPlanArgs {
    #[command(flatten)]
    pub points: PointArgs,
    /// The file; left out, standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub sinks: SinkArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem sweep run plan.json --index $SLURM_ARRAY_TASK_ID
  lem sweep run plan.json --index $JOB_COMPLETION_INDEX --output /shared/lem-runs

A point that is finished is not measured again; one that was broken off goes on. The runs go to
<output>/<sweep id>/points/, and `lem results aggregate` brings them together. configs/cluster
has examples for Slurm and Kubernetes.")]
pub struct SweepRunArgs {
    /// What `lem sweep plan` wrote
    pub plan: PathBuf,
    /// Which point, from 0
    #[arg(long, value_name = "N")]
    pub index: u32,
    /// Set one key, such as a sink's; what a point is cannot be changed
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Parent folder of the sweep's [default: the plan's]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Measure it again where it failed
    #[arg(long)]
    pub retry_failed: bool,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    pub sinks: SinkArgs,
}
