//! `lem results migrate`: files of version 2 to results of version 3, one at a time.

mod files;
mod report;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::tz::TimeZone;

use super::super::{Exit, Failure, Outcome, show};
use crate::cli::Format;
use crate::results::migrate::{self, Options, Refused, Why};
use crate::results::store;
use files::Found;
use report::{Entry, Fate, Report};

/// No result is nearly as large; a larger file is not one.
const MAX_BYTES: u64 = 1 << 30;
/// With a line for each number, long lists would treble a file.
const COMPACT_FROM: usize = 4 << 20;
const DEFAULT_OUT: &str = "lem-migrated";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lem results migrate results                         a whole folder, into ./lem-migrated
  lem results migrate results --zone Europe/Berlin    with times: version 2 wrote no zone
  lem results migrate results/0042_multi_cycle.json --out new
  lem results migrate results --format json > report.json

Each file becomes STEM.v3.json, below the folder that all the given ones have in common; the
originals are not touched. It is told by its shape what a file is. A migrated file holds the old
one whole under `legacy`, and under `migration` says of every number that is absent, distrusted or
computed anew why that is so. docs/migration.md has every field.

Exit codes: 0 all were migrated, 1 some were refused (each is named with the reason), 2 usage.")]
pub struct MigrateArgs {
    /// Files, and folders that are searched for *.json
    #[arg(value_name = "OLD", required = true)]
    pub old: Vec<PathBuf>,
    /// Folder for the migrated files
    #[arg(long, value_name = "DIR", default_value = DEFAULT_OUT)]
    pub out: PathBuf,
    /// Write over other files that stand there
    #[arg(long)]
    pub force: bool,
    /// Time zone of the machine that wrote the files, as Europe/Berlin or UTC
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    pub zone: Option<TimeZone>,
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        format!("`{name}` is no time zone that this machine knows. Give its name, such as Europe/Berlin, America/New_York or UTC")
    })
}

pub fn migrate(args: &MigrateArgs) -> Outcome {
    let found = files::find(&args.old, &args.out)?;
    if found.files.is_empty() {
        return Err(Failure::usage(format!(
            "there is no JSON file in what was given ({} other files). Name a folder that holds process_*.json, aggregated or multi-cycle results of version 2",
            found.ignored
        )));
    }
    let options = Options {
        zone: args.zone.clone(),
    };
    let mut report = Report::new(&args.out, found.ignored);
    report.unreadable(&found);
    let mut targets = HashSet::new();
    for path in &found.files {
        report.push(one(path, &found, args, &options, &mut targets));
    }
    show(&match args.format {
        Format::Table => report.table(),
        Format::Json => super::super::json(&report)?,
    });
    Ok(match report.refused {
        0 => Exit::Done,
        _ => Exit::Failed,
    })
}

fn one(
    path: &Path,
    found: &Found,
    args: &MigrateArgs,
    options: &Options,
    targets: &mut HashSet<PathBuf>,
) -> Entry {
    let below = path.strip_prefix(&found.common).unwrap_or(path);
    let source = below.display().to_string();
    let mut fate = || -> Result<Fate, Refused> {
        let old = read(path)?;
        let result = migrate::migrate(&old, &source, options)?;
        let target = target(&args.out, below);
        if !targets.insert(target.clone()) {
            let what = format!(
                "{}, made of another file just now, stands where it belongs",
                target.display()
            );
            return Err(Refused::new(Why::Taken, what));
        }
        let encode = match old.len() > COMPACT_FROM {
            true => serde_json::to_vec,
            false => serde_json::to_vec_pretty,
        };
        let mut bytes =
            encode(&result).map_err(|error| Refused::new(Why::Unwritable, error.to_string()))?;
        bytes.push(b'\n');
        let written = write(&target, &bytes, args.force)?;
        let migration = result.migration.as_ref();
        Ok(Fate::Migrated {
            target: target.display().to_string(),
            written,
            shape: migration.map(|m| m.shape),
            counts: migration.map(|m| m.counts).unwrap_or_default(),
        })
    };
    Entry {
        fate: fate().unwrap_or_else(Fate::from),
        source,
    }
}

fn target(out: &Path, below: &Path) -> PathBuf {
    let mut name = below.file_stem().unwrap_or_default().to_os_string();
    name.push(".v3.json");
    out.join(below).with_file_name(name)
}

fn read(path: &Path) -> Result<Vec<u8>, Refused> {
    let unreadable =
        |error: io::Error| Refused::new(Why::Unreadable, format!("it cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?;
    // A pipe could keep it waiting for ever.
    if !length.is_file() {
        return Err(Refused::new(Why::Unreadable, "it is no file"));
    }
    let too_large = || {
        Refused::new(
            Why::TooLarge,
            format!("it is larger than {} MiB", MAX_BYTES >> 20),
        )
    };
    if length.len() > MAX_BYTES {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Whole or not at all; false where the same stands there already.
fn write(target: &Path, bytes: &[u8], force: bool) -> Result<bool, Refused> {
    let unwritable = |error: io::Error| {
        Refused::new(
            Why::Unwritable,
            format!("{} cannot be written: {error}", target.display()),
        )
    };
    match std::fs::read(target) {
        Ok(there) if there == bytes => return Ok(false),
        Ok(_) if !force => {
            let what = format!(
                "{} stands there already, with other content",
                target.display()
            );
            return Err(Refused::new(Why::Taken, what));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(unwritable(error)),
    }
    if let Some(folder) = target.parent() {
        std::fs::create_dir_all(folder).map_err(unwritable)?;
    }
    store::replace(target, |file| file.write_all(bytes)).map_err(unwritable)?;
    Ok(true)
}
