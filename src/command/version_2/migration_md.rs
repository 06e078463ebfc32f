//! `docs/migration.md`: a text, and the tables of everything that moved.

use std::fmt::Write as _;

use super::{FLAGS, Fate, Now, VERBS};
use crate::config::generate::{VARIABLES_OF_VERSION_2, version_2_keys};
use crate::results::legacy_names::{self, FIELDS};
use crate::results::migrate::reasons;

const TEXT: &str = include_str!("migration.md");
const GENERATED: &str = "<!-- Generated from src/command/version_2/migration.md and the tables of version 2's names; do not edit. -->\n";

pub fn migration_md() -> String {
    let parts = [
        ("{reasons}", reasons_table()),
        ("{fields}", fields()),
        ("{keys}", keys()),
        ("{verbs}", verbs()),
        ("{flags}", flags()),
        ("{variables}", variables()),
    ];
    let mut out = format!("{GENERATED}{TEXT}");
    for (name, part) in parts {
        out = out.replace(name, part.trim_end());
    }
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn reasons_table() -> String {
    let mut out = String::from("| Code | | Why | To do |\n|---|---|---|---|\n");
    for (code, kind, why, remedy) in reasons() {
        let _ = writeln!(
            out,
            "| `{code}` | {kind} | {} | {} |",
            cell(why),
            cell(remedy.unwrap_or(""))
        );
    }
    out
}

fn fields() -> String {
    let mut out = String::from("| Version 2 | Now | |\n|---|---|---|\n");
    for field in FIELDS {
        let (now, how) = match field.fate {
            legacy_names::Fate::Moved { to, .. } => (format!("`{to}`"), ""),
            legacy_names::Fate::Recomputed { to, .. } => (format!("`{to}`"), "computed anew"),
            legacy_names::Fate::Kept { .. } => ("`legacy` only".to_owned(), ""),
        };
        let notes: Vec<&str> = [how, field.note()]
            .into_iter()
            .filter(|note| !note.is_empty())
            .collect();
        let _ = writeln!(
            out,
            "| `{}` | {now} | {} |",
            field.old,
            cell(&notes.join(": "))
        );
    }
    out
}

fn keys() -> String {
    let mut out = String::new();
    version_2_keys(&mut out);
    out
}

fn verbs() -> String {
    let mut out = String::from("| Version 2 | Now |\n|---|---|\n");
    for verb in VERBS {
        let now = match verb.fate {
            Fate::Runs(now) => format!("`lem {now}`; the old name runs"),
            Fate::Answers(_, what) => format!("{what}; the old name answers"),
            Fate::Became(what) => what.to_owned(),
            Fate::Same => "the same; old flags are taken for the new ones".to_owned(),
        };
        let _ = writeln!(out, "| `lem {}` | {} |", verb.old, cell(&now));
    }
    out.push_str("| `lem config validate`, `lem config show` | the same |\n");
    out
}

fn flags() -> String {
    let mut out = String::from("| Verb | Flag of version 2 | Now |\n|---|---|---|\n");
    for flag in FLAGS {
        let short = flag
            .short
            .map(|letter| format!(", `-{letter}`"))
            .unwrap_or_default();
        let now = match flag.now {
            Now::Flag(now) => format!("`{now}`"),
            Now::Set(key) => format!("`--set {key}=…`"),
            Now::Fixed(setting) => format!("`--set {setting}`"),
            Now::Dataset => {
                "`--set prompts.dataset=…`, short names as `lem datasets` lists them".to_owned()
            }
            Now::Words(words) => format!("`{words}`"),
            Now::Argument => "an argument without a flag".to_owned(),
            Now::Gone(why) => format!("no effect: {why}"),
            Now::Refused(what) => format!("refused: {what}"),
        };
        let verbs: Vec<String> = flag.verbs.iter().map(|verb| format!("`{verb}`")).collect();
        let _ = writeln!(
            out,
            "| {} | `--{}`{short} | {} |",
            verbs.join(", "),
            flag.long,
            cell(&now)
        );
    }
    out
}

fn variables() -> String {
    let mut out = String::from("| Version 2 | Now |\n|---|---|\n");
    for (name, fate) in VARIABLES_OF_VERSION_2 {
        let now = match fate {
            Ok(key) => format!("`{key}`; it is taken as that, with a note"),
            Err(why) => format!("no effect: {why}"),
        };
        let _ = writeln!(out, "| `{name}` | {now} |");
    }
    out
}
