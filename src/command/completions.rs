//! `lem completions` and `lem man`: generated from the command line's definitions.

use std::path::Path;

use clap::CommandFactory as _;

use super::{Exit, Failure, Outcome, show};
use crate::cli::Cli;

pub fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lem", &mut script);
    show(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}

pub fn man(out: Option<&Path>) -> Outcome {
    let Some(folder) = out else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|error| Failure::failed(format!("the manual page could not be made: {error}")))?;
        show(&String::from_utf8_lossy(&page));
        return Ok(Exit::Done);
    };
    let cannot = |error: std::io::Error| {
        Failure::failed(format!(
            "the manual pages could not be written to {}: {error}. Choose another folder with --out",
            folder.display()
        ))
    };
    std::fs::create_dir_all(folder).map_err(cannot)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(cannot)?;
    Ok(Exit::Done)
}
