//! The dashboards, rules and examples: what they ask for exists, and what they show is there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod boards;
mod ci;
mod collector;
mod commands;
mod expressions;
mod golden;
mod grafana;
mod live;
mod names;
mod prometheus;
mod rules;
#[path = "../cli/support.rs"]
#[allow(dead_code)]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a variable that `./test` sets names; without it, the reason is printed.
fn outside(variable: &str, what: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        eprintln!("skipped: {variable} names no {what}; ./test sets it");
    }
    found
}

/// Runs a command in the repository; what it said is the message where it fails.
fn succeeds(command: &mut Command) -> String {
    let out = command.current_dir(root()).output().unwrap();
    let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    assert!(out.status.success(), "{command:?}: {said}");
    said
}
