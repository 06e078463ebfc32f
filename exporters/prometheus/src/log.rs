//! A run's own log, for sinks that say everything at the run's end.
//!
//! The log is the spool of every sink: what was delivered by an earlier process is
//! still in it, so such a sink needs no memory of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use lem_record::{Envelope, ExportError, MAX_LINE_BYTES};

const LOG: &str = "records.jsonl";

/// Shows every record of the log to `see`, in order. What a crash left half-written,
/// and whatever is no record of this run, is passed over.
pub(crate) fn read(
    folder: &Path,
    run_id: &str,
    mut see: impl FnMut(&Envelope),
) -> Result<(), ExportError> {
    let path = folder.join(LOG);
    let trouble = |error: &io::Error| {
        let reason = format!("{} cannot be read: {error}", path.display());
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::PermissionDenied => {
                ExportError::give_up(reason, "Export from a folder that holds the run's log")
            }
            _ => ExportError::retry(reason),
        }
    };
    let mut log = BufReader::with_capacity(1 << 18, File::open(&path).map_err(|e| trouble(&e))?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = MAX_LINE_BYTES as u64 + 1;
        let read = log.by_ref().take(most).read_until(b'\n', &mut line);
        if read.map_err(|e| trouble(&e))? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() > MAX_LINE_BYTES {
            log.skip_until(b'\n').map_err(|e| trouble(&e))?;
            continue;
        }
        let decoded = std::str::from_utf8(&line)
            .ok()
            .and_then(|line| Envelope::decode(line.trim_end()).ok());
        if let Some(envelope) = decoded.filter(|envelope| envelope.run == run_id) {
            see(&envelope);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use lem_record::ExportError;
    use lem_testkit::golden;

    use super::read;

    #[test]
    fn every_whole_record_is_seen_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let golden = golden::run(folder.path());
        let mut log = golden.log();
        let foreign = String::from_utf8(log.clone()).unwrap();
        let foreign = foreign
            .lines()
            .next()
            .unwrap()
            .replace(golden::RUN_ID, "other");
        log.extend_from_slice(format!("{foreign}\n\nnonsense\n\u{fe}\n").as_bytes());
        log.extend_from_slice(b"\xff\xfe\n{\"run\":\"golden-0001\",\"n\":");
        fs::write(folder.path().join("records.jsonl"), log).unwrap();
        let mut seen = Vec::new();
        read(folder.path(), golden::RUN_ID, |envelope| {
            seen.push(envelope.n)
        })
        .unwrap();
        let expected: Vec<u64> = golden.envelopes.iter().map(|e| e.n).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_folder_without_a_log_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = read(folder.path(), "r", |_| {}).unwrap_err();
        assert!(matches!(error, ExportError::GiveUp { .. }), "{error}");
        assert!(error.to_string().contains("records.jsonl"), "{error}");
    }
}
