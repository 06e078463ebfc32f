//! What a migrated result says of its own making.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a file of version 2 became this result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Migration {
    /// What the file was recognised as, by its shape.
    pub shape: OldShape,
    /// Its `schema_version`, which does not order version 2's files.
    pub told_version: Option<String>,
    /// Its path, from the common folder of all that were migrated with it.
    pub source: String,
    /// SHA-256 of its bytes, hexadecimal.
    pub source_sha256: String,
    /// What became of its values.
    pub counts: MigrationCounts,
    /// Every number that is absent, distrusted or computed anew, and why.
    pub notes: Vec<MigrationNote>,
}

/// The files that version 2 writes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum OldShape {
    /// One process of an experiment.
    Raw,
    /// All processes of an experiment together.
    Aggregated,
    /// Several cycles of an experiment.
    MultiCycle,
    /// An experiment of a later version of that tool.
    LaterExperiment,
}

impl OldShape {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Aggregated => "aggregated",
            Self::MultiCycle => "multi-cycle",
            Self::LaterExperiment => "later-experiment",
        }
    }
}

/// Values of the file, one by one: a list of ten numbers counts ten. `mapped`, `recomputed`
/// and `kept` add up to `values`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MigrationCounts {
    /// All of them.
    pub values: u64,
    /// Have a field of version 3, and are there as they were told, perhaps in another unit.
    pub mapped: u64,
    /// Have a field of version 3 that was computed anew.
    pub recomputed: u64,
    /// Have no field: they stand under `legacy` only.
    pub kept: u64,
    /// Numbers of version 3 that are absent although version 2 wrote one.
    pub absent: u64,
    /// Numbers of version 3 that are to be distrusted.
    pub flagged: u64,
}

/// Something that the migration did or found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MigrationNote {
    /// Where, in this result: `total_energy_j`, `legacy.timestamps`. For cycles once for all.
    pub path: String,
    /// What was done.
    pub kind: NoteKind,
    /// Stable, for scripts: `energy.over-counted`.
    pub code: String,
    /// What is the matter.
    pub what: String,
    /// Why that is so.
    pub why: String,
}

/// What was done to a number.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum NoteKind {
    /// It is there, and not to be trusted.
    Flagged,
    /// What was written stands for nothing, or could not be read: it is absent.
    Absent,
    /// It was computed anew.
    Recomputed,
    /// Only to be known.
    Told,
}
