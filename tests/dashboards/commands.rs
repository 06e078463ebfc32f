//! What documents and examples tell people to type, and to write, is what lem takes.

use std::process::Command;

use crate::read;

const PLACES: [&str; 6] = [
    "README.md",
    "docs/integrations.md",
    "dashboards/README.md",
    "dashboards/compose.yaml",
    "configs/ci/github-actions.yaml",
    "configs/ci/gitlab-ci.yaml",
];

/// Lines and back-quoted words that begin with `lem `.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ', '-', '$']);
        let line = line.strip_prefix("run: ").unwrap_or(line);
        let quoted = line.split('`').skip(1).step_by(2);
        found.extend(
            std::iter::once(line)
                .chain(quoted)
                .filter(|c| c.starts_with("lem ")),
        );
    }
    let words = |command: &str| {
        let command = command.split(" #").next().unwrap_or_default();
        let words = command.split_whitespace().skip(1);
        words
            .take_while(|word| !matches!(*word, "|" | ">" | "&&"))
            .map(|word| word.trim_matches('"').to_owned())
            .collect::<Vec<_>>()
    };
    found
        .into_iter()
        .map(words)
        // prose that begins with the name
        .filter(|words| {
            words
                .first()
                .is_some_and(|verb| VERBS.contains(&verb.as_str()))
        })
        .collect()
}

const VERBS: [&str; 10] = [
    "run",
    "export",
    "results",
    "config",
    "metrics",
    "env",
    "sinks",
    "completions",
    "man",
    "compare",
];

#[test]
fn every_command_that_is_shown_is_one_that_lem_takes() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for place in PLACES {
        let shown = commands(&read(place));
        assert!(!shown.is_empty(), "{place} shows no command");
        for words in shown {
            seen += 1;
            // Help is shown where everything before it is understood.
            let out = Command::new(env!("CARGO_BIN_EXE_lem"))
                .args(&words)
                .arg("--help")
                .output()
                .unwrap();
            if !out.status.success() {
                let said = String::from_utf8_lossy(&out.stderr);
                let said = said.lines().next().unwrap_or_default();
                wrong.push(format!("{place}: lem {}: {said}", words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 20, "{seen}");
}

#[test]
fn every_configuration_that_is_shown_loads() {
    let folder = tempfile::TempDir::new().unwrap();
    let quickstart = crate::root().join("configs/quickstart.yaml");
    let text = read("docs/integrations.md");
    let blocks: Vec<&str> = text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 5, "{}", blocks.len());
    for block in blocks {
        let file = folder.path().join("shown.yaml");
        std::fs::write(
            &file,
            format!("_extends: {}\n{block}", quickstart.display()),
        )
        .unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_lem"))
            .args(["config", "validate"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(out.status.success(), "{block}\n{said}");
        // cargo's own build variables are none of the configuration's
        let warned = said
            .lines()
            .any(|line| line.starts_with("warning") && !line.contains("LEM_BUILT_"));
        assert!(!warned, "{block}\n{said}");
    }
}
