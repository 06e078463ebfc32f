//! Measuring any command: what `lem exec` does, and what is made of it.
//!
//! A command is measured as a run of one cycle: the command's life. It can send marks
//! ([`line`] is the protocol, [`Marks`] what they come to) into a pipe whose path stands in
//! its environment; they become spans like those of an engine's phases, and a table of
//! phases of any name. `docs/exec.md` is the user's side of it.

mod arguments;
mod child;
mod line;
mod marks;
mod measure;
mod named;
mod pipe;
mod result;
pub mod show;
mod told;

pub use arguments::{Described, described};
pub use child::{Exit, Program, end_on_signal};
pub use line::{Line, Refused, VERBS};
pub use marks::{Faults, MAX_NAMES, MAX_SPANS, Marks};
pub use measure::{ExecError, Job, Measured, Place, measure};
pub use named::{put, reword, table};
pub use result::{CommandResult, PhaseResult, command, phases};
pub use told::{CommandCycle, Marked, Told};

/// The variable that holds the path of the pipe for marks.
pub const VARIABLE: &str = "LEM_PHASES";

/// Where the log keeps what was run: `environment.command`.
pub const DESCRIBED: &str = "command";
