//! Making the visits.

use std::path::Path;

use super::resolve::Besides;
use crate::cli::Format;
use crate::command::{Failure, Outcome};
use crate::sweep::plan::{Plan, Point};

pub fn whole(_folder: &Path, _plan: &Plan, _besides: &Besides, _retry: bool, _format: Format) -> Outcome {
    Err(Failure::failed("not yet"))
}

pub fn point(_folder: &Path, _plan: &Plan, _point: &Point, _besides: &Besides, _retry: bool, _format: Format) -> Outcome {
    Err(Failure::failed("not yet"))
}
