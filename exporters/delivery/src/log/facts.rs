use serde::{Deserialize, Serialize};

/// As many skipped lines are told one by one; the rest only counts.
const TOLD: usize = 100;

/// What a reader met besides good records. None of it is an error: a log that a
/// crash or a bad disk has damaged is read as far as it can be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Good records.
    pub records: u64,
    /// Good records of a kind that a newer lem wrote.
    pub unknown_kinds: u64,
    /// Lines that are no record.
    pub skipped: u64,
    /// The first of them.
    pub skips: Vec<Skip>,
    /// Records whose number came before.
    pub duplicates: u64,
    /// Numbers that never came.
    pub missing: u64,
    /// Records of another run.
    pub foreign: u64,
    /// A last line without its newline: the process died while it wrote.
    pub torn: Option<Torn>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// From 1, counted from where reading began.
    pub line: u64,
    /// Of the line's first byte in the file.
    pub offset: u64,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Torn {
    pub offset: u64,
    pub bytes: u64,
}

impl Facts {
    pub(super) fn skip(&mut self, line: u64, offset: u64, why: impl Into<String>) {
        self.skipped += 1;
        if self.skips.len() < TOLD {
            self.skips.push(Skip {
                line,
                offset,
                why: why.into(),
            });
        }
    }

    /// Whether the log is whole, each record once and in order.
    pub fn clean(&self) -> bool {
        self.skipped == 0
            && self.duplicates == 0
            && self.missing == 0
            && self.foreign == 0
            && self.torn.is_none()
    }

    /// A sentence for each thing that is not as it should be.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(torn) = self.torn {
            notes.push(format!(
                "the last {} bytes are a record that was never finished; it was left out",
                torn.bytes
            ));
        }
        if self.skipped > 0 {
            let first = self.skips.first();
            let example = first.map(|s| format!(" (line {}: {})", s.line, s.why));
            notes.push(format!(
                "{} lines are not records and were left out{}",
                self.skipped,
                example.unwrap_or_default()
            ));
        }
        for (count, what) in [
            (self.missing, "records are missing"),
            (self.duplicates, "records came twice and were left out"),
            (
                self.foreign,
                "records belong to another run and were left out",
            ),
            (
                self.unknown_kinds,
                "records are of a kind that this version does not know",
            ),
        ] {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
        notes
    }
}
