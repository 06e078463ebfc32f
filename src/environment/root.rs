use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A file of `/proc` or `/sys` that is longer than this is not what we take it for.
const MAX_BYTES: u64 = 4 << 20;

/// The file system as seen from `/`; a folder with a copy of what matters in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    pub fn system() -> Self {
        Self(PathBuf::from("/"))
    }

    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// `sys/class/hwmon` to its path under this root.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.0.join(relative)
    }

    /// The path as the machine itself names it: for people.
    pub fn shown(&self, relative: impl AsRef<Path>) -> String {
        Path::new("/").join(relative).display().to_string()
    }

    /// A small text file, trimmed; else why not, in words that name the path.
    pub fn read(&self, relative: impl AsRef<Path>) -> Result<String, String> {
        let bytes = self.read_bytes(relative)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    pub fn read_bytes(&self, relative: impl AsRef<Path>) -> Result<Vec<u8>, String> {
        let relative = relative.as_ref();
        let mut bytes = Vec::new();
        File::open(self.path(relative))
            .and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes))
            .map_err(|error| why(&self.shown(relative), &error))?;
        Ok(bytes)
    }

    /// A file with one whole number.
    pub fn read_u64(&self, relative: impl AsRef<Path>) -> Result<u64, String> {
        let text = self.read(&relative)?;
        text.parse().map_err(|_| {
            format!(
                "{} holds {text:?}, not a whole number",
                self.shown(relative)
            )
        })
    }

    pub fn exists(&self, relative: impl AsRef<Path>) -> bool {
        self.path(relative).exists()
    }

    /// Names in a folder, `cpu2` before `cpu10`; empty where there is no such folder.
    pub fn names(&self, relative: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(relative)) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort_by_cached_key(|name| natural(name));
        names
    }
}

/// Why a path could not be read, for people.
pub fn why(path: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no {path}"),
        io::ErrorKind::PermissionDenied => format!("permission to read {path} is denied"),
        _ => format!("{path} could not be read: {error}"),
    }
}

/// Numbers in a name compare as numbers.
fn natural(name: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (word, tail) = rest.split_at(digits);
        let end = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (number, tail) = tail.split_at(end);
        parts.push((word.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used)]

    use super::Root;

    #[test]
    fn names_are_in_the_order_people_count() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["cpu10", "cpu2", "cpu0", "cpufreq"] {
            std::fs::write(folder.path().join(name), "").expect("writes");
        }
        let names = Root::at(folder.path()).names("");
        assert_eq!(names, ["cpu0", "cpu2", "cpu10", "cpufreq"]);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::at(folder.path());
        std::fs::write(folder.path().join("word"), "many\n").expect("writes");
        assert!(
            root.read("none")
                .is_err_and(|why| why.contains("there is no "))
        );
        assert!(
            root.read_u64("word")
                .is_err_and(|why| why.contains("\"many\""))
        );
    }
}
