//! Many experiments from one command: what the points are, in which order they are visited,
//! and what came of them. Nothing here touches a disk or measures; `command::sweep` does.
//!
//! ```text
//! --vary, --zip, --point, `sweep:` ─► define ─► vary ─► points ─► order ─► visits = the plan
//!                                              skip ─┘
//! points' results ─► estimates ─► front, best, stop
//! ```
//!
//! A *point* is one configuration, a *visit* one measured cycle of it, a *block* one visit of
//! each point.

pub mod conditions;
pub mod define;
pub mod front;
pub mod load_key;
pub mod order;
pub mod plan;
pub mod quantity;
pub mod split;
pub mod state;
pub mod stop;
pub mod vary;

use std::fmt;

/// What a sweep's own run and the runs of its points are tagged with.
pub const SWEEP_ID: &str = "lem.sweep_id";
/// Which of the sweep's points a run is.
pub const SWEEP_POINT: &str = "lem.sweep_point";
/// [`SWEEP`] or [`POINT`].
pub const KIND: &str = "lem.kind";
pub const SWEEP: &str = "sweep";
pub const POINT: &str = "sweep-point";

pub use conditions::Condition;
pub use define::{Definition, Given};
pub use plan::{Base, Plan, Point};

/// What is wrong with a sweep, and what to do: the text is for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepError {
    pub what: String,
    pub remedy: String,
}

impl SweepError {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl std::error::Error for SweepError {}

impl fmt::Display for SweepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.what, self.remedy)
    }
}

/// Some text of the user's, short enough for a sentence.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let text = crate::config::redact::line(text);
    match text.char_indices().nth(MOST) {
        None => format!("`{text}`"),
        Some((at, _)) => format!("`{}…`", text.get(..at).unwrap_or_default()),
    }
}
