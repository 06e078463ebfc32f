//! Files of the run's folder. A path from a log is not to be trusted: it, and what it
//! links to, must lie within the folder.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use lem_record::Artifact;
use md5::{Digest as _, Md5};
use sha2::Sha256;

#[derive(Debug)]
pub(crate) struct Local {
    pub path: PathBuf,
    pub bytes: u64,
    pub md5: [u8; 16],
}

/// The file of an artifact, if it is still the one that was recorded; else why not.
/// Waits for the disk.
pub(crate) fn read(folder: &Path, artifact: &Artifact) -> Result<Local, String> {
    let shown: String = artifact.path.chars().take(200).collect();
    let outside = || format!("{shown:?} is not a path within the run's folder");
    let parts = |path: &str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let plain = !artifact.path.contains(['\0', '\\'])
        && parts(&artifact.path)
        && Path::new(&artifact.path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        return Err(outside());
    }
    let missing = |error: std::io::Error| format!("{shown} is not there: {error}");
    let root = folder.canonicalize().map_err(missing)?;
    let path = root.join(&artifact.path).canonicalize().map_err(missing)?;
    if !path.starts_with(&root) {
        return Err(outside());
    }
    if !path.is_file() {
        return Err(format!("{shown} is no file"));
    }
    let mut file = File::open(&path).map_err(missing)?;
    let (mut sha256, mut md5, mut bytes) = (Sha256::new(), Md5::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer).map_err(missing)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            break;
        };
        sha256.update(piece);
        md5.update(piece);
        bytes += read as u64;
    }
    if hex::encode(sha256.finalize()) != artifact.sha256 {
        return Err(format!("{shown} changed after it was recorded"));
    }
    let md5 = md5.finalize().into();
    Ok(Local { path, bytes, md5 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use lem_record::{Artifact, ArtifactKind};
    use sha2::{Digest as _, Sha256};

    #[test]
    fn only_unchanged_files_within_the_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        std::fs::create_dir_all(run.join("artifacts")).unwrap();
        std::fs::write(run.join("artifacts/a"), "hello").unwrap();
        std::fs::write(folder.path().join("secret"), "hello").unwrap();
        std::os::unix::fs::symlink("../../secret", run.join("artifacts/link")).unwrap();
        let read = |path: &str, content: &str| {
            super::read(
                &run,
                &Artifact {
                    path: path.into(),
                    artifact: ArtifactKind::Log,
                    sha256: hex::encode(Sha256::digest(content)),
                    bytes: 5,
                },
            )
        };
        assert_eq!(
            hex::encode(read("artifacts/a", "hello").unwrap().md5),
            "5d41402abc4b2a76b9719d911017c592"
        );
        for path in [
            "/etc/passwd",
            "../secret",
            "artifacts/link",
            "",
            "a//b",
            "a\0b",
        ] {
            let why = read(path, "hello").unwrap_err();
            assert!(why.contains("within the run's folder"), "{path:?}: {why}");
        }
        for (path, content) in [("artifacts/a", "other"), ("artifacts", ""), ("none", "")] {
            assert!(read(path, content).is_err(), "{path}");
        }
    }
}
