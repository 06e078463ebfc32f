use std::fmt;

use serde::{Serialize, Serializer};

use super::place::Place;
use super::render;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
    Note,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something about the configuration that its author should know.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// Stable, for scripts: `unknown-key`.
    pub code: &'static str,
    /// Dotted path of the key, where it is about one.
    pub key: Option<String>,
    #[serde(serialize_with = "place_in_words")]
    pub place: Place,
    /// What, and why.
    pub message: String,
    pub expected: Option<String>,
    /// Another place that takes part in it, and which.
    #[serde(skip)]
    pub related: Vec<(String, Place)>,
    /// What to do about it.
    pub remedy: String,
}

fn place_in_words<S: Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(place)
}

impl Finding {
    pub(crate) fn new(
        severity: Severity,
        code: &'static str,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code,
            key: None,
            place: place.clone(),
            message: message.into(),
            expected: None,
            related: Vec::new(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn error(
        code: &'static str,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, code, place, message, remedy)
    }

    pub(crate) fn warning(
        code: &'static str,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, code, place, message, remedy)
    }

    pub(crate) fn note(
        code: &'static str,
        place: &Place,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Note, code, place, message, remedy)
    }

    #[must_use]
    pub(crate) fn at(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    #[must_use]
    pub(crate) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    #[must_use]
    pub(crate) fn related(mut self, what: impl Into<String>, place: &Place) -> Self {
        self.related.push((what.into(), place.clone()));
        self
    }

    /// On one line, without the source: for the start of a run.
    pub fn brief(&self) -> String {
        let severity = self.severity.as_str();
        match self.place {
            Place::Default => format!("{severity}: {}", self.message),
            _ => format!("{severity}: {} ({})", self.message, self.place),
        }
    }

    /// As the run's log keeps it.
    pub fn to_record(&self) -> lem_record::Warning {
        let message = match self.place {
            Place::Default => self.message.clone(),
            _ => format!("{} ({})", self.message, self.place),
        };
        lem_record::Warning {
            code: format!("config.{}", self.code),
            message,
            remedy: self.remedy.clone(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        render::finding(f, self)
    }
}

/// Everything that is wrong with a configuration, at once, and what else was noticed on the way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigErrors {
    /// Errors first. Never more than [`MOST`] of them.
    pub findings: Vec<Finding>,
    /// Errors beyond those that are kept.
    pub more: usize,
}

/// A file of a million wrong keys is told from one of a hundred by nobody.
pub(crate) const MOST: usize = 100;

impl ConfigErrors {
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let errors = self.errors().count() + self.more;
        if self.more > 0 {
            writeln!(f, "… and {} more errors", self.more)?;
        }
        match errors {
            1 => write!(f, "1 error in the configuration"),
            n => write!(f, "{n} errors in the configuration"),
        }
    }
}

/// Collects findings, and bounds them.
#[derive(Default)]
pub(crate) struct Findings {
    kept: Vec<Finding>,
    errors: usize,
    others: usize,
    more: usize,
}

impl Findings {
    pub fn push(&mut self, finding: Finding) {
        let count = match finding.severity {
            Severity::Error => &mut self.errors,
            _ => &mut self.others,
        };
        if *count < MOST {
            *count += 1;
            self.kept.push(finding);
        } else if finding.severity == Severity::Error {
            self.more += 1;
        }
    }

    /// Whether another error would be kept: finding its remedy may be dear.
    pub fn full(&self) -> bool {
        self.errors >= MOST
    }

    /// Counts an error that nobody would see.
    pub fn skip(&mut self) {
        self.more += 1;
    }

    pub fn finish(mut self) -> Result<Vec<Finding>, ConfigErrors> {
        self.kept
            .sort_by(|a, b| (a.severity, a.place.order()).cmp(&(b.severity, b.place.order())));
        if self.errors == 0 {
            return Ok(self.kept);
        }
        Err(ConfigErrors {
            findings: self.kept,
            more: self.more,
        })
    }
}
