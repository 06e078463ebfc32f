use std::fs;
use std::path::PathBuf;

use lem::config::{ConfigErrors, Environment, Finding, FlagValue, Resolved, Sources, load};
use tempfile::TempDir;

/// A folder of configuration files, and what stands around them.
pub struct Case {
    pub folder: TempDir,
    pub sources: Sources,
}

/// A case whose main file has this text.
pub fn case(text: &str) -> Case {
    let case = Case {
        folder: tempfile::tempdir().unwrap(),
        sources: Sources::default(),
    };
    case.file("a.yaml", text)
}

impl Case {
    /// Adds a file; the last one added is the one that is loaded.
    pub fn file(mut self, name: &str, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), text).unwrap();
        self.sources.file = Some(self.path(name));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn variables(mut self, pairs: &[(&str, &str)]) -> Self {
        self.sources.environment = Environment::from_iter(pairs.iter().copied());
        self
    }

    pub fn set(mut self, setting: &str) -> Self {
        self.sources.sets.push(setting.into());
        self
    }

    pub fn flag(mut self, flag: FlagValue) -> Self {
        self.sources.flags.push(flag);
        self
    }

    pub fn load(&self) -> Result<Resolved, ConfigErrors> {
        load(&self.sources)
    }

    pub fn good(&self) -> Resolved {
        self.load().unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The errors as they are printed, with the folder's name taken out.
    pub fn errors(&self) -> String {
        let errors = self.load().expect_err("must be refused");
        self.plain(&errors.to_string())
    }

    /// What was noted, as it is printed.
    pub fn notes(&self) -> String {
        let notes: Vec<String> = self.good().notes.iter().map(Finding::to_string).collect();
        self.plain(&notes.join("\n"))
    }

    pub fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
            .replace(&self.folder.path().display().to_string(), "FOLDER")
    }
}
