//! Parquet: only the column that holds the prompt is read, a row group at a time.

use std::fs::File;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use crate::engine::EngineError;

use super::choose::Chooser;
use super::column::Column;

pub(super) fn read(
    path: &Path,
    file: File,
    column: &mut Column,
    chooser: &mut Chooser,
) -> Result<ControlFlow<()>, EngineError> {
    // the library checks most of what a file may get wrong, and panics at the rest
    let outcome = catch_unwind(AssertUnwindSafe(|| rows(file, column, chooser)));
    let wrong = |why: String| {
        EngineError::new(
            format!("{} cannot be read as Parquet: {why}", path.display()),
            "Check prompts.column; if the file is damaged, fetch or write it again",
        )
    };
    match outcome {
        Ok(Ok(flow)) => Ok(flow),
        Ok(Err(Stop::Wrong(why))) => Err(wrong(why)),
        Ok(Err(Stop::Refused(error))) => Err(error),
        Err(_) => Err(wrong("its contents contradict each other".to_owned())),
    }
}

enum Stop {
    Wrong(String),
    Refused(EngineError),
}

impl From<parquet::errors::ParquetError> for Stop {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Wrong(error.to_string())
    }
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

fn rows(file: File, column: &mut Column, chooser: &mut Chooser) -> Result<ControlFlow<()>, Stop> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema();
    let fields = schema.get_fields();
    let top = column.pick(fields.iter().map(|field| field.name()))?;
    let wanted = fields
        .iter()
        .filter(|field| field.name() == top)
        .take(1)
        .cloned()
        .collect();
    let projection = Type::group_type_builder(schema.name())
        .with_fields(wanted)
        .build()?;
    for row in reader.get_row_iter(Some(projection))? {
        let row = object(&row?, 0);
        match column.text(&row)? {
            None => chooser.skip(),
            Some(text) => {
                if chooser.offer(&text).map_err(Stop::Refused)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Deeper values are no conversation, and would be no end.
const DEEPEST: usize = 16;

fn object(row: &Row, depth: usize) -> Value {
    let fields = row
        .get_column_iter()
        .map(|(name, field)| (name.clone(), value(field, depth + 1)));
    Value::Object(fields.collect::<Map<_, _>>())
}

/// What a prompt can be made of; numbers stay recognisable as such.
fn value(field: &Field, depth: usize) -> Value {
    match field {
        _ if depth > DEEPEST => Value::Null,
        Field::Str(text) => Value::String(text.clone()),
        // a text whose writer did not say so
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::String(text.to_owned()),
            Err(_) => Value::Bool(false),
        },
        Field::Group(row) => object(row, depth),
        Field::ListInternal(list) => Value::Array(
            list.elements()
                .iter()
                .map(|field| value(field, depth + 1))
                .collect(),
        ),
        Field::Null => Value::Null,
        Field::Bool(yes) => Value::Bool(*yes),
        _ => Value::Number(0.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use parquet::basic::{Compression, ZstdLevel};
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::choose::Chooser;
    use super::super::column::Column;
    use super::super::file::read;

    const CHATS: &str = "message schema {
        required int64 id;
        optional group messages (LIST) { repeated group list { optional group element {
            optional binary role (UTF8);
            optional binary content (UTF8);
        } } }
    }";

    fn properties(compression: Compression) -> Arc<WriterProperties> {
        Arc::new(
            WriterProperties::builder()
                .set_compression(compression)
                .build(),
        )
    }

    /// Rows of (id, text or null) in two row groups.
    fn texts(path: &Path, rows: &[Option<&str>], compression: Compression) {
        let schema = "message schema { required int64 id; optional binary text (UTF8); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer =
            SerializedFileWriter::new(File::create(path).unwrap(), schema, properties(compression))
                .unwrap();
        for group in rows.chunks(rows.len().div_ceil(2)) {
            let mut rows = writer.next_row_group().unwrap();
            let mut ids = rows.next_column().unwrap().unwrap();
            let numbers: Vec<i64> = (0..group.len() as i64).collect();
            ids.typed::<Int64Type>()
                .write_batch(&numbers, None, None)
                .unwrap();
            ids.close().unwrap();
            let mut column = rows.next_column().unwrap().unwrap();
            let values: Vec<ByteArray> = group.iter().flatten().map(|&text| text.into()).collect();
            let levels: Vec<i16> = group.iter().map(|text| i16::from(text.is_some())).collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, Some(&levels), None)
                .unwrap();
            column.close().unwrap();
            rows.close().unwrap();
        }
        writer.close().unwrap();
    }

    fn got(path: &Path, column: Option<&str>, want: usize) -> Result<Vec<String>, String> {
        let mut chooser = Chooser::new(want, None, None);
        read(path, &mut Column::new(column), &mut chooser).map_err(|error| error.to_string())?;
        Ok(chooser
            .finish()
            .0
            .iter()
            .map(|text| text.to_string())
            .collect())
    }

    fn file(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("train.parquet")
    }

    #[test]
    fn texts_in_every_compression() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder);
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(Default::default()),
            Compression::ZSTD(ZstdLevel::default()),
        ] {
            texts(
                &path,
                &[Some("one"), None, Some(""), Some("two"), Some("drei")],
                compression,
            );
            assert_eq!(got(&path, None, 10).unwrap(), ["one", "two", "drei"]);
            assert_eq!(got(&path, Some("text"), 2).unwrap(), ["one", "two"]);
        }
        assert!(got(&path, Some("id"), 1).unwrap_err().contains("a number"));
        assert!(
            got(&path, Some("nope"), 1)
                .unwrap_err()
                .contains("no \"nope\" among id, text")
        );
    }

    #[test]
    fn the_user_s_first_turn_of_a_conversation() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder);
        let schema = Arc::new(parse_message_type(CHATS).unwrap());
        let properties = properties(Compression::SNAPPY);
        let mut writer =
            SerializedFileWriter::new(File::create(&path).unwrap(), schema, properties).unwrap();
        let mut rows = writer.next_row_group().unwrap();
        let mut ids = rows.next_column().unwrap().unwrap();
        ids.typed::<Int64Type>()
            .write_batch(&[1, 2], None, None)
            .unwrap();
        ids.close().unwrap();
        // two conversations of two turns; level 4 is a value, repetition 1 goes on
        for values in [
            ["system", "user", "user", "assistant"],
            ["be brief", "q1", "q2", "a2"],
        ] {
            let values: Vec<ByteArray> = values.iter().map(|&text| text.into()).collect();
            let mut column = rows.next_column().unwrap().unwrap();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, Some(&[4; 4]), Some(&[0, 1, 0, 1]))
                .unwrap();
            column.close().unwrap();
        }
        rows.close().unwrap();
        writer.close().unwrap();
        assert_eq!(got(&path, None, 10).unwrap(), ["q1", "q2"]);
    }

    /// Written by pyarrow 26, zstd: another writer's idea of lists and dictionaries.
    #[test]
    fn another_writer_s_file() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/chats-pyarrow.parquet");
        let questions = ["first question", "second question"];
        assert_eq!(got(&path, None, 10).unwrap(), questions);
        assert_eq!(got(&path, Some("source"), 10).unwrap(), ["x", "y", "x"]);
        assert_eq!(got(&path, Some("long"), 10).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder);
        texts(
            &path,
            &[Some("some text"), None, Some("more text")],
            Compression::SNAPPY,
        );
        let whole = fs::read(&path).unwrap();
        let mut refused = 0;
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
            fs::write(&path, &bytes).unwrap();
            refused += u32::from(got(&path, None, 10).is_err());
        }
        for keep in (0..whole.len()).step_by(7) {
            fs::write(&path, &whole[..keep]).unwrap();
            got(&path, None, 10).unwrap_err();
        }
        assert!(refused > 100, "{refused}");
    }
}
