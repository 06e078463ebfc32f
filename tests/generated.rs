//! Files that are generated from code are what the code generates. `LEM_UPDATE=1` writes them.
#![allow(clippy::unwrap_used)]

use std::path::Path;

fn check(path: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = format!("{}\n", text.trim_end());
    if std::env::var_os("LEM_UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == text,
        "{path} is not current: run LEM_UPDATE=1 cargo test --test generated"
    );
}

#[test]
fn the_metrics() {
    check("docs/metrics.md", &lem::command::generated::metrics_md());
}

#[test]
fn the_command_line() {
    check("docs/cli.md", &lem::command::generated::cli_md());
}

#[test]
fn the_page_of_version_2() {
    check(
        "docs/migration.md",
        &lem::command::generated::migration_md(),
    );
}

#[test]
fn the_schema_of_results() {
    check("docs/result.schema.json", &lem::results::schema_json());
}

#[test]
fn the_reference_of_results() {
    check("docs/result.md", &lem::results::reference::markdown());
}
