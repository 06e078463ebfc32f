//! What the page of a CI job shows of a run: Markdown, appended to the file that the
//! service names. GitHub Actions names one, as do Gitea and Forgejo; GitLab has none
//! (the table is in the job's log), nor have Jenkins, Slurm and Kubernetes.
//!
//! A summary that cannot be written is told, and costs nothing else.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use lem_delivery::Outcome as Delivered;

use super::say;
use crate::config::Ecosystem;
use crate::results::{RunResult, markdown};

const VARIABLE: &str = "GITHUB_STEP_SUMMARY";

/// GitHub shows none of a step that is larger.
const MOST_BYTES: u64 = 1 << 20;

pub fn of_run(ecosystem: &Ecosystem, result: &RunResult) {
    append(ecosystem, || markdown::run(result));
}

/// Of `lem export`: each run's id, and what became of it in each sink.
pub fn of_exports(ecosystem: &Ecosystem, runs: &[(&str, &[Delivered])]) {
    append(ecosystem, || markdown::exports(runs));
}

fn append(ecosystem: &Ecosystem, text: impl FnOnce() -> String) {
    let Some(path) = ecosystem.get(VARIABLE) else {
        return;
    };
    if let Err(why) = append_to(Path::new(path), &text()) {
        say(&format!(
            "warning: the summary of this step cannot be written: {why}. The run is not affected; unset {VARIABLE} to do without"
        ));
    }
}

fn append_to(path: &Path, text: &str) -> io::Result<()> {
    let there = match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => {
            // A pipe would wait for a reader, perhaps for ever.
            let why = format!("{} is not a regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(meta) => meta.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    if there.saturating_add(text.len() as u64) > MOST_BYTES {
        let why = format!("{} would be larger than 1 MiB", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // Behind what an earlier command of the step left without an end.
    file.write_all(format!("\n{text}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::append_to;

    #[test]
    fn it_is_appended_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("summary.md");
        append_to(&path, "one").unwrap();
        append_to(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\none\n\ntwo\n");
        let large = "x".repeat(1 << 20);
        assert!(append_to(&path, &large).is_err());
        assert!(append_to(dir.path(), "x").is_err());
        assert!(append_to(&dir.path().join("no/such"), "x").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "\none\n\ntwo\n");
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(append_to(&path, "x").is_err());
    }
}
