//! A run in continuous integration: where it comes from, and the page of its step.

use serde_json::Value;

use crate::support::{Bench, of_kind, records, run_dir, stderr};

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

const GITHUB: &[(&str, &str)] = &[
    ("CI", "true"),
    ("GITHUB_ACTIONS", "true"),
    ("GITHUB_SHA", SHA),
    ("GITHUB_REF", "refs/heads/faster"),
    ("GITHUB_SERVER_URL", "https://github.com"),
    ("GITHUB_REPOSITORY", "ada/engine"),
    ("GITHUB_RUN_ID", "77"),
    ("GITHUB_JOB", "gpu"),
    ("GITHUB_TOKEN", "hunter2-token"),
];

fn run(bench: &Bench, more: &[&str], variables: &[(&str, &str)]) -> Value {
    let args = [
        &["run", "tiny.yaml", "--cycles", "1", "--format", "json"],
        more,
    ]
    .concat();
    let out = bench.verb(&args, variables);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn a_job_on_github_is_in_the_tags_of_every_sink_and_on_its_page() {
    let bench = Bench::new();
    let page = bench.path().join("summary.md");
    std::fs::write(&page, "An earlier command said this").unwrap();
    let variables = [GITHUB, &[("GITHUB_STEP_SUMMARY", page.to_str().unwrap())]].concat();
    let dead = [
        "--mlflow",
        "--name",
        "tiny|<b>`@all`",
        "--set",
        "integrations.files={enabled: true, path: copies}",
        "--set",
        "integrations.deadline_s=5",
        "--set",
        "tags={git.branch: mine}",
    ];
    let result = run(&bench, &dead, &variables);
    let started = of_kind(&records(&run_dir(&result)), "run_started")
        .next()
        .unwrap()
        .clone();
    let tags = &started["tags"];
    assert_eq!(tags["lem.ci.system"], "github-actions");
    assert_eq!(tags["git.commit"], SHA);
    assert_eq!(
        tags["git.branch"], "mine",
        "a tag of the configuration beats it"
    );
    assert_eq!(
        tags["ci.job_url"],
        "https://github.com/ada/engine/actions/runs/77"
    );
    let meta = walk(&bench.path().join("mlruns"), "mlflow.source.git.commit");
    assert_eq!(std::fs::read_to_string(meta).unwrap(), SHA);

    let told = std::fs::read_to_string(&page).unwrap();
    assert!(told.starts_with("An earlier command said this\n"), "{told}");
    assert!(
        told.contains("\n### tiny&#124;&#60;b&#62;&#96;&#64;all&#96;: finished\n"),
        "{told}"
    );
    for expected in [
        "| Energy of a cycle | ",
        "| mlflow | delivered |",
        "| files | delivered |",
        "Every delivery is complete.",
    ] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
    assert!(!told.contains("hunter2"));
    // A later export is told there too.
    let run_dir = run_dir(&result);
    let out = bench.verb(
        &["export", "--to", "mlflow", run_dir.to_str().unwrap()],
        &variables,
    );
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let more = std::fs::read_to_string(&page).unwrap();
    assert!(
        more.starts_with(&told) && more.contains("### Deliveries"),
        "{more}"
    );
}

/// The first file of this name below a folder.
fn walk(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() == name {
                return path;
            }
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    panic!("there is no {name}");
}

#[test]
fn a_page_that_cannot_be_written_costs_a_warning() {
    let bench = Bench::new();
    let folder = bench.path().display().to_string();
    let variables = [GITHUB, &[("GITHUB_STEP_SUMMARY", folder.as_str())]].concat();
    let args = ["run", "tiny.yaml", "--cycles", "1", "--format", "json"];
    let out = bench.verb(&args, &variables);
    assert_eq!(out.status.code(), Some(0));
    assert!(
        stderr(&out).contains("GITHUB_STEP_SUMMARY"),
        "{}",
        stderr(&out)
    );
    assert!(serde_json::from_slice::<Value>(&out.stdout).is_ok());
}

#[test]
fn elsewhere_commit_and_branch_are_those_of_git() {
    let bench = Bench::new();
    let git = |args: &[&str]| {
        let out = std::process::Command::new("git")
            .current_dir(bench.path())
            .args(["-c", "user.name=T", "-c", "user.email=t@example.org"])
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", stderr(&out));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q", "-b", "trunk"]);
    git(&["add", "tiny.yaml"]);
    git(&["commit", "-q", "-m", "first"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let tags = |variables: &[(&str, &str)]| {
        let result = run(&bench, &[], variables);
        of_kind(&records(&run_dir(&result)), "run_started")
            .next()
            .unwrap()["tags"]
            .clone()
    };
    let plain = tags(&[]);
    assert_eq!(
        (&plain["git.commit"], &plain["git.branch"]),
        (&commit.clone().into(), &"trunk".into())
    );
    assert!(plain.get("lem.ci.system").is_none());
    // Slurm knows no commit: git's stays.
    let slurm = tags(&[("SLURM_JOB_ID", "41"), ("SLURM_JOB_PARTITION", "h100")]);
    assert_eq!(
        (&slurm["lem.ci.system"], &slurm["ci.job_id"]),
        (&"slurm".into(), &"41".into())
    );
    assert_eq!(
        (&slurm["git.commit"], &slurm["slurm.partition"]),
        (&commit.into(), &"h100".into())
    );
}
