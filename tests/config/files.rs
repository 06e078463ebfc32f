//! Files that are not there, are none, or extend one another.

use std::fs;

use super::support::case;

#[test]
fn a_chain_is_merged_key_by_key_relative_to_each_file() {
    let case = case("");
    fs::create_dir_all(case.path("deep/er")).unwrap();
    let case = case
        .file(
            "deep/root.yaml",
            "model_name: root\nbatching: {batch_size: 2, strategy: sorted_static}\n",
        )
        .file(
            "deep/er/middle.yaml",
            "_extends: ../root.yaml\nbatching: {batch_size: 4}\nnum_cycles: 5\n",
        )
        .file(
            "a.yaml",
            "_extends: deep/er/middle.yaml\nmodel_name: leaf\n",
        );
    let resolved = case.good();
    assert_eq!(resolved.config.model_name.as_deref(), Some("leaf"));
    assert_eq!(resolved.config.batching.batch_size, 4);
    assert_eq!(resolved.config.num_cycles, 5);
    assert!(
        resolved.origins["batching.strategy"]
            .detail
            .as_ref()
            .unwrap()
            .ends_with("root.yaml:2:37")
    );
    assert_eq!(resolved.files.len(), 3);
}

#[test]
fn a_circle_is_told_where_it_closes() {
    let case = case("")
        .file("b.yaml", "_extends: ./a.yaml\n")
        .file("a.yaml", "model_name: m\n_extends: b.yaml\n");
    insta::assert_snapshot!(case.errors());
}

#[test]
fn a_parent_that_is_missing_is_told_where_it_is_named() {
    let case = case("")
        .file("base.yaml", "")
        .file("a.yaml", "_extends: bsae.yaml\n");
    insta::assert_snapshot!(case.errors());
}

#[test]
fn one_parent_only() {
    insta::assert_snapshot!(case("_extends: [b.yaml, c.yaml]\nmodel_name: m\n").errors());
}

#[test]
fn a_file_that_is_missing_is_looked_for_by_its_name() {
    let mut case = case("").file("quickstart.yaml", "");
    case.sources.file = Some(case.path("quikstart.yml"));
    insta::assert_snapshot!(case.errors());
    case.sources.file = Some(case.path("nowhere/x.yaml"));
    insta::assert_snapshot!(case.errors());
}

#[test]
fn a_folder_is_no_file() {
    let mut case = case("");
    case.sources.file = Some(case.folder.path().to_path_buf());
    insta::assert_snapshot!(case.errors());
}

#[test]
fn an_empty_file_says_what_to_write() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "~\n"] {
        let errors = case(text).errors();
        assert!(errors.contains("the file is empty"), "{text:?}: {errors}");
        assert!(errors.contains("lem config new"), "{errors}");
    }
}
