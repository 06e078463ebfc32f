//! Why a file was not migrated.

use std::fmt;

use serde::Serialize;

/// One reason, stable for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It could not be opened or read.
    Unreadable,
    /// Larger than any result.
    TooLarge,
    /// Its end is missing.
    Torn,
    /// No text, or no JSON.
    Text,
    /// NaN or Infinity, as Python writes them.
    NotANumber,
    /// A key stands there twice.
    Ambiguous,
    /// Made to break readers.
    Hostile,
    /// JSON of something else.
    Foreign,
    /// A result of version 3.
    Already,
    /// Another file stands where its migration belongs.
    Taken,
    /// The migration could not be written.
    Unwritable,
}

impl Why {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too-large",
            Self::Torn => "torn",
            Self::Text => "text",
            Self::NotANumber => "not-a-number",
            Self::Ambiguous => "ambiguous",
            Self::Hostile => "hostile",
            Self::Foreign => "foreign",
            Self::Already => "already",
            Self::Taken => "taken",
            Self::Unwritable => "unwritable",
        }
    }

    /// The next step.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unreadable => "Check that it exists and that you may read it",
            Self::TooLarge | Self::Hostile => "No result of version 2 looks so. Leave it out",
            Self::Torn => {
                "Take it from a backup, or measure again: what is missing cannot be made up"
            }
            Self::Text => "Take it from a backup, if it was a result once; else leave it out",
            Self::NotANumber => {
                "Write null in its place, which is what it means, and migrate again"
            }
            Self::Ambiguous => "Remove one of the two, and migrate again",
            Self::Foreign => "Leave it out, if it is no result of version 2",
            Self::Already => "Nothing is to be done",
            Self::Taken => "Choose another folder with --out, or write over it with --force",
            Self::Unwritable => {
                "Free some space, check your rights to the folder, or choose another with --out"
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: Why,
    /// What is the matter, as the end of a sentence about the file.
    pub what: String,
}

impl Refused {
    pub fn new(why: Why, what: impl Into<String>) -> Self {
        Self {
            why,
            what: what.into(),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.what, self.why.remedy())
    }
}
