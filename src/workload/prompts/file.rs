//! Prompts in a file here.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

use crate::engine::EngineError;
use crate::model::disk::cannot;

use super::choose::Chooser;
use super::column::Column;
use super::lines::Lines;
use super::{jsonl, parquet};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// One prompt a line.
    Text,
    /// An object a line, or a list of objects.
    Json,
    Parquet,
}

impl Format {
    /// By the name's end; a `.gz` after it changes nothing.
    pub fn of(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".gz").unwrap_or(name);
        match name.rsplit('.').next()? {
            "parquet" => Some(Self::Parquet),
            "jsonl" | "ndjson" | "json" => Some(Self::Json),
            "txt" => Some(Self::Text),
            _ => None,
        }
    }
}

/// Reads a file by its name's end; any other is text, unless a column is given.
pub(super) fn read(
    path: &Path,
    column: &mut Column,
    chooser: &mut Chooser,
) -> Result<(), EngineError> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let format = Format::of(&name);
    let other = if column.is_given() {
        Format::Json
    } else {
        Format::Text
    };
    read_as(format.unwrap_or(other), path, column, chooser).map(|_| ())
}

pub(super) fn read_as(
    format: Format,
    path: &Path,
    column: &mut Column,
    chooser: &mut Chooser,
) -> Result<ControlFlow<()>, EngineError> {
    let file = File::open(path).map_err(|error| cannot("read", path, &error))?;
    let meta = file
        .metadata()
        .map_err(|error| cannot("read", path, &error))?;
    if !meta.is_file() {
        return Err(EngineError::new(
            format!("{} is not a file", path.display()),
            "Give the path of a file with prompts in prompts.path",
        ));
    }
    match format {
        Format::Parquet => parquet::read(path, file, column, chooser),
        Format::Json => jsonl::read(path, unpacked(path, file)?, column, chooser),
        Format::Text => text(path, unpacked(path, file)?, chooser),
    }
}

/// Gzip is told by its first two bytes.
fn unpacked(path: &Path, file: File) -> Result<Box<dyn BufRead>, EngineError> {
    let mut file = BufReader::with_capacity(1 << 16, file);
    let head = file
        .fill_buf()
        .map_err(|error| cannot("read", path, &error))?;
    if head.starts_with(b"\x1f\x8b") {
        let unpacked = flate2::bufread::MultiGzDecoder::new(file);
        return Ok(Box::new(BufReader::with_capacity(1 << 16, unpacked)));
    }
    Ok(Box::new(file))
}

fn text(
    path: &Path,
    from: impl BufRead,
    chooser: &mut Chooser,
) -> Result<ControlFlow<()>, EngineError> {
    let mut lines = Lines::new(from);
    loop {
        let next = lines
            .next()
            .map(|line| line.map(|line| chooser.offer(line)));
        match next {
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Ok(Some(offered)) => {
                if offered?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Err(broken) => return Err(at_line(path, lines.number(), &broken)),
        }
    }
}

pub(super) fn at_line(path: &Path, line: u64, why: &dyn std::fmt::Display) -> EngineError {
    EngineError::new(
        format!("{}, line {line}: {why}", path.display()),
        "Correct the line, or take it out. A file of prompts is text with one prompt a line, JSONL with an object a line, or Parquet",
    )
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::Path;

    use super::super::choose::Chooser;
    use super::super::column::Column;
    use super::read;

    fn texts(path: &Path, column: Option<&str>) -> Result<Vec<String>, String> {
        let mut chooser = Chooser::new(100, None, None);
        read(path, &mut Column::new(column), &mut chooser).map_err(|error| error.to_string())?;
        Ok(chooser
            .finish()
            .0
            .iter()
            .map(|text| text.to_string())
            .collect())
    }

    fn of(name: &str, bytes: &[u8], column: Option<&str>) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        texts(&path, column)
    }

    #[test]
    fn text_jsonl_and_json_files() {
        assert_eq!(of("p.txt", b"one\r\n\ntwo", None).unwrap(), ["one", "two"]);
        assert_eq!(
            of("p", b"one\n{\"a\":1}\n", None).unwrap(),
            ["one", "{\"a\":1}"]
        );
        let jsonl = b"{\"text\":\"one\"}\n\n{\"text\":\"two\"}\n";
        assert_eq!(of("p.jsonl", jsonl, None).unwrap(), ["one", "two"]);
        assert_eq!(of("p.data", jsonl, Some("text")).unwrap(), ["one", "two"]);
        assert_eq!(of("p.json", jsonl, None).unwrap(), ["one", "two"]);
        let json = b" [\n {\"text\": \"one\"},\n {\"text\": \"two\"} ]";
        assert_eq!(of("p.json", json, None).unwrap(), ["one", "two"]);

        let mut gz = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        gz.write_all(jsonl).unwrap();
        assert_eq!(
            of("p.jsonl.gz", &gz.finish().unwrap(), None).unwrap(),
            ["one", "two"]
        );
    }

    #[test]
    fn hostile_files_are_refused_with_the_line() {
        let error = |name: &str, bytes: &[u8]| of(name, bytes, None).unwrap_err();
        let broken = error("p.jsonl", b"{\"text\":\"a\"}\n{\"text\": \n");
        assert!(broken.contains("p.jsonl, line 2:"), "{broken}");
        assert!(
            error("p.txt", b"a\n\x7fELF\x02\x01\x01\0\0\xff").contains("line 2: it is no text")
        );
        assert!(error("p.jsonl", b"\xff\xfe").contains("line 1: it is no text"));
        assert!(error("p.json", b"[1, 2").contains("cannot be read"));
        assert!(error("p.jsonl", b"{\"n\":1}").contains("none of prompt, text"));
        assert!(error("p.jsonl.gz", b"\x1f\x8b\x08nonsense").contains("cannot be read"));
        assert!(error("p.parquet", b"PAR1nonsensePAR1").contains("Parquet"));
        assert!(of("p.txt", b"", None).unwrap().is_empty());
        assert!(of("p.jsonl", b"", None).unwrap().is_empty());
        assert!(error("p.parquet", b"").contains("Parquet"));

        // 100 MB on one line, which take no space on the disk
        let folder = tempfile::tempdir().unwrap();
        for name in ["p.txt", "p.jsonl", "p.json"] {
            let path = folder.path().join(name);
            let mut file = File::create(&path).unwrap();
            file.write_all(b"x").unwrap();
            file.set_len(100 << 20).unwrap();
            let error = texts(&path, None).unwrap_err();
            assert!(
                error.contains("line 1: it is longer than 16 MiB"),
                "{error}"
            );
        }
        assert!(
            texts(folder.path(), None)
                .unwrap_err()
                .contains("not a file")
        );
        assert!(
            texts(Path::new("/nowhere/p.txt"), None)
                .unwrap_err()
                .contains("Check the path")
        );
    }

    #[test]
    fn a_deeply_nested_line_is_an_error_and_no_overflow() {
        let deep = format!(
            "{{\"text\":{}1{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(
            of("p.jsonl", deep.as_bytes(), None)
                .unwrap_err()
                .contains("line 1")
        );
    }
}
