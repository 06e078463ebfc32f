//! One file a verb, and what they share: exit codes, output, failure.

mod calibrate;
mod close;
mod completions;
mod config;
mod engines;
mod env;
mod exec;
mod export;
mod metrics;
mod monitor;
mod results;
mod run;
mod settings;
mod shared;
mod sinks;
mod summary;
mod sweep;
mod terminal;
mod verify;
mod version_2;
mod worker;

use std::process::ExitCode;

use crate::cli::{Cli, Verb};

pub use results::MigrateArgs;
pub use terminal::{json, say, show, table};
pub use version_2::arguments;

/// Reference documentation that is made from code.
pub mod generated {
    pub use super::completions::cli_md;
    pub use super::metrics::markdown as metrics_md;
    pub use super::version_2::migration_md;
}

/// The contract for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Done = 0,
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Measured, but a delivery is incomplete.
    Owing = 3,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a verb ended early: what, where, why and the next step, for a person.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
        }
    }
}

pub type Outcome = Result<Exit, Failure>;

pub fn dispatch(cli: Cli) -> ExitCode {
    let outcome = match cli.verb {
        Verb::Exec(args) => return exec::exec(&args).unwrap_or_else(|failure| told(&failure)),
        Verb::Metrics(args) => metrics::metrics(&args),
        Verb::Completions { shell } => completions::completions(shell),
        Verb::Man { out } => completions::man(out.as_deref()),
        Verb::Run(args) => run::run(&args),
        Verb::Sweep(args) => sweep::sweep(&args),
        Verb::Export(args) => export::export(&args),
        Verb::Sinks { verb } => sinks::sinks(verb.as_ref()),
        Verb::Results(verb) => results::results(&verb),
        Verb::Calibrate(args) => calibrate::calibrate(&args),
        Verb::Monitor(args) => monitor::monitor(&args),
        Verb::Engines(args) => engines::engines(&args),
        Verb::Worker(verb) => worker::worker(&verb),
        Verb::Verify(args) => verify::verify(&args),
        Verb::Config(verb) => config::config(&verb),
        Verb::Env(args) => env::env(&args),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => told(&failure),
    }
}

fn told(failure: &Failure) -> ExitCode {
    // The configuration's findings say of themselves what they are.
    let told = failure.to_string();
    let named = ["error:", "warning:", "note:"]
        .iter()
        .any(|name| told.starts_with(name));
    say(&if named {
        told
    } else {
        format!("error: {told}")
    });
    failure.exit.into()
}
