//! The command line of version 2: its verbs and flags run as what they are now, or answer
//! with it. Two tables, read before the command line is parsed.

mod answers;
mod flags;
mod migration_md;

use std::ffi::OsString;
use std::process::ExitCode;

use super::{Exit, say};

use flags::{FLAGS, Now};
pub use migration_md::migration_md;

/// A verb of version 2.
pub(crate) struct Verb {
    /// As it was typed: `config generate-grid`.
    pub old: &'static str,
    pub fate: Fate,
}

#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// Runs as this verb, flags translated.
    Runs(&'static str),
    /// Answers here, and says where the answer is found now.
    Answers(fn() -> String, &'static str),
    /// Does something else now: what to type.
    Became(&'static str),
    /// The verb is the same; only its flags are translated.
    Same,
}

const fn verb(old: &'static str, fate: Fate) -> Verb {
    Verb { old, fate }
}

pub(crate) const VERBS: &[Verb] = &[
    verb("experiment", Fate::Runs("run")),
    verb("run", Fate::Same),
    verb(
        "aggregate",
        Fate::Became(
            "`lem results aggregate RUN_DIR…`, from the logs of runs. Results of version 2 are read by `lem results migrate`, which puts the processes of a file together",
        ),
    ),
    verb(
        "batch",
        Fate::Became(
            "`lem sweep A.yaml B.yaml … --order grouped`, one configuration after another; one run at a time, since runs side by side would be in each other's energy",
        ),
    ),
    verb(
        "campaign",
        Fate::Became("`lem sweep A.yaml B.yaml … --order interleaved` (or `shuffled`, `grouped`)"),
    ),
    verb(
        "schedule",
        Fate::Became(
            "`lem run CONFIG`, started by cron or a systemd timer: docs/migration.md has an example of each",
        ),
    ),
    verb(
        "config generate-grid",
        Fate::Became(
            "`lem sweep plan CONFIG --vary KEY=A,B,C … --out plan.json`, one file for all points; `lem sweep CONFIG --vary …` runs them at once",
        ),
    ),
    verb("config new", Fate::Same),
    verb("results list", Fate::Same),
    verb("results show", Fate::Same),
    verb(
        "gpus",
        Fate::Answers(
            answers::gpus,
            "`lem env` shows them, with the rest of the machine",
        ),
    ),
    verb(
        "datasets",
        Fate::Answers(
            answers::datasets,
            "`prompts.dataset` takes any dataset of the Hugging Face Hub by its name",
        ),
    ),
    verb(
        "presets",
        Fate::Answers(
            answers::presets,
            "presets are `decoder.preset` now; version 2's presets of whole experiments are gone: their values belong into the configuration",
        ),
    ),
];

/// The arguments as they are now; or how lem ends, having answered.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, ExitCode> {
    let given: Vec<OsString> = given.into_iter().collect();
    match translate(&given) {
        Translated::Arguments { arguments, notes } => {
            notes.iter().for_each(|note| say(&format!("note: {note}")));
            Ok(arguments)
        }
        Translated::Answer { text, note } => {
            super::show(&text);
            say(&format!("note: {note}"));
            Err(Exit::Done.into())
        }
        Translated::Became(message) => {
            say(&format!("error: {message}"));
            Err(Exit::Usage.into())
        }
    }
}

enum Translated {
    Arguments {
        arguments: Vec<OsString>,
        notes: Vec<String>,
    },
    Answer {
        text: String,
        note: String,
    },
    Became(String),
}

/// Pure, but for the answers.
fn translate(given: &[OsString]) -> Translated {
    let as_given = || Translated::Arguments {
        arguments: given.to_vec(),
        notes: Vec::new(),
    };
    // What stands before the verb: version 2's only flag there.
    let before = given
        .iter()
        .skip(1)
        .take_while(|word| *word == "--verbose")
        .count();
    let words: Vec<&str> = given
        .iter()
        .skip(1 + before)
        .map(|word| word.to_str().unwrap_or("\u{0}"))
        .collect();
    let of = |verb: &&Verb| {
        verb.old
            .split(' ')
            .eq(words.iter().copied().take(verb.old.split(' ').count()))
    };
    let Some(verb) = VERBS.iter().find(of) else {
        return as_given();
    };
    let length = verb.old.split(' ').count();
    let asks_help = words
        .iter()
        .take_while(|word| **word != "--")
        .any(|word| matches!(*word, "--help" | "-h"));
    let rest = given.get(1 + before + length..).unwrap_or_default();
    let mut notes = Vec::new();
    let now = match verb.fate {
        Fate::Became(what) => {
            return Translated::Became(format!("`lem {}` of version 2 is now {what}", verb.old));
        }
        Fate::Answers(answer, what) => {
            let note = format!("`lem {}` is of version 2: {what}", verb.old);
            return Translated::Answer {
                text: answer(),
                note,
            };
        }
        Fate::Runs(now) => {
            notes.push(format!(
                "`lem {}` of version 2 is now `lem {now}`, and was taken as that",
                verb.old
            ));
            now
        }
        Fate::Same => {
            // Only words of version 2 are ours to change.
            if before == 0 && !flags::any(verb.old, rest) {
                return as_given();
            }
            verb.old
        }
    };
    if before > 0 {
        notes.push(
            "`--verbose` of version 2 has no effect: lem has no levels of verbosity".to_owned(),
        );
    }
    let mut arguments: Vec<OsString> = given.first().cloned().into_iter().collect();
    arguments.extend(now.split(' ').map(OsString::from));
    if asks_help {
        arguments.extend(rest.iter().cloned());
        return Translated::Arguments { arguments, notes };
    }
    match flags::translate(verb.old, rest, &mut notes) {
        Ok(rest) => arguments.extend(rest),
        Err(message) => return Translated::Became(message),
    }
    Translated::Arguments { arguments, notes }
}

#[cfg(test)]
mod tests;
