//! One run after the other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lem_delivery::{
    DeliveryState, Log, LogError, Outcome as Delivered, Policy, RECORDS_FILE, Standing,
    deliver_once,
};
use lem_record::Exporter;
use serde::{Serialize, Serializer};

use super::pending::{self, Owed};
use super::recorded;
use crate::command::{Failure, close, results, say};
use crate::config::Resolved;
use crate::sinks;

/// What came of one run.
#[derive(Serialize)]
pub struct Exported {
    /// Its id; its folder's name where the log does not tell.
    pub run: String,
    pub run_dir: PathBuf,
    /// What it owed before, to the sinks in question.
    pub owed: Vec<Owed>,
    /// What it came to in each sink, also in those that were not tried.
    pub exports: Vec<Delivered>,
    /// Why nothing could be delivered.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "message")]
    pub problem: Option<Failure>,
    /// Why there was nothing to do yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

fn message<S: Serializer>(problem: &Option<Failure>, to: S) -> Result<S::Ok, S::Error> {
    problem
        .as_ref()
        .map(|failure| &failure.message)
        .serialize(to)
}

impl Exported {
    pub fn is_worth_telling(&self) -> bool {
        !self.exports.is_empty() || self.problem.is_some() || self.skipped.is_some()
    }
}

/// An export of one run or many.
pub struct Round<'a> {
    resolved: &'a Resolved,
    /// The sinks that were named.
    to: &'a [String],
    /// What is owed, instead of everything to the named sinks.
    pending: bool,
    /// For each run.
    deadline: Duration,
    /// Sinks and destinations that took nothing of a run until the deadline.
    silent: BTreeSet<(String, String)>,
}

impl<'a> Round<'a> {
    pub fn new(
        resolved: &'a Resolved,
        to: &'a [String],
        pending: bool,
        deadline: Duration,
    ) -> Self {
        Self {
            resolved,
            to,
            pending,
            deadline,
            silent: BTreeSet::new(),
        }
    }

    pub fn export(&mut self, folder: &Path) -> Exported {
        // The result names its folder, for whoever reads it from elsewhere.
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        let mut exported = Exported {
            run: name.to_string_lossy().into_owned(),
            run_dir: folder.clone(),
            owed: Vec::new(),
            exports: Vec::new(),
            problem: None,
            skipped: None,
        };
        exported.problem = self.deliver(&folder, &mut exported).err();
        exported
    }

    fn deliver(&mut self, folder: &Path, exported: &mut Exported) -> Result<(), Failure> {
        let log = Log::read(folder).map_err(|error| unreadable(folder, &error))?;
        exported.run.clone_from(&log.run);
        if let Standing::Running { pid } = log.standing {
            let pid = pid.map(|pid| format!(" by process {pid}"));
            let told = format!(
                "the run in {} is still being measured{}. Wait for its end, then export it",
                folder.display(),
                pid.unwrap_or_default()
            );
            if !self.pending {
                return Err(Failure::failed(told));
            }
            exported.skipped = Some(told);
            return Ok(());
        }
        let named = |owed: &Owed| self.to.is_empty() || self.to.contains(&owed.sink);
        exported.owed = pending::owed(&log).into_iter().filter(named).collect();
        let exporters = self.exporters(&log, exported)?;
        if exporters.is_empty() {
            return Ok(());
        }
        if log.standing == Standing::Killed {
            close::close_killed(folder)?;
        }
        for owed in exported.owed.iter().filter(|_| self.pending) {
            if exporters.iter().any(|(sink, _)| sink.name() == owed.sink) {
                say(&format!("{}: {}", log.run, owing(owed)));
            }
        }
        let (exporters, notes): (Vec<_>, Vec<_>) = exporters.into_iter().unzip();
        let mut outcomes = deliver_once(folder, exporters, &Policy::default(), self.deadline)
            .map_err(|error| Failure::failed(error.to_string()))?;
        for (outcome, note) in outcomes.iter_mut().zip(notes) {
            outcome.notes.extend(note);
            self.mind_silence(outcome, &exported.owed);
        }
        exported.exports.extend(outcomes.iter().cloned());
        remember(folder, &outcomes)
    }

    /// The sinks to deliver this run to, each with what to say of it. Those that cannot
    /// be tried are told among the exports.
    #[allow(clippy::type_complexity)]
    fn exporters(
        &self,
        log: &Log,
        exported: &mut Exported,
    ) -> Result<Vec<(Box<dyn Exporter>, Option<String>)>, Failure> {
        let names: Vec<String> = match self.pending {
            true => exported.owed.iter().map(|owed| owed.sink.clone()).collect(),
            false => self.to.to_vec(),
        };
        let (config, ecosystem) = (&self.resolved.config, &self.resolved.ecosystem);
        let mut exporters = Vec::new();
        let mut wrong = Vec::new();
        for name in names {
            let owed = exported.owed.iter().find(|owed| owed.sink == name);
            let (recorded, note) = recorded::usable(&log.started, &name);
            match sinks::make(&name, config, ecosystem, recorded.as_ref()) {
                Ok(sink) => match self.why_not(sink.as_ref(), owed, note.as_deref()) {
                    None => exporters.push((sink, note)),
                    Some((why, remedy)) => {
                        let untried = untried(&name, Some(sink.destination()), owed, why, remedy);
                        exported.exports.push(untried);
                    }
                },
                Err(errors) if self.pending => {
                    let remedy = "Put that right, then run lem export --pending again";
                    let untried = untried(&name, None, owed, errors.to_string(), remedy.to_owned());
                    exported.exports.push(untried);
                }
                Err(errors) => {
                    wrong.extend(errors.0);
                    wrong.extend(note);
                }
            }
        }
        if wrong.is_empty() {
            Ok(exporters)
        } else {
            Err(Failure::usage(wrong.join("\n")))
        }
    }

    /// Why this sink is not to be tried with this run, and the remedy.
    fn why_not(
        &self,
        sink: &dyn Exporter,
        owed: Option<&Owed>,
        note: Option<&str>,
    ) -> Option<(String, String)> {
        let (name, now) = (sink.name(), sink.destination());
        // What is owed to one place is not paid at another that nobody named.
        if self.pending && self.to.is_empty() {
            let before = owed.and_then(|owed| owed.destination.as_deref());
            let elsewhere = before
                .filter(|before| *before != now)
                .map(|before| format!("it is owed to {before}"))
                .or_else(|| note.map(str::to_owned));
            if let Some(elsewhere) = elsewhere {
                return Some((
                    format!("{elsewhere}; the settings of today lead to {now}"),
                    format!(
                        "Set what leads there, or deliver to today's with lem export --pending --to {name}"
                    ),
                ));
            }
        }
        let silent = self.silent.contains(&(name.to_owned(), now.clone()));
        silent.then(|| {
            (
                "not tried: it took nothing of the run before".to_owned(),
                "When it is there again: lem export --pending".to_owned(),
            )
        })
    }

    fn mind_silence(&mut self, outcome: &Delivered, owed: &[Owed]) {
        let before = owed.iter().find(|owed| owed.sink == outcome.sink);
        let before = before.map_or(0, |owed| owed.next);
        let now = outcome.delivered_through.map_or(0, |through| through + 1);
        if outcome.state == DeliveryState::Owing && now <= before {
            let place = (outcome.sink.clone(), outcome.destination.clone());
            self.silent.insert(place);
        }
    }
}

/// Hints at what was meant, where the folder is the parent of runs.
fn unreadable(folder: &Path, error: &LogError) -> Failure {
    let parent = matches!(error, LogError::NoLog { .. })
        && std::fs::read_dir(folder).is_ok_and(|mut entries| {
            entries.any(|entry| entry.is_ok_and(|e| e.path().join(RECORDS_FILE).exists()))
        });
    let hint = if parent {
        format!(
            ". It is the parent of some: {0}/* names them all, and lem export --pending {0} delivers what they owe",
            folder.display()
        )
    } else {
        String::new()
    };
    Failure::usage(format!("{error}{hint}"))
}

/// A delivery that was not begun.
fn untried(
    sink: &str,
    destination: Option<String>,
    owed: Option<&Owed>,
    reason: String,
    remedy: String,
) -> Delivered {
    let before = owed.and_then(|owed| owed.destination.clone());
    Delivered {
        sink: sink.to_owned(),
        destination: before.or(destination).unwrap_or_default(),
        state: DeliveryState::Owing,
        delivered_through: owed.and_then(|owed| owed.next.checked_sub(1)),
        owed: owed.map_or(0, |owed| owed.records),
        accepted: 0,
        rejected: 0,
        rejections: Vec::new(),
        resends: 0,
        failures: 0,
        cancelled: 0,
        receipt: None,
        reason: Some(reason),
        remedy: Some(remedy),
        notes: Vec::new(),
    }
}

fn owing(owed: &Owed) -> String {
    let what = match owed.records {
        0 => "the run's end is".to_owned(),
        1 => "1 record is".to_owned(),
        n => format!("{n} records are"),
    };
    let place = owed.destination.as_ref();
    let place = place.map(|place| format!(" ({place})")).unwrap_or_default();
    format!("{what} owed to {}{place}", owed.sink)
}

/// The result tells of the newest delivery to each sink.
fn remember(run: &Path, outcomes: &[Delivered]) -> Result<(), Failure> {
    let mut exports = results::exports_of(run);
    exports.retain(|old| !outcomes.iter().any(|new| new.sink == old.sink));
    exports.extend(outcomes.iter().cloned());
    close::write_result(run, &exports).map(|_| ())
}
