//! A password, a token and a URL with both appear nowhere.

use std::path::Path;

use crate::support::Bench;

const PASSWORD: &str = "hunter2-password";
const TOKEN: &str = "hunter2-token";

fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found)
        } else {
            found.push(path)
        }
    }
}

#[test]
fn secrets_reach_no_output_and_no_file() {
    let bench = Bench::new();
    // A port where nobody listens: every message of failure is provoked too.
    let uri = format!("http://user:{PASSWORD}@127.0.0.1:9/");
    let out = bench
        .lem()
        .args([
            "run",
            "tiny.yaml",
            "--mlflow",
            "--set",
            "integrations.deadline_s=2",
        ])
        .env("MLFLOW_TRACKING_URI", &uri)
        .env("MLFLOW_TRACKING_TOKEN", TOKEN)
        .env("HF_TOKEN", TOKEN)
        .env("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        .output()
        .unwrap();
    assert_eq!(
        out.status.code(),
        Some(0),
        "{}",
        crate::support::stderr(&out)
    );
    let mut texts = vec![
        ("stdout".to_owned(), out.stdout),
        ("stderr".to_owned(), out.stderr),
    ];
    let show = bench
        .lem()
        .args(["config", "show", "tiny.yaml", "--origin"])
        .env("MLFLOW_TRACKING_URI", &uri)
        .output()
        .unwrap();
    texts.push(("config show".to_owned(), show.stdout));
    let mut found = Vec::new();
    files(&bench.path().join("lem-runs"), &mut found);
    assert!(found.len() >= 5, "{found:?}");
    texts.extend(
        found
            .into_iter()
            .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())),
    );
    for (name, bytes) in texts {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("hunter2"), "a secret stands in {name}");
    }
}
