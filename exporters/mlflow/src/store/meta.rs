//! `meta.yaml` files, and files that appear whole.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};

/// A flat mapping, as all these files are, with at most one mapping in it (`tags`).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Meta {
    values: BTreeMap<String, Value>,
    /// Written where there are any.
    pub tags: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        value.map_or(Self::Null, Self::from)
    }
}

/// None of these files is near it.
const MOST: u64 = 1 << 20;

impl Meta {
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.values.insert(key.to_owned(), value.into());
    }

    /// Numbers too: MLflow has written ids both ways.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            Value::Null => None,
        }
    }

    pub fn read(path: &Path) -> io::Result<Self> {
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        if fs::metadata(path)?.len() > MOST {
            return Err(wrong("it is too large for a meta.yaml".to_owned()));
        }
        let text = fs::read_to_string(path)?;
        let documents = Yaml::load_from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let Some(Yaml::Mapping(pairs)) = documents.first() else {
            return Err(wrong("it is no mapping".to_owned()));
        };
        let mut meta = Self::default();
        for (key, value) in pairs {
            let Some(key) = key.as_str() else { continue };
            let value = match value {
                Yaml::Value(Scalar::Null) => Value::Null,
                Yaml::Value(Scalar::Integer(number)) => Value::Int(*number),
                Yaml::Value(Scalar::String(text)) => Value::Text(text.to_string()),
                // an id that looks like a float, or true for a name
                Yaml::Value(Scalar::Boolean(value)) => Value::Text(value.to_string()),
                Yaml::Value(Scalar::FloatingPoint(value)) => Value::Text(value.to_string()),
                _ => continue,
            };
            meta.values.insert(key.to_owned(), value);
        }
        Ok(meta)
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(folder)?;
        replace(folder, path, self.to_yaml().as_bytes())
    }

    fn to_yaml(&self) -> String {
        let mut text = String::new();
        for (key, value) in &self.values {
            let _ = match value {
                Value::Null => writeln!(text, "{key}: null"),
                Value::Int(number) => writeln!(text, "{key}: {number}"),
                Value::Text(value) => writeln!(text, "{key}: {}", quoted(value)),
            };
        }
        if !self.tags.is_empty() {
            text.push_str("tags:\n");
            for (key, value) in &self.tags {
                let _ = writeln!(text, "  {}: {}", quoted(key), quoted(value));
            }
        } else if self.values.contains_key("run_id") {
            text.push_str("tags: []\n");
        } else if self.values.contains_key("source_id") {
            text.push_str("tags: {}\n");
        }
        text
    }
}

/// A double-quoted scalar that any reader of YAML 1.1 or 1.2 takes.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            ' '..='~' => write!(out, "{c}"),
            c if u32::from(c) <= 0xffff => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out.push('"');
    out
}

/// Puts content under a name at once: a reader, or a crash, meets the old or the new.
/// The new is made in `scratch`, where what a crash leaves is taken for nothing: every
/// file below `params` is a param.
pub(super) fn replace(scratch: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    whole(scratch, path, |file| file.write_all(content))
}

pub(super) fn copy(scratch: &Path, from: &Path, to: &Path) -> io::Result<()> {
    whole(scratch, to, |file| {
        io::copy(&mut File::open(from)?, file).map(drop)
    })
}

fn whole(
    scratch: &Path,
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let mut partial = tempfile::Builder::new()
        .prefix(".lem-")
        .tempfile_in(scratch)?;
    fill(partial.as_file_mut())?;
    partial.as_file().sync_data()?;
    // a temporary file is for its owner only, which a store is not
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(partial.path(), mode)?;
    partial.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::Meta;

    proptest! {
        #[test]
        fn any_text_reads_back(text in any::<String>()) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("meta.yaml");
            let mut meta = Meta::default();
            meta.set("name", text.as_str());
            meta.set("time", 5);
            meta.set("none", None::<&str>);
            meta.write(&path).unwrap();
            prop_assert_eq!(Meta::read(&path).unwrap(), meta);
        }
    }

    #[test]
    fn a_strange_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meta.yaml");
        for text in ["", "- a", "a: [", "\0", "a: b: c"] {
            std::fs::write(&path, text).unwrap();
            assert!(Meta::read(&path).is_err(), "{text:?}");
        }
        std::fs::write(&path, vec![b' '; 2 << 20]).unwrap();
        assert!(Meta::read(&path).is_err());
    }
}
