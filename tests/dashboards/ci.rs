//! The examples for CI, and the compose file, against the schemas of those who read them.

use std::process::Command;

use crate::{outside, read, succeeds};

#[test]
fn the_schemas_of_github_gitlab_and_compose_accept_them() {
    let Some(checker) = outside("LEM_TEST_CHECK_JSONSCHEMA", "check-jsonschema") else {
        return;
    };
    for (schema, file) in [
        ("vendor.github-workflows", "configs/ci/github-actions.yaml"),
        ("vendor.gitlab-ci", "configs/ci/gitlab-ci.yaml"),
        ("vendor.compose-spec", "dashboards/compose.yaml"),
    ] {
        let mut command = Command::new(&checker);
        command.args(["--builtin-schema", schema, file]);
        if schema == "vendor.gitlab-ci" {
            command.args(["--data-transform", "gitlab-ci"]);
        }
        succeeds(&mut command);
    }
}

#[test]
fn both_run_the_quickstart_and_fail_where_a_delivery_is_incomplete() {
    for file in ["github-actions", "gitlab-ci"] {
        let text = read(format!("configs/ci/{file}.yaml"));
        let run = "lem run configs/quickstart.yaml --mlflow --strict-export";
        assert!(text.contains(run), "{file}");
        assert!(text.contains("lem-runs/"), "{file} does not keep the runs");
    }
}
