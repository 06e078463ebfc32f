//! What was run, as it may be shown: arguments can hold secrets.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use crate::config::redact;

const SHOWN: &str = "***";
/// Longer command lines are cut: a record is no place for a script.
const MAX_ARGUMENTS: usize = 256;
const MAX_CHARS: usize = 1024;

/// Beginnings of tokens that services give out.
const TOKENS: &[&str] = &[
    "hf_",
    "sk-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "ASIA",
    "dapi",
    "ya29.",
    "eyJ",
    "pypi-",
    "nvapi-",
];

/// The command, for the record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    pub program: String,
    /// What looks like a secret is `***`.
    pub arguments: Vec<String>,
}

impl Described {
    /// The program's own name, without its folder.
    pub fn name(&self) -> &str {
        let name = self.program.rsplit('/').next();
        name.filter(|name| !name.is_empty()).unwrap_or("command")
    }
}

pub fn described(program: &OsString, arguments: &[OsString]) -> Described {
    let mut shown = Vec::new();
    let mut secret_next = false;
    for argument in arguments.iter().take(MAX_ARGUMENTS) {
        let text = argument.to_string_lossy();
        let flag = text.strip_prefix('-').map(|f| f.trim_start_matches('-'));
        shown.push(if secret_next && flag.is_none() {
            SHOWN.to_owned()
        } else {
            cut(&argument_shown(&text))
        });
        secret_next = flag.is_some_and(|f| !f.contains('=') && redact::is_secret_name(f));
    }
    if arguments.len() > MAX_ARGUMENTS {
        shown.push(format!("… and {} more", arguments.len() - MAX_ARGUMENTS));
    }
    Described {
        program: cut(&redact::text(&program.to_string_lossy())),
        arguments: shown,
    }
}

fn argument_shown(text: &str) -> String {
    let token = |word: &str| {
        let word = word.trim_matches(['"', '\'']);
        word.len() >= 16 && TOKENS.iter().any(|start| word.starts_with(start))
    };
    let value = text.rsplit('=').next().unwrap_or(text);
    if text.split_whitespace().chain([value]).any(token) {
        return SHOWN.to_owned();
    }
    let lines: Vec<String> = text.lines().map(redact::line).collect();
    lines.join("\n")
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        described(&"/usr/bin/python3".into(), &arguments).arguments
    }

    #[test]
    fn secrets_are_not_shown_and_the_rest_is() {
        let told = shown(&[
            "bench.py",
            "--steps",
            "64",
            "--api-key",
            "hunter2",
            "--password=hunter2",
            "HF_TOKEN=hunter2",
            "http://ann:hunter2@host/x",
            "hf_hunter2hunter2hunter2",
            "--key=sk-hunter2hunter2hunter2",
            "export X_SECRET=hunter2\nrun",
            "--max-tokens",
            "128",
        ]);
        let all = told.join(" ");
        assert!(!all.contains("hunter2"), "{all}");
        assert!(all.starts_with("bench.py --steps 64"), "{all}");
        assert!(all.ends_with("--max-tokens 128"), "{all}");
    }

    #[test]
    fn a_program_has_a_name_and_a_long_line_an_end() {
        let described = described(&"/usr/bin/python3".into(), &vec!["x".into(); 300]);
        assert_eq!(described.name(), "python3");
        assert_eq!(described.arguments.len(), MAX_ARGUMENTS + 1);
        assert!(cut(&"y".repeat(5000)).len() < 1100);
    }
}
