//! `lem results rm`: removes runs, and nothing else.

use std::collections::BTreeSet;
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
use crate::sweep::plan::POINTS_FOLDER;

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
    for path in once(paths) {
        match look(&path) {
            Ok(told) => doomed.push(Doomed { path, told }),
            Err(why) => {
                refused += 1;
                say(&format!("error: {why}"));
            }
        }
    }
    // The points of a sweep that goes go with it.
    let sweeps: Vec<PathBuf> = doomed
        .iter()
        .filter(|run| index::is_sweep(&run.path))
        .map(|run| run.path.clone())
        .collect();
    doomed.retain(|run| {
        let mut above = run.path.ancestors().skip(1);
        !above.any(|folder| sweeps.iter().any(|sweep| sweep == folder))
    });
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
    for note in &answer.notes {
        say(&format!("note: {note}"));
    }
    let old = |started: Option<&Value>| {
        let Some(before) = before else { return true };
        // One whose age is not known is not old.
        let started = started
            .map(plain)
            .and_then(|text| text.parse::<Timestamp>().ok());
        started.is_some_and(|started| started < before)
    };
    // A sweep is as old as the youngest of its points: all go with it.
    let mut young = BTreeSet::new();
    if before.is_some() {
        let read = index.rows(&["started".to_owned()], &mut |row| {
            if let Some(sweep) = sweep_of(&row.path).filter(|_| !old(row.values.first())) {
                young.insert(sweep.to_owned());
            }
        });
        read.map_err(|error| {
            Failure::failed(format!(
                "the index of {} cannot be read: {error}",
                folder.display()
            ))
        })?;
    }
    let hits = answer
        .hits
        .into_iter()
        .filter(|hit| old(hit.values.first()) && !young.contains(&hit.path));
    let paths: Vec<PathBuf> = hits.map(|hit| folder.join(hit.path)).collect();
    let whole = folder.canonicalize().map_err(|error| {
        Failure::failed(format!(
            "the folder of runs {} cannot be read: {error}",
            folder.display()
        ))
    })?;
    // What a link leads to is not of this folder.
    let (inside, outside): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| {
        path.canonicalize()
            .is_ok_and(|path| path != whole && path.starts_with(&whole))
    });
    for path in outside {
        say(&format!(
            "warning: {} is not within {} but behind a link, and stays. Name it to remove it",
            path.display(),
            folder.display()
        ));
    }
    Ok(inside)
}

/// Below the folder of runs, the sweep that a path is a point of.
fn sweep_of(path: &str) -> Option<&str> {
    let (points, _) = path.rsplit_once('/')?;
    points.strip_suffix(POINTS_FOLDER)?.strip_suffix('/')
}

/// Each path once, without a slash at its end, which would lead through a link.
fn once(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut all: Vec<PathBuf> = paths
        .iter()
        .map(|path| path.components().collect())
        .collect();
    all.retain(|path| {
        // The same folder by two ways; a link is itself.
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Some(Path::new(".")),
            parent => parent,
        };
        let place = parent.and_then(|p| p.canonicalize().ok());
        let place = place.zip(path.file_name()).map(|(p, name)| p.join(name));
        seen.insert(place.unwrap_or_else(|| path.clone()))
    });
    all
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
    let points = points(path);
    if index::is_sweep(path) {
        let runs = points.iter().filter(|p| of_folder(p).is_some()).count();
        told = format!("{told}, a sweep: {runs} points go with it");
    }
    for run in std::iter::once(path).chain(points.iter().map(PathBuf::as_path)) {
        if let Some(owed) = owed(run, if run == path { "it" } else { "its point" }) {
            told = format!("{told}\n{owed}");
        }
    }
    Ok(told)
}

fn owed(run: &Path, what: &str) -> Option<String> {
    let fields = index::fields(run, true).all;
    let (_, sinks) = fields.iter().find(|(path, _)| path == "owed")?;
    Some(format!(
        "warning: {what} has not been delivered to {}; lem export {} delivers it first",
        plain(sinks),
        run.display()
    ))
}

/// The folders of a sweep's points, in order; none of any other run.
fn points(path: &Path) -> Vec<PathBuf> {
    if !index::is_sweep(path) {
        return Vec::new();
    }
    let entries = fs::read_dir(path.join(POINTS_FOLDER)).into_iter().flatten();
    let mut points: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    points.sort();
    points
}

fn may_go(path: &Path) -> Result<(), String> {
    if path.file_name().is_none() {
        return Err(format!(
            "{} has no name of its own, and stays. Name the run by its folder or id",
            path.display()
        ));
    }
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
    let by = |pid: Option<u32>| {
        pid.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
    };
    if let Holder::Process(pid) = holder(path) {
        return Err(format!(
            "{} is in use by {}, and stays",
            path.display(),
            by(pid)
        ));
    }
    for point in points(path) {
        if let Holder::Process(pid) = holder(&point) {
            return Err(format!(
                "{} stays: its point {} is in use by {}. Try again when that has ended",
                path.display(),
                point.display(),
                by(pid)
            ));
        }
    }
    Ok(())
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
    let points = points(path);
    let _locks = points
        .iter()
        .map(|point| RunLock::acquire(point))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{} stays: {error}", path.display()))?;
    // Out of sight first: half a run is never seen.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hidden = path.with_file_name(format!(".{name}.removed"));
    if fs::rename(path, &hidden).is_err() {
        return fs::remove_dir_all(path).map_err(cannot);
    }
    fs::remove_dir_all(&hidden).map_err(|error| {
        // What is left is seen again, so that it can be removed by its name.
        match fs::rename(&hidden, path) {
            Ok(()) => format!(
                "{} cannot be removed wholly: {error}. Check your rights to what is in it, and remove it again",
                path.display()
            ),
            Err(_) => format!(
                "{} cannot be removed wholly: {error}. What is left of it is {}; remove that by hand",
                path.display(),
                hidden.display()
            ),
        }
    })
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
