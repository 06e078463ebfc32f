use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use lem_record::Origin;

use super::redact;

/// Where a value was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Place {
    /// Nowhere: the default.
    #[default]
    Default,
    /// A preset of this name.
    Preset(Arc<str>),
    /// A file as a whole.
    Document(Arc<str>),
    /// In a file.
    File(FilePlace),
    /// An environment variable of this name.
    Variable(Arc<str>),
    /// A flag, as it was typed, without secrets.
    Flag(Arc<str>),
}

#[derive(Clone, PartialEq)]
pub struct FilePlace {
    pub(crate) source: Arc<SourceFile>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters to underline; 0 is one.
    pub(crate) length: usize,
}

/// A file that was read, kept for showing lines of it.
#[derive(PartialEq)]
pub(crate) struct SourceFile {
    /// As the user wrote its path.
    pub name: String,
    pub path: PathBuf,
    pub text: String,
}

impl Place {
    pub(crate) fn variable(name: &str) -> Self {
        Self::Variable(name.into())
    }

    pub(crate) fn flag(typed: &str) -> Self {
        Self::Flag(redact::line(typed).into())
    }

    /// Places in the order that a reader goes through them.
    pub(crate) fn order(&self) -> impl Ord + '_ {
        match self {
            Self::File(place) => (0, place.source.name.as_str(), place.line, place.column),
            Self::Document(name) => (1, &**name, 0, 0),
            Self::Variable(name) => (2, &**name, 0, 0),
            Self::Flag(_) => (3, "", 0, 0),
            Self::Preset(_) | Self::Default => (4, "", 0, 0),
        }
    }

    /// For the record: what kind of place, and where.
    pub fn origin(&self) -> Origin {
        let (source, detail) = match self {
            Self::Default => ("default", None),
            Self::Preset(name) => ("preset", Some(name.to_string())),
            Self::Document(name) => ("file", Some(name.to_string())),
            Self::File(place) => ("file", Some(place.to_string())),
            Self::Variable(name) => ("environment", Some(name.to_string())),
            Self::Flag(typed) => ("flag", Some(typed.to_string())),
        };
        Origin {
            source: source.into(),
            detail,
        }
    }
}

/// As in a sentence: `a.yaml:3:1`, `the variable LEM_X`, `the flag --set a=1`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::Preset(name) => write!(f, "the preset {name}"),
            Self::Document(name) => f.write_str(name),
            Self::File(place) => place.fmt(f),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Flag(typed) => write!(f, "the flag {typed}"),
        }
    }
}

impl fmt::Display for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.name, self.line, self.column)
    }
}

/// The text of the file is left out: it may hold secrets.
impl fmt::Debug for FilePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
