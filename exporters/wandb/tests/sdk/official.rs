//! The official SDK, where `LEM_TEST_WANDB_PYTHON` names a python that has it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lem_testkit::wandb::FakeWandb;
use tempfile::TempDir;

pub const KEY: &str = "hunter2hunter2hunter2hunter2hunter2hunter2";

#[derive(Debug)]
pub struct Official {
    python: PathBuf,
    /// Where it puts all that it keeps: nothing of the user's is read or written.
    pub home: TempDir,
}

impl Official {
    pub fn find() -> Option<Self> {
        let python = std::env::var_os("LEM_TEST_WANDB_PYTHON").map(PathBuf::from);
        if python.is_none() {
            eprintln!("skipped: LEM_TEST_WANDB_PYTHON names no python that has wandb");
        }
        Some(Self {
            python: python?,
            home: tempfile::tempdir().unwrap(),
        })
    }

    fn run(&self, fake: &FakeWandb, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        let mut command = Command::new(&self.python);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("WANDB_") {
                command.env_remove(name);
            }
        }
        for folder in [
            "HOME",
            "WANDB_DIR",
            "WANDB_CACHE_DIR",
            "WANDB_CONFIG_DIR",
            "WANDB_DATA_DIR",
        ] {
            command.env(folder, self.home.path());
        }
        let output = command
            .args(arguments)
            .envs(more.iter().copied())
            .env("WANDB_BASE_URL", fake.server.url())
            .env("WANDB_API_KEY", KEY)
            .env("WANDB_ERROR_REPORTING", "false")
            .current_dir(self.home.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        output
    }

    /// Runs the script beside this file.
    pub fn script(&self, fake: &FakeWandb, id: &str, exit: &str) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/log_a_run.py");
        self.run(fake, &[script.to_str().unwrap(), id], &[("EXIT", exit)]);
    }

    /// `wandb sync FOLDER`; what it said.
    pub fn sync(&self, fake: &FakeWandb, folder: &Path) -> String {
        let folder = folder.to_str().unwrap();
        let output = self.run(fake, &["-m", "wandb", "sync", folder], &[]);
        let (out, error) = (output.stdout, output.stderr);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&error)
        );
        assert!(!said.contains("ERROR"), "{said}");
        said
    }
}
