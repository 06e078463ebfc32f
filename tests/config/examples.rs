//! Every file in configs/ loads as it stands.

use std::fs;

use lem::config::{Built, Severity, Sources, load, unbuilt};

#[test]
fn every_example_loads_and_runs_on_this_build() {
    let built = Built {
        backends: lem::engine::BUILT.to_vec(),
        sinks: vec!["files", "mlflow", "otlp"],
    };
    let mut seen = 0;
    for entry in fs::read_dir("configs").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        seen += 1;
        let resolved = load(&Sources {
            file: Some(path.clone()),
            ..Sources::default()
        })
        .unwrap_or_else(|errors| panic!("{errors}"));
        let old = path.ends_with("v2-style.yaml");
        assert_eq!(
            resolved.notes.is_empty(),
            !old,
            "{path:?}: {:?}",
            resolved.notes
        );
        let findings = unbuilt(&resolved, &built);
        let refused = findings
            .iter()
            .any(|finding| finding.severity == Severity::Error);
        assert!(!refused, "{path:?}: {findings:?}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            old || text.starts_with("# yaml-language-server: $schema=schema.json\n"),
            "{path:?}"
        );
    }
    assert!(seen >= 6);
}
