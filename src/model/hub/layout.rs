//! Where things lie in the hub's cache.

use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::EngineError;
use crate::model::disk::{beside, cannot, make_parent, read_small, replace};

use super::Repo;

/// One repository's folder in the cache.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    cache: PathBuf,
    folder: String,
}

impl Layout {
    pub fn new(cache: &Path, repo: &Repo) -> Self {
        let name = repo.name.as_str().replace('/', "--");
        Self {
            cache: cache.to_owned(),
            folder: format!("{}--{name}", repo.kind.plural()),
        }
    }

    pub fn folder(&self) -> PathBuf {
        self.cache.join(&self.folder)
    }

    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    pub fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder()
            .join("blobs")
            .join(format!("{etag}.incomplete"))
    }

    pub fn lock(&self, etag: &str) -> PathBuf {
        self.cache
            .join(".locks")
            .join(&self.folder)
            .join(format!("{etag}.lock"))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    /// The commit that a revision was at when it was last asked for.
    pub fn commit_of(&self, revision: &str) -> Option<String> {
        let text = read_small(&self.folder().join("refs").join(revision), 256).ok()?;
        let commit = String::from_utf8(text).ok()?.trim().to_owned();
        is_commit(&commit).then_some(commit)
    }

    pub fn set_commit_of(&self, revision: &str, commit: &str) -> Result<(), EngineError> {
        if self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        replace(
            &self.folder().join("refs").join(revision),
            commit.as_bytes(),
        )
    }

    /// The files of a commit that are here, in order.
    pub fn files(&self, commit: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.snapshot(commit), "", 0, &mut found);
        found.sort_unstable();
        found
    }

    /// Makes a commit's file of a blob: a relative link, as the hub's tools do, or a
    /// copy where the file system has no links.
    pub fn link(&self, commit: &str, path: &str, etag: &str) -> Result<PathBuf, EngineError> {
        let pointer = self.snapshot(commit).join(path);
        make_parent(&pointer)?;
        let up = "../".repeat(path.matches('/').count() + 2);
        let target = format!("{up}blobs/{etag}");
        // renamed into place: at no moment is a link that another process relies on gone
        let beside = beside(&pointer);
        let made = std::os::unix::fs::symlink(target, &beside)
            .or_else(|_| fs::copy(self.blob(etag), &beside).map(drop))
            .and_then(|()| fs::rename(&beside, &pointer));
        made.map_err(|error| {
            let _ = fs::remove_file(&beside); // best effort: the error that matters is the first
            cannot("written", &pointer, &error)
        })?;
        Ok(pointer)
    }
}

fn walk(folder: &Path, prefix: &str, depth: usize, found: &mut Vec<String>) {
    const DEEPEST: usize = 8;
    const MOST: usize = 100_000;
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        match fs::metadata(entry.path()) {
            Ok(meta) if meta.is_file() && found.len() < MOST => found.push(name),
            Ok(meta) if meta.is_dir() && depth < DEEPEST => {
                walk(&entry.path(), &name, depth + 1, found);
            }
            _ => {} // a link to a blob that is gone, and what is neither
        }
    }
}

/// A full Git commit. Nothing else names a folder of snapshots.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// An etag that may name a file, without its quotes; `None` for anything strange.
pub(super) fn blob_name(etag: &str) -> Option<&str> {
    let etag = etag.trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    let fine = !etag.is_empty()
        && etag.len() <= 128
        && !etag.starts_with('.')
        && etag
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    fine.then_some(etag)
}

#[cfg(test)]
mod tests {
    use super::{blob_name, is_commit};

    #[test]
    fn only_what_is_safe_names_a_file() {
        assert_eq!(blob_name("W/\"abc-1\""), Some("abc-1"));
        assert_eq!(blob_name("\"abc\""), Some("abc"));
        for bad in [
            "",
            "\"\"",
            "../x",
            "a/b",
            "..",
            ".x",
            "a b",
            &"a".repeat(129),
        ] {
            assert_eq!(blob_name(bad), None, "{bad}");
        }
        assert!(is_commit(&"0a".repeat(20)));
        assert!(!is_commit("main") && !is_commit(&"0A".repeat(20)) && !is_commit(&"g".repeat(40)));
    }
}
