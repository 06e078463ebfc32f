//! `lem sinks`: which there are, and whether they would take a run.

mod check;
mod list;

use serde_json::Value;

use super::Outcome;
use crate::cli::{SinksListArgs, SinksVerb};
use crate::config::Resolved;

pub fn sinks(verb: Option<&SinksVerb>) -> Outcome {
    match verb {
        None => list::list(&SinksListArgs::default()),
        Some(SinksVerb::List(args)) => list::list(args),
        Some(SinksVerb::Check(args)) => check::check(args),
    }
}

/// Whether the configuration turns it on, also where this build does not have it.
fn is_on(resolved: &Resolved, sink: &str) -> bool {
    let key = format!("/integrations/{sink}/enabled");
    resolved.tree.pointer(&key).and_then(Value::as_bool) == Some(true)
}
