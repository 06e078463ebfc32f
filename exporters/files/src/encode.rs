//! What of a run is copied, and under which name: pure functions.

use std::path::{Component, Path, PathBuf};

use lem_record::{Artifact, Envelope, Record, Rejected};

/// A file of the run that a record speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Of the record.
    pub n: u64,
    /// Within the run's folder, and within its copy.
    pub path: PathBuf,
    pub sha256: String,
}

/// The files that these records announce, and those that may not be copied.
pub(crate) fn wanted<'a>(
    records: impl Iterator<Item = &'a Envelope>,
) -> (Vec<Wanted>, Vec<Rejected>) {
    let (mut wanted, mut rejected) = (Vec::new(), Vec::new());
    for envelope in records {
        let Record::Artifact(Artifact { path, sha256, .. }) = &envelope.record else {
            continue;
        };
        let n = envelope.n;
        match inside(path) {
            Ok(path) => wanted.push(Wanted {
                n,
                path,
                sha256: sha256.to_ascii_lowercase(),
            }),
            Err(why) => rejected.push(Rejected {
                n,
                reason: format!("artifact {path:?}: {why}"),
            }),
        }
    }
    (wanted, rejected)
}

/// A path that stays within a folder, whatever folder it is put behind.
fn inside(path: &str) -> Result<PathBuf, &'static str> {
    if path.contains('\0') {
        return Err("a path cannot hold a NUL");
    }
    let mut inside = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(part) => inside.push(part),
            Component::CurDir => {}
            _ => return Err("it leads out of the run's folder"),
        }
    }
    match inside.file_name() {
        None => Err("it names no file"),
        Some(_) if is_private(&inside) => Err("it is a file of the run's own bookkeeping"),
        Some(_) => Ok(inside),
    }
}

/// Files of a run's folder that mean something only there: the lock, the cursors
/// (they belong to the original), half-written files.
pub(crate) fn is_private(path: &Path) -> bool {
    let Some(Component::Normal(first)) = path.components().next() else {
        return true;
    };
    let hidden = path
        .components()
        .any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."));
    hidden || first == "lock" || first == "delivery"
}

/// The name of a run's folder under the sink's path. A run id is a plain name; one
/// that is not must not lead elsewhere.
pub(crate) fn folder_name(run_id: &str) -> Option<&Path> {
    let path = Path::new(run_id);
    let mut components = path.components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == path.as_os_str() => {
            (!run_id.starts_with('.') && !run_id.contains('\0')).then_some(path)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_never_leads_out_of_the_copy() {
        for path in [
            "",
            ".",
            "..",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "a\0b",
            "lock",
            "delivery/x.json",
            ".records.jsonl.new",
        ] {
            assert!(inside(path).is_err(), "{path:?}");
        }
        assert_eq!(
            inside("./artifacts//a b.txt").unwrap(),
            Path::new("artifacts/a b.txt")
        );
        assert_eq!(
            inside("artifacts/delivery/x").unwrap(),
            Path::new("artifacts/delivery/x")
        );
    }

    #[test]
    fn a_run_id_is_one_plain_name() {
        for id in ["", ".", "..", ".hidden", "a/b", "/a", "a/", "a\0"] {
            assert_eq!(folder_name(id), None, "{id:?}");
        }
        assert_eq!(folder_name("20250615-run"), Some(Path::new("20250615-run")));
    }
}
