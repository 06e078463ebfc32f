use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Why an artifact's path is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0:?} is not a path within the run's folder")]
    Outside(String),
    #[error("{0} is not there: {1}")]
    Missing(String, String),
    #[error("{0} is no file")]
    NoFile(String),
}

/// The file of an artifact with its length. A path from a log is not to be trusted:
/// it, and what it links to, must lie within the run's folder.
pub(crate) fn local(folder: &Path, path: &str) -> Result<(PathBuf, u64), Refused> {
    let outside = || Refused::Outside(path.chars().take(200).collect());
    let plain = !path.is_empty()
        && !path.contains(['\0', '\\'])
        && Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !plain {
        return Err(outside());
    }
    let missing = |error: std::io::Error| Refused::Missing(path.to_owned(), error.to_string());
    let root = folder.canonicalize().map_err(missing)?;
    let file = root.join(path).canonicalize().map_err(missing)?;
    if !file.starts_with(&root) {
        return Err(outside());
    }
    let meta = file.metadata().map_err(missing)?;
    match meta.is_file() {
        true => Ok((file, meta.len())),
        false => Err(Refused::NoFile(path.to_owned())),
    }
}

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.');

pub(super) fn encoded(path: &str) -> String {
    utf8_percent_encode(path, PLAIN).to_string()
}

/// By the name, as far as it matters to a browser that shows the file.
pub(super) fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, end)| end) {
        "json" => "application/json",
        "csv" => "text/csv",
        "html" => "text/html",
        "md" => "text/markdown",
        "txt" | "log" | "yaml" | "yml" => "text/plain",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Refused, encoded, local};

    #[test]
    fn only_files_within_the_folder_are_sent() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir_all(run.join("artifacts")).unwrap();
        std::fs::write(run.join("artifacts/config.yaml"), "a: 1").unwrap();
        std::fs::write(folder.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../../secret", run.join("artifacts/link")).unwrap();
        assert_eq!(local(&run, "artifacts/config.yaml").unwrap().1, 4);
        for path in [
            "/etc/passwd",
            "../secret",
            "artifacts/../../secret",
            "artifacts/link",
            "",
            "a//b",
            "./a",
            "a\0b",
        ] {
            assert!(
                matches!(local(&run, path), Err(Refused::Outside(_))),
                "{path:?}"
            );
        }
        assert!(matches!(local(&run, "none"), Err(Refused::Missing(..))));
        assert!(matches!(local(&run, "artifacts"), Err(Refused::NoFile(_))));
    }

    #[test]
    fn a_path_is_encoded_but_for_its_slashes() {
        assert_eq!(encoded("a b/ü%?.txt"), "a%20b/%C3%BC%25%3F.txt");
    }
}
