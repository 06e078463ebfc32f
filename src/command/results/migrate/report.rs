//! What a migration did, file by file.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::super::super::table;
use super::files::Found;
use crate::results::migrate::{Refused, Why};
use crate::results::{MigrationCounts, OldShape};

#[derive(Debug, Serialize)]
pub struct Report {
    pub out: String,
    /// Of which some may have stood there already.
    pub migrated: u64,
    /// Results of version 3 among the inputs.
    pub already: u64,
    pub refused: u64,
    /// Files that are no JSON.
    pub ignored: u64,
    /// Over the migrated files.
    pub counts: MigrationCounts,
    pub files: Vec<Entry>,
}

#[derive(Debug, Serialize)]
pub struct Entry {
    pub source: String,
    #[serde(flatten)]
    pub fate: Fate,
}

#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Fate {
    Migrated {
        target: String,
        /// False where the same content stood there already.
        written: bool,
        shape: Option<OldShape>,
        counts: MigrationCounts,
    },
    Already {
        what: String,
    },
    Refused {
        code: Why,
        what: String,
        remedy: &'static str,
    },
}

impl From<Refused> for Fate {
    fn from(refused: Refused) -> Self {
        match refused.why {
            Why::Already => Self::Already { what: refused.what },
            code => Self::Refused {
                code,
                what: refused.what,
                remedy: code.remedy(),
            },
        }
    }
}

impl Report {
    pub fn new(out: &Path, ignored: u64) -> Self {
        Self {
            out: out.display().to_string(),
            migrated: 0,
            already: 0,
            refused: 0,
            ignored,
            counts: MigrationCounts::default(),
            files: Vec::new(),
        }
    }

    /// Folders that could not be searched.
    pub fn unreadable(&mut self, found: &Found) {
        for (folder, error) in &found.unreadable {
            let what = format!("the folder cannot be searched: {error}");
            self.push(Entry {
                source: folder.display().to_string(),
                fate: Refused::new(Why::Unreadable, what).into(),
            });
        }
    }

    pub fn push(&mut self, entry: Entry) {
        match &entry.fate {
            Fate::Migrated { counts, .. } => {
                self.migrated += 1;
                let sum = &mut self.counts;
                sum.values += counts.values;
                sum.mapped += counts.mapped;
                sum.recomputed += counts.recomputed;
                sum.kept += counts.kept;
                sum.absent += counts.absent;
                sum.flagged += counts.flagged;
            }
            Fate::Already { .. } => self.already += 1,
            Fate::Refused { .. } => self.refused += 1,
        }
        self.files.push(entry);
    }

    pub fn table(&self) -> String {
        let header = [
            "File",
            "Shape",
            "Values",
            "Mapped",
            "Recomputed",
            "Legacy only",
            "Absent",
            "Flagged",
            "",
        ];
        let mut rows = table(&header);
        let mut refused = String::new();
        for Entry { source, fate } in &self.files {
            match fate {
                Fate::Migrated {
                    written,
                    shape,
                    counts: c,
                    ..
                } => {
                    let numbers = [
                        c.values,
                        c.mapped,
                        c.recomputed,
                        c.kept,
                        c.absent,
                        c.flagged,
                    ];
                    let mut row = vec![
                        source.clone(),
                        shape.map_or("", OldShape::as_str).to_owned(),
                    ];
                    row.extend(numbers.map(|n| n.to_string()));
                    row.push(if *written { "" } else { "stood there" }.to_owned());
                    rows.add_row(row);
                }
                Fate::Already { .. } => {
                    let mut row = vec![source.clone(), "version 3".to_owned()];
                    row.resize(8, String::new());
                    row.push("left alone".to_owned());
                    rows.add_row(row);
                }
                Fate::Refused { code, what, remedy } => {
                    let _ = writeln!(
                        refused,
                        "refused: {source} ({}): {what}. {remedy}.",
                        code.as_str()
                    );
                }
            }
        }
        let mut out = String::new();
        if rows.row_count() > 0 {
            let _ = writeln!(out, "{rows}\n");
        }
        if !refused.is_empty() {
            let _ = writeln!(out, "{refused}");
        }
        let _ = writeln!(
            out,
            "{} migrated to {}, {} were of version 3 already, {} refused, {} other files ignored.",
            self.migrated, self.out, self.already, self.refused, self.ignored
        );
        if self.migrated > 0 {
            out.push_str(
                "Absent and flagged numbers stand with their reasons under `migration.notes` of each file; docs/migration.md says what old numbers may be used for.\n",
            );
        }
        out
    }
}
