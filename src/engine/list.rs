//! Every backend, and whether this build and this machine can run it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::BUILT;
use super::worker::python::{self, Found};
use crate::config::{Backend, Config};

/// Python starts in 20 ms, or in seconds from a cold network disk.
const PYTHON_ANSWERS: Duration = Duration::from_secs(5);

/// What an engine needs on the machine.
enum Needs {
    /// It is in the binary, or not.
    Build,
    /// Python with these distributions; useful beside them are those.
    Python(&'static [&'static str], &'static [&'static str]),
    /// One of these programs to launch, or a server elsewhere to attach to; how to get it.
    Program(&'static [&'static str], &'static str),
    /// A server to attach to.
    Server,
    /// `worker.command`.
    Command,
}

/// One line a backend.
const ENGINES: &[(Backend, Needs)] = &[
    (Backend::Candle, Needs::Build),
    (Backend::Torch, Needs::Build),
    (
        Backend::Transformers,
        Needs::Python(
            &["torch", "transformers"],
            &["accelerate", "gguf", "bitsandbytes"],
        ),
    ),
    (Backend::Vllm, Needs::Program(&["vllm"], "pip install vllm")),
    (
        Backend::TensorrtLlm,
        Needs::Program(&["trtllm-serve"], "pip install tensorrt_llm"),
    ),
    (
        Backend::Sglang,
        Needs::Program(&["sglang"], "pip install sglang"),
    ),
    (
        Backend::LlamaCpp,
        Needs::Program(&["llama-server"], "Install llama.cpp"),
    ),
    (
        Backend::Tgi,
        Needs::Program(&["text-generation-launcher"], "Run its container image"),
    ),
    (
        Backend::Ollama,
        Needs::Program(&["ollama"], "Install Ollama"),
    ),
    (Backend::Openai, Needs::Server),
    (Backend::Worker, Needs::Command),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Runs here.
    Ready,
    /// Runs against a server that is elsewhere; there is no program here to launch one.
    Attach,
    /// Needs to be told something.
    Configure,
    /// Something is missing on this machine.
    Missing,
    /// This build of lem has it not.
    NotBuilt,
    /// It was not looked for.
    Unknown,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Attach => "attach",
            Self::Configure => "configure",
            Self::Missing => "missing",
            Self::NotBuilt => "not in this build",
            Self::Unknown => "not looked for",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub backend: &'static str,
    pub state: State,
    pub built: bool,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What was looked for on this machine.
pub struct Machine {
    pub gpus: usize,
    folders: Vec<PathBuf>,
    /// `None`: it was not asked.
    python: Option<Result<Found, String>>,
}

impl Machine {
    pub fn look(path: Option<&str>, config: &Config, ask_python: bool) -> Self {
        Self {
            gpus: gpus(Path::new("/dev")),
            folders: std::env::split_paths(path.unwrap_or_default()).collect(),
            python: ask_python
                .then(|| python::probe(config.worker.python.as_deref(), PYTHON_ANSWERS)),
        }
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return is_program(Path::new(name)).then(|| PathBuf::from(name));
        }
        let mut there = self.folders.iter().map(|folder| folder.join(name));
        there.find(|file| is_program(file))
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// By their device files: without the driver's library, in a container too.
fn gpus(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    files
        .filter(|file| file.file_name().to_str().is_some_and(numbered))
        .count()
}

pub fn rows(machine: &Machine, config: &Config) -> Vec<Row> {
    ENGINES
        .iter()
        .map(|(backend, needs)| row(*backend, needs, machine, config))
        .collect()
}

fn row(backend: Backend, needs: &Needs, machine: &Machine, config: &Config) -> Row {
    let name = backend.as_str();
    let built = BUILT.contains(&name);
    let (state, detail, remedy) = if built {
        found(needs, machine, config)
    } else {
        let remedy = match needs {
            Needs::Build => format!("Build lem with it: cargo build --release --features {name}"),
            _ => "Take a newer version of lem".to_owned(),
        };
        (
            State::NotBuilt,
            "this build of lem does not have it".into(),
            Some(remedy),
        )
    };
    Row {
        backend: name,
        state,
        built,
        detail,
        remedy,
    }
}

fn found(needs: &Needs, machine: &Machine, config: &Config) -> (State, String, Option<String>) {
    match needs {
        Needs::Build => (State::Ready, "in this process".into(), None),
        Needs::Python(needed, useful) => python(machine.python.as_ref(), needed, useful),
        Needs::Program(names, remedy) => {
            match names.iter().find_map(|name| machine.program(name)) {
                Some(program) => (State::Ready, program.display().to_string(), None),
                None => (
                    State::Attach,
                    format!("{} is not on PATH", names.join(" or ")),
                    Some(format!("{remedy}, or set server.url to a server that runs")),
                ),
            }
        }
        Needs::Server => match &config.server.url {
            Some(url) => (State::Ready, format!("server.url is {url}"), None),
            None => (
                State::Attach,
                "any server that speaks the OpenAI API".into(),
                Some("Set server.url".into()),
            ),
        },
        Needs::Command => match config.worker.command.first() {
            None => (
                State::Configure,
                "any program that speaks the worker protocol".into(),
                Some("Set worker.command, and try it with lem worker check".into()),
            ),
            Some(program) => match machine.program(program) {
                Some(program) => (State::Ready, program.display().to_string(), None),
                None => (
                    State::Missing,
                    format!("{program} of worker.command is no program, here or on PATH"),
                    Some("Correct worker.command".into()),
                ),
            },
        },
    }
}

fn python(
    found: Option<&Result<Found, String>>,
    needed: &[&str],
    useful: &[&str],
) -> (State, String, Option<String>) {
    let found = match found {
        None => {
            return (
                State::Unknown,
                "Python was not asked".into(),
                Some("Leave --no-python out".into()),
            );
        }
        Some(Err(why)) => {
            let remedy = format!(
                "Set worker.python to a Python with {}",
                needed.join(" and ")
            );
            return (State::Missing, why.clone(), Some(remedy));
        }
        Some(Ok(found)) => found,
    };
    let version = |name: &&&str| {
        let version = found.packages.get(**name)?;
        Some(format!("{name} {version}"))
    };
    let missing: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|name| !found.packages.contains_key(*name))
        .collect();
    let here = format!("Python {} ({})", found.version, found.executable);
    if missing.is_empty() {
        let versions: Vec<String> = needed
            .iter()
            .chain(useful)
            .filter_map(|n| version(&n))
            .collect();
        return (
            State::Ready,
            format!("{here}: {}", versions.join(", ")),
            None,
        );
    }
    let remedy = format!(
        "{} -m pip install {}, or set worker.python to a Python that has them",
        found.executable,
        missing.join(" ")
    );
    (
        State::Missing,
        format!("{here} has no {}", missing.join(" and no ")),
        Some(remedy),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn machine(folder: &Path, python: Option<Result<Found, String>>) -> Machine {
        Machine {
            gpus: 0,
            folders: vec![folder.to_owned()],
            python,
        }
    }

    #[test]
    fn every_backend_has_one_row() {
        let folder = tempfile::tempdir().unwrap();
        let rows = rows(&machine(folder.path(), None), &Config::default());
        let names: Vec<&str> = rows.iter().map(|row| row.backend).collect();
        let schema = serde_json::to_string(&schemars::schema_for!(Backend)).unwrap();
        for name in &names {
            assert!(schema.contains(&format!("\"{name}\"")), "{name}");
        }
        assert_eq!(names.len(), schema.matches("\"const\":").count());
        assert!(
            rows.iter()
                .all(|row| row.built == BUILT.contains(&row.backend))
        );
        assert!(
            rows.iter()
                .filter(|row| row.state != State::Ready)
                .all(|row| row.remedy.is_some())
        );
    }

    #[test]
    fn programs_are_looked_for_on_the_path_and_must_be_executable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w");
        std::fs::write(&file, "").unwrap();
        let machine = machine(folder.path(), None);
        assert_eq!(machine.program("w"), None);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(machine.program("w"), Some(file.clone()));
        assert_eq!(machine.program(file.to_str().unwrap()), Some(file));
        assert_eq!(machine.program("."), None);
    }

    #[test]
    fn a_python_tells_what_it_lacks() {
        let found = Found {
            version: "3.12.1".into(),
            executable: "/venv/python".into(),
            packages: [("torch".to_owned(), "2.11.0".to_owned())].into(),
        };
        let needed = ["torch", "transformers"];
        let (state, detail, remedy) = python(Some(&Ok(found.clone())), &needed, &[]);
        assert_eq!(state, State::Missing);
        assert!(
            detail.contains("no transformers") && !detail.contains("no torch"),
            "{detail}"
        );
        assert!(
            remedy
                .unwrap()
                .starts_with("/venv/python -m pip install transformers")
        );
        let (state, detail, _) = python(Some(&Ok(found)), &["torch"], &["gguf"]);
        assert_eq!(state, State::Ready);
        assert_eq!(detail, "Python 3.12.1 (/venv/python): torch 2.11.0");
    }

    #[test]
    fn gpus_are_counted_by_their_device_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["nvidia0", "nvidia1", "nvidiactl", "nvidia", "nvidia-uvm"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(gpus(folder.path()), 2);
    }
}
