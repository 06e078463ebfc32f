//! Files, and the files that they extend.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::finding::{Finding, Findings};
use super::place::{FilePlace, Place, SourceFile};
use super::suggest;
use super::tree::Node;
use super::yaml;

/// A configuration of this size is none.
pub(crate) const MAX_BYTES: u64 = 4 << 20;
const MAX_ANCESTORS: usize = 16;
pub(crate) const EXTENDS: &str = "_extends";

/// Reads a file and what it extends, oldest ancestor first; `None` where one of them
/// cannot be read.
pub(crate) fn chain(path: &Path, findings: &mut Findings) -> Option<Vec<(PathBuf, Node)>> {
    let mut layers = Vec::new();
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut next = Some((path.to_path_buf(), Place::Default));
    while let Some((path, wanted_by)) = next.take() {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if seen.contains(&real) || seen.len() >= MAX_ANCESTORS {
            let names: Vec<String> = layers
                .iter()
                .map(|(path, _): &(PathBuf, Node)| path.display().to_string())
                .collect();
            let what = if seen.contains(&real) {
                format!(
                    "`{EXTENDS}` goes in a circle: {} → {}",
                    names.join(" → "),
                    path.display()
                )
            } else {
                format!("`{EXTENDS}` goes over more than {MAX_ANCESTORS} files")
            };
            findings.push(
                Finding::error(
                    "extends-cycle",
                    &wanted_by,
                    what,
                    "Let one of the files stand alone, without the key.",
                )
                .at(EXTENDS),
            );
            return None;
        }
        seen.push(real);
        let text = match read(&path, &wanted_by) {
            Ok(text) => text,
            Err(finding) => {
                findings.push(*finding);
                return None;
            }
        };
        let mut node = parse(&path, text, findings)?;
        next = parent(&mut node, &path, findings);
        layers.push((path, node));
    }
    layers.reverse();
    Some(layers)
}

/// Takes `_extends` out of a file's tree.
fn parent(node: &mut Node, path: &Path, findings: &mut Findings) -> Option<(PathBuf, Place)> {
    let entry = node.take(&[EXTENDS])?;
    let scalar = entry.node.as_scalar();
    match scalar.map(|scalar| &scalar.value) {
        Some(Value::Null) => None,
        Some(Value::String(name)) if !name.is_empty() => {
            let folder = path.parent().unwrap_or(Path::new(""));
            // Without its `./`.
            let path = folder.join(name).components().collect();
            Some((path, entry.node.place))
        }
        _ => {
            findings.push(
                Finding::error(
                    "type",
                    &entry.node.place,
                    format!("`{EXTENDS}` is {}", entry.node.kind()),
                    "Name one file, relative to this one: `_extends: base.yaml`.",
                )
                .at(EXTENDS)
                .expected("the path of one file"),
            );
            None
        }
    }
}

fn parse(path: &Path, text: String, findings: &mut Findings) -> Option<Node> {
    let source = Arc::new(SourceFile {
        name: path.display().to_string(),
        path: path.to_path_buf(),
        text,
    });
    let place = |span| {
        let (line, column, length) = yaml::position(span);
        Place::File(FilePlace {
            source: Arc::clone(&source),
            line,
            column,
            length,
        })
    };
    let document = Place::Document(source.name.as_str().into());
    let mut found = Vec::new();
    let node = yaml::parse(&source.text, &place, &mut found);
    let told = !found.is_empty();
    for finding in found {
        findings.push(finding);
    }
    match node {
        Some(node) if node.as_map().is_some() => Some(node),
        Some(node) if !node.is_null() => {
            findings.push(
                Finding::error(
                    "type",
                    &node.place,
                    format!("the file holds {}, not keys and values", node.kind()),
                    "Write `key: value` lines; `lem config new` prints a file to start from.",
                )
                .expected("keys and values"),
            );
            None
        }
        None if told => None,
        _ => {
            findings.push(Finding::error(
                "empty",
                &document,
                "the file is empty",
                "Give at least `model_name`; `lem config new` prints a file to start from.",
            ));
            None
        }
    }
}

fn read(path: &Path, wanted_by: &Place) -> Result<String, Box<Finding>> {
    let shown = path.display();
    let place = match wanted_by {
        Place::Default => Place::Document(shown.to_string().into()),
        place => place.clone(),
    };
    let error = |code, message: String, remedy: String| {
        Box::new(Finding::error(code, &place, message, remedy))
    };
    if path.is_dir() {
        let files = yaml_files(path);
        let remedy = if files.is_empty() {
            "Give the path of a YAML file.".to_owned()
        } else {
            format!("Give one of its files: {}.", suggest::any_of(&files))
        };
        return Err(error(
            "unreadable",
            format!("`{shown}` is a folder, not a file"),
            remedy,
        ));
    }
    let file = File::open(path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound => error(
            "no-file",
            format!("there is no file `{shown}`"),
            missing(path),
        ),
        ErrorKind::PermissionDenied => error(
            "unreadable",
            format!("`{shown}` may not be read: permission denied"),
            "Give yourself the right to read it, or run as its owner.".into(),
        ),
        _ => error(
            "unreadable",
            format!("`{shown}` cannot be opened: {cause}"),
            "Check the path.".into(),
        ),
    })?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|cause| {
            error(
                "unreadable",
                format!("`{shown}` cannot be read: {cause}"),
                "Check the disk, and that it is a plain file.".into(),
            )
        })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(error(
            "too-large",
            format!("`{shown}` is larger than {} MiB", MAX_BYTES >> 20),
            "Keep prompts in a file of their own and name it in `prompts.path`.".into(),
        ));
    }
    decode(bytes).map_err(|(at, what)| {
        let line = 1 + at.0;
        error(
            "not-text",
            format!(
                "`{shown}` is not UTF-8 text: {what} on line {line} (byte {})",
                at.1
            ),
            "Check that this is the file you meant; save it as UTF-8 if it is text.".into(),
        )
    })
}

/// Text, or the lines before and the byte of what is none.
fn decode(bytes: Vec<u8>) -> Result<String, ((usize, usize), &'static str)> {
    let lines = |bytes: &[u8], to: usize| {
        let before = bytes.get(..to).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count()
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        ((lines(error.as_bytes(), at), at), "an invalid byte")
    })?;
    // The parser takes NUL for the end: what follows would be ignored in silence.
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    if let Some(at) = text.find(control) {
        return Err(((lines(text.as_bytes(), at), at), "a control character"));
    }
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// What to do where there is no such file.
fn missing(path: &Path) -> String {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        return format!(
            "There is no folder `{}` either: check the path.",
            folder.display()
        );
    }
    let files = yaml_files(folder);
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    match suggest::nearest(&name, files.iter().map(String::as_str)) {
        Some(near) => format!("Did you mean `{}`?", folder.join(near).display()),
        None => "Check the path; `lem config new > config.yaml` makes a file to start from.".into(),
    }
}

/// Names of a folder's YAML files, sorted, a handful of them.
fn yaml_files(folder: &Path) -> Vec<String> {
    let Ok(entries) = folder.read_dir() else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .take(1_000)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .collect();
    names.sort();
    names.truncate(20);
    names
}
