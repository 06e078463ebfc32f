//! Help, completions and manual pages.

use crate::support::Bench;

fn out(args: &[&str]) -> String {
    let out = Bench::new().lem().args(args).output().unwrap();
    assert_eq!(out.status.code(), Some(0), "{args:?}");
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn every_verb_explains_itself_within_a_terminal() {
    let verbs: &[&[&str]] = &[
        &[],
        &["run"],
        &["sweep"],
        &["sweep", "plan"],
        &["sweep", "run"],
        &["exec"],
        &["monitor"],
        &["export"],
        &["sinks"],
        &["sinks", "list"],
        &["sinks", "check"],
        &["results"],
        &["results", "show"],
        &["results", "rebuild"],
        &["results", "plot"],
        &["results", "migrate"],
        &["engines"],
        &["worker", "check"],
        &["worker", "show"],
        &["verify"],
        &["config"],
        &["config", "validate"],
        &["config", "show"],
        &["config", "new"],
        &["metrics"],
        &["env"],
        &["completions"],
        &["man"],
    ];
    for verb in verbs {
        let help = out(&[verb, &["--help"][..]].concat());
        assert!(help.contains("Usage:"), "{help}");
        let long = help.lines().find(|line| line.chars().count() > 110);
        assert!(long.is_none(), "{verb:?}: {long:?}");
    }
}

#[test]
fn help_reads_as_before() {
    insta::assert_snapshot!("help", out(&["--help"]));
    insta::assert_snapshot!("help_run", out(&["run", "--help"]));
    insta::assert_snapshot!("help_sweep", out(&["sweep", "--help"]));
    insta::assert_snapshot!("help_exec", out(&["exec", "--help"]));
    insta::assert_snapshot!("help_monitor", out(&["monitor", "--help"]));
    insta::assert_snapshot!("help_export", out(&["export", "--help"]));
}

#[test]
fn completions_and_manual_pages_are_made() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(out(&["completions", shell]).contains("lem"), "{shell}");
    }
    assert!(out(&["man"]).starts_with(".ie"));
    let bench = Bench::new();
    let made = bench
        .lem()
        .args(["man", "--out", "pages"])
        .output()
        .unwrap();
    assert_eq!(made.status.code(), Some(0));
    assert!(bench.path().join("pages/lem-run.1").exists());
}
