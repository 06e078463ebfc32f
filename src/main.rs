//! Parse, run, exit code: nothing else.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    if let Some(missing) = lem::processor::missing() {
        lem::command::say(&format!("error: {missing}"));
        return ExitCode::FAILURE;
    }
    match lem::command::arguments(std::env::args_os()) {
        Ok(arguments) => lem::command::dispatch(lem::cli::Cli::parse_from(arguments)),
        Err(answered) => answered,
    }
}
