//! What is generated from the model is what is in the repository.
//! `LEM_UPDATE=1 cargo test --test config` writes it.

use std::fs;

use lem::config::{Config, Sources, generate, load};

use super::support::case;

fn keep(path: &str, now: &str) {
    if std::env::var_os("LEM_UPDATE").is_some() {
        fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, now).unwrap();
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == now,
        "{path} is not current: run `LEM_UPDATE=1 cargo test --test config`"
    );
}

#[test]
fn the_schema_is_current() {
    keep("configs/schema.json", &generate::schema_json());
}

#[test]
fn the_reference_of_keys_is_current() {
    keep("docs/config.md", &generate::config_md());
}

#[test]
fn the_reference_of_variables_is_current() {
    keep("docs/env.md", &generate::env_md());
}

#[test]
fn the_starter_runs_as_it_is_and_with_every_comment_taken_away() {
    let starter = generate::starter();
    let plain = case(&starter).good();
    assert!(plain.notes.is_empty(), "{:?}", plain.notes);

    let (head, rest) = starter.split_once("# ──").unwrap();
    let rest = rest.split_once('\n').unwrap().1;
    let all: String = rest
        .lines()
        .filter(|line| !line.starts_with("##"))
        .map(|line| format!("{}\n", line.strip_prefix("# ").unwrap_or(line)))
        .collect();
    let whole = case(&format!("{head}{all}"));
    let whole = whole.good();
    assert_eq!(
        whole.config, plain.config,
        "the defaults that it shows are the defaults"
    );
    assert!(
        whole.given("integrations.otlp.enabled"),
        "every key is there"
    );
}

#[test]
fn the_defaults_need_nothing_but_a_model() {
    let sources = Sources {
        sets: vec!["model_name=m".into()],
        ..Sources::default()
    };
    let resolved = load(&sources).unwrap();
    let expected = Config {
        model_name: Some("m".into()),
        ..Config::default()
    };
    assert_eq!(resolved.config, expected);
    assert!(resolved.notes.is_empty());
}
