//! Python for the workers that lem brings with it, and what it has installed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use serde::Deserialize;

use super::process::Launch;
use crate::engine::EngineError;

/// The workers that are part of lem, so that an installed binary works alone.
pub const TRANSFORMERS: &str = include_str!("../../../workers/transformers.py");

/// Where none is named.
const PYTHON: &str = "python3";

/// Distributions that decide whether a worker of ours can run.
const ASKED: &[&str] = &[
    "torch",
    "transformers",
    "accelerate",
    "gguf",
    "bitsandbytes",
    "vllm",
    "tensorrt_llm",
];

/// Python with the script in a file without a name: there is no copy that could be stale,
/// written by another, or left behind.
pub fn launch(python: Option<&str>, script: &str) -> Result<Launch, EngineError> {
    let file = script_file(script).map_err(|error| {
        EngineError::new(
            format!("The worker's script cannot be put into memory: {error}"),
            "Set worker.command to run workers/transformers.py of lem's repository",
        )
    })?;
    let program = python.unwrap_or(PYTHON).to_owned();
    Ok(Launch {
        arguments: vec![format!("/proc/self/fd/{}", file.as_raw_fd())],
        script: Some(file),
        remedy: if python.is_some() {
            "Correct worker.python: the path of a Python with torch and transformers"
        } else {
            "Install Python, or set worker.python to one with torch and transformers"
        }
        .into(),
        program,
    })
}

fn script_file(script: &str) -> std::io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("lem-worker", MemfdFlags::CLOEXEC)?);
    file.write_all(script.as_bytes())?;
    Ok(file.into())
}

/// What a Python has, without importing it: that would take seconds.
#[derive(Clone, Debug, Deserialize)]
pub struct Found {
    pub version: String,
    pub executable: String,
    pub packages: BTreeMap<String, String>,
}

/// Asks a Python for its packages; the error says why there is no answer.
pub fn probe(python: Option<&str>, within: Duration) -> Result<Found, String> {
    let program = python.unwrap_or(PYTHON);
    let names = serde_json::to_string(ASKED).unwrap_or_default();
    let script = format!(
        "import importlib.metadata as m, json, platform, sys\n\
         found = {{}}\n\
         for name in {names}:\n\
         \x20   try: found[name] = m.version(name)\n\
         \x20   except m.PackageNotFoundError: pass\n\
         print(json.dumps(dict(version=platform.python_version(), executable=sys.executable, packages=found)))"
    );
    let mut child = Command::new(program)
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let until = Instant::now() + within;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) => {
                // One that cannot be ended either is left to the system.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "{program} did not answer within {} s",
                    within.as_secs_f64()
                ));
            }
            Err(error) => return Err(format!("{program} cannot be waited for: {error}")),
        }
    };
    let mut text = String::new();
    if let Some(out) = child.stdout.take() {
        // A few hundred bytes, which a pipe holds: the child has ended.
        let _ = out.take(1 << 16).read_to_string(&mut text);
    }
    if !status.success() {
        return Err(format!("{program} ended with {status}"));
    }
    serde_json::from_str(text.trim())
        .map_err(|error| format!("{program} answered {text:?}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_python_that_is_not_there_or_says_nothing_is_told() {
        let error = probe(Some("/nonexistent/python"), Duration::from_secs(1)).unwrap_err();
        assert!(error.contains("cannot be started"), "{error}");
        let began = Instant::now();
        // Takes `-c` and a script, and sleeps for ever.
        let folder = tempfile::tempdir().unwrap();
        let slow = folder.path().join("slow");
        std::fs::write(&slow, "#!/bin/sh\nexec sleep 60\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&slow, mode).unwrap();
        let error = probe(slow.to_str(), Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("did not answer"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}
