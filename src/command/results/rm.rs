//! `lem results rm`: removes runs, and nothing else.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use lem_delivery::{Holder, RunLock, holder};
use serde_json::Value;

use crate::cli::RmArgs;
use crate::command::{Exit, Failure, Outcome, say};
use crate::results::index::{self, RESULT_SUFFIX, of_folder};
use crate::results::query::{self, Query, plain};

/// A run that would be removed.
struct Doomed {
    path: PathBuf,
    told: String,
}

pub fn rm(args: &RmArgs) -> Outcome {
    let paths = if args.run.is_empty() {
        chosen(args)?
    } else {
        super::locate(&args.run, args.runs.as_deref())?
    };
    let (mut doomed, mut refused) = (Vec::new(), 0);
    for path in paths {
        match look(&path) {
            Ok(told) => doomed.push(Doomed { path, told }),
            Err(why) => {
                refused += 1;
                say(&format!("error: {why}"));
            }
        }
    }
    if doomed.is_empty() {
        say("Nothing to remove");
        return Ok(if refused > 0 {
            Exit::Failed
        } else {
            Exit::Done
        });
    }
    for run in &doomed {
        say(&run.told);
    }
    let count = match doomed.len() {
        1 => "1 run".to_owned(),
        n => format!("{n} runs"),
    };
    if args.dry_run {
        say(&format!("{count} would be removed"));
        return Ok(Exit::Done);
    }
    if !args.yes && !asked(&count)? {
        say("Nothing was removed");
        return Ok(Exit::Done);
    }
    let mut removed = 0;
    for run in &doomed {
        match remove(&run.path) {
            Ok(()) => removed += 1,
            Err(why) => {
                refused += 1;
                say(&format!("error: {why}"));
            }
        }
    }
    say(&format!("Removed {removed} of {count}"));
    // The index forgets them now; if that fails, it forgets them when it is next used.
    if let Ok(folder) = super::runs_folder(args.runs.as_deref())
        && folder.join(index::FILE).exists()
    {
        let _ = super::open(&folder);
    }
    Ok(if refused > 0 {
        Exit::Failed
    } else {
        Exit::Done
    })
}

/// By filters and age, of the folder of runs.
fn chosen(args: &RmArgs) -> Result<Vec<PathBuf>, Failure> {
    let folder = super::runs_folder(args.runs.as_deref())?;
    let before = args.older_than.as_deref().map(before).transpose()?;
    let mut index = super::open(&folder)?;
    let query = Query {
        filters: args.filter.clone(),
        sort: vec!["started".into()],
        columns: vec!["started".into()],
        limit: None,
    };
    let answer =
        query::ask(&mut index, &query).map_err(|error| Failure::usage(error.to_string()))?;
    let old = |started: Option<&Value>| {
        let Some(before) = before else { return true };
        // One whose age is not known is not old.
        let started = started
            .map(plain)
            .and_then(|text| text.parse::<Timestamp>().ok());
        started.is_some_and(|started| started < before)
    };
    let hits = answer
        .hits
        .into_iter()
        .filter(|hit| old(hit.values.first()));
    Ok(hits.map(|hit| folder.join(hit.path)).collect())
}

/// The moment that lies so long ago.
fn before(age: &str) -> Result<Timestamp, Failure> {
    let wrong = || {
        Failure::usage(format!(
            "--older-than {age}: not an age. Write a number and h, d or w, such as 30d"
        ))
    };
    let (number, hours) = [("h", 1), ("d", 24), ("w", 168)]
        .iter()
        .find_map(|(unit, hours)| Some((age.strip_suffix(unit)?, *hours)))
        .ok_or_else(wrong)?;
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let long = number
        .checked_mul(hours)
        .filter(|h| (0..=10_000_000).contains(h))
        .ok_or_else(wrong)?;
    Timestamp::now()
        .checked_sub(SignedDuration::from_hours(long))
        .map_err(|_| wrong())
}

/// What is known of a run that is to go; `Err` where it must stay.
fn look(path: &Path) -> Result<String, String> {
    may_go(path)?;
    let fields = index::fields(path, true).all;
    let field = |name: &str| {
        fields
            .iter()
            .find(|(path, _)| path == name)
            .map(|(_, value)| plain(value))
    };
    let named = field("name").unwrap_or_else(|| "a run that cannot be read".into());
    let mut told = format!(
        "{} ({named}, {})",
        path.display(),
        field("status").unwrap_or_else(|| "unknown".into())
    );
    if let Some(owed) = field("owed") {
        told = format!(
            "{told}\nwarning: it has not been delivered to {owed}; lem export {} delivers it first",
            path.display()
        );
    }
    Ok(told)
}

fn may_go(path: &Path) -> Result<(), String> {
    let link = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
    if link {
        return Err(format!(
            "{} is a link. Name the run itself, or remove the link",
            path.display()
        ));
    }
    let file = path.is_file() && path.to_string_lossy().ends_with(RESULT_SUFFIX);
    if !file && of_folder(path).is_none() {
        return Err(format!(
            "{} is not the folder of a run, and stays: lem removes runs only",
            path.display()
        ));
    }
    match holder(path) {
        Holder::Process(pid) => Err(format!(
            "{} is in use by {}, and stays",
            path.display(),
            pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
        )),
        Holder::Nobody => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), String> {
    let cannot = |error: io::Error| {
        format!(
            "{} cannot be removed: {error}. Check your rights to its parent folder",
            path.display()
        )
    };
    if path.is_file() {
        return fs::remove_file(path).map_err(cannot);
    }
    // Held while it goes, so that nobody begins with it.
    let _lock = RunLock::acquire(path).map_err(|error| error.to_string())?;
    may_go_locked(path)?;
    // Out of sight first: half a run is never seen.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hidden = path.with_file_name(format!(".{name}.removed"));
    let gone = match fs::rename(path, &hidden) {
        Ok(()) => hidden,
        Err(_) => path.to_owned(),
    };
    fs::remove_dir_all(gone).map_err(cannot)
}

fn may_go_locked(path: &Path) -> Result<(), String> {
    if of_folder(path).is_some() {
        return Ok(());
    }
    Err(format!(
        "{} is not the folder of a run any more, and stays",
        path.display()
    ))
}

fn asked(count: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "there is no terminal to ask on whether to remove {count}. Give --yes, or --dry-run to see only"
        )));
    }
    say(&format!("Remove {count}? This cannot be undone [y/N]"));
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("no answer could be read: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
