//! Parse, run, exit code: nothing else.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    lem::command::dispatch(lem::cli::Cli::parse())
}
