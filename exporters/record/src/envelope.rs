use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Record, Stamp};

/// A longer line is not of our making: an hour of eight GPUs in one batch is a tenth of it.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// One line of `records.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Envelope {
    pub run: String,
    /// From 0, without gaps.
    pub n: u64,
    #[serde(flatten)]
    pub at: Stamp,
    #[serde(flatten)]
    pub record: Record,
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the line is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    #[error("not a record: {0}")]
    Json(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Line<'a> {
    run: String,
    n: u64,
    mono_ns: u64,
    unix_ns: i64,
    kind: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Envelope {
    /// One line, without its newline.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    pub fn decode(line: &str) -> Result<Self, DecodeError> {
        if line.len() > MAX_LINE_BYTES {
            return Err(DecodeError::TooLong);
        }
        let line: Line = serde_json::from_str(line)?;
        Ok(Self {
            run: line.run,
            n: line.n,
            at: Stamp {
                mono_ns: line.mono_ns,
                unix_ns: line.unix_ns,
            },
            record: Record::decode(&line.kind, line.data.get())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Envelope;
    use crate::{Record, Stamp, Warning};

    fn envelope(record: Record) -> Envelope {
        Envelope {
            run: "r1".into(),
            n: 7,
            at: Stamp {
                mono_ns: 5,
                unix_ns: 6,
            },
            record,
        }
    }

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let warning = Warning {
            code: "a.b".into(),
            message: "it \n broke".into(),
            remedy: "mend".into(),
        };
        let written = envelope(Record::Warning(warning));
        let line = written.encode().expect("encodes");
        assert!(!line.contains('\n'));
        assert_eq!(Envelope::decode(&line).expect("decodes"), written);
    }

    #[test]
    fn a_kind_of_a_newer_version_is_skipped_not_refused() {
        let line =
            r#"{"run":"r","n":0,"mono_ns":1,"unix_ns":2,"kind":"hologram","data":{"x":[1]}}"#;
        let read = Envelope::decode(line).expect("decodes");
        assert_eq!(read.record, Record::Unknown("hologram".into()));
    }
}
