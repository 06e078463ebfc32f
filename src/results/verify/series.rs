//! `timeseries.parquet` against the samples of the log.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use sha2::{Digest as _, Sha256};

use super::Check;
use super::files::hash;
use super::log::Read;
use crate::results::parquet as series;
use crate::results::store::SERIES_FILE;

const NAME: &str = "series";

pub fn check(folder: &Path, read: &Read, as_written: bool) -> Check {
    let path = folder.join(SERIES_FILE);
    if !path.exists() {
        return match read.artifacts.contains_key(SERIES_FILE) {
            true => Check::failed(
                NAME,
                format!("there is no {SERIES_FILE}"),
                vec![format!(
                    "{SERIES_FILE} is missing; lem results rebuild does not make it, the records have its samples"
                )],
            ),
            false => Check::skipped(NAME, format!("there is no {SERIES_FILE}")),
        };
    }
    let mut digest = Digest::default();
    let derived = series::write(&read.data, &mut digest);
    let written = hash(&path);
    let rows = match (&derived, written) {
        (Ok(()), Ok((sha256, _))) if sha256 == hex::encode(digest.0.finalize()) => {
            return Check::passed(
                NAME,
                format!("{SERIES_FILE} holds every sample of the log, byte for byte"),
            );
        }
        // What does not even have its checksum is not worth reading, nor safe.
        (Ok(()), Ok(_)) if !as_written => {
            let found = vec![format!(
                "{SERIES_FILE} is neither what was written nor what the records give"
            )];
            return Check::failed(NAME, format!("{SERIES_FILE} was changed"), found);
        }
        (Ok(()), Ok(_)) => compare(&path, read),
        (Err(error), _) => Err(error.to_string()),
        (_, Err(error)) => Err(error.to_string()),
    };
    match rows {
        Ok((rows, None)) => Check::passed(
            NAME,
            format!("{SERIES_FILE} holds every sample of the log: {rows} equal rows"),
        ),
        Ok((_, Some(found))) => Check::failed(
            NAME,
            format!("{SERIES_FILE} is not what the records give"),
            vec![found],
        ),
        Err(error) => Check::failed(
            NAME,
            format!("{SERIES_FILE} cannot be compared"),
            vec![format!("{SERIES_FILE}: {error}")],
        ),
    }
}

/// Another version of the writer makes other bytes of the same rows: those are compared.
fn compare(path: &Path, read: &Read) -> Result<(u64, Option<String>), String> {
    let told = |error: ParquetError| error.to_string();
    let mut bytes = Vec::new();
    series::write(&read.data, &mut bytes).map_err(|error| error.to_string())?;
    let derived = SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(told)?;
    let file = File::open(path).map_err(|error| error.to_string())?;
    let written = SerializedFileReader::new(file).map_err(told)?;
    let mut derived = derived.get_row_iter(None).map_err(told)?;
    let mut written = written.get_row_iter(None).map_err(told)?;
    let mut rows = 0;
    loop {
        let (old, new) = (
            written.next().transpose().map_err(told)?,
            derived.next().transpose().map_err(told)?,
        );
        match (old, new) {
            (None, None) => return Ok((rows, None)),
            (Some(old), Some(new)) if old == new => rows += 1,
            (old, new) => {
                let shown = |row: Option<parquet::record::Row>| {
                    row.map_or_else(|| "nothing".to_owned(), |row| row.to_string())
                };
                let found = format!(
                    "{SERIES_FILE} row {}: it has {}, the records give {}",
                    rows + 1,
                    shown(old),
                    shown(new)
                );
                return Ok((rows, Some(found)));
            }
        }
    }
}

#[derive(Default)]
struct Digest(Sha256);

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
