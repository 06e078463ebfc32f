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
            .map_err(|error| {
                Failure::failed(format!("the manual page could not be made: {error}"))
            })?;
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

/// The text of `docs/cli.md`: the help of every verb.
pub fn cli_md() -> String {
    let mut out = String::from(
        "# Command line\n\nGenerated from the definitions in `src/cli.rs`; do not edit.\n",
    );
    let mut command = Cli::command().term_width(100).disable_help_subcommand(true);
    command.build();
    add(&mut out, &mut command);
    out
}

fn add(out: &mut String, command: &mut clap::Command) {
    let name = command
        .get_bin_name()
        .unwrap_or(command.get_name())
        .to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    out.push_str(&format!(
        "\n## {name}\n\n```\n{}\n```\n",
        lines.join("\n").trim_end()
    ));
    for verb in command
        .get_subcommands_mut()
        .filter(|verb| verb.get_name() != "help")
    {
        add(out, verb);
    }
}
