//! `lem config`: check, show and write configurations.

use std::path::Path;

use super::settings::{require_built, resolve};
use super::{Exit, Failure, Outcome, say, show};
use crate::cli::{ConfigVerb, Format};
use crate::config::{self, generate};

pub fn config(verb: &ConfigVerb) -> Outcome {
    match verb {
        ConfigVerb::Validate { config, set } => {
            let resolved = resolve(Some(config), set, Vec::new())?;
            show(&format!("{} is a valid configuration", config.display()));
            if let Err(failure) = require_built(&resolved) {
                say(&format!("but this build of lem cannot run it:\n{failure}"));
            }
        }
        ConfigVerb::Show {
            config,
            set,
            origin,
            format,
        } => {
            let resolved = resolve(Some(config), set, Vec::new())?;
            let format = match format {
                Format::Table => config::Format::Yaml,
                Format::Json => config::Format::Json,
            };
            show(&config::show(&resolved, format, *origin));
        }
        ConfigVerb::Schema => show(&generate::schema_json()),
        ConfigVerb::New { file: None } => show(&generate::starter()),
        ConfigVerb::New { file: Some(file) } => write_new(file)?,
    }
    Ok(Exit::Done)
}

fn write_new(file: &Path) -> Result<(), Failure> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut out| std::io::Write::write_all(&mut out, generate::starter().as_bytes()));
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::usage(format!(
            "{} is there already and is not overwritten. Choose another name",
            file.display()
        )),
        _ => Failure::failed(format!(
            "{} cannot be written: {error}. Choose another place",
            file.display()
        )),
    })?;
    say(&format!(
        "Wrote {}. Next: lem config validate {0}",
        file.display()
    ));
    Ok(())
}
