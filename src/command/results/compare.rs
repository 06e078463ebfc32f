//! `lem results compare`: runs against each other.

use super::look::look;
use crate::cli::CompareArgs;
use crate::command::{Failure, show};
use crate::results::compare;

pub fn compare(args: &CompareArgs) -> Result<(), Failure> {
    let mut results = Vec::new();
    let mut seen = Vec::new();
    for path in super::locate(&args.run, args.runs.as_deref())? {
        let result = look(&path)?;
        if seen.contains(&result.run_id) {
            return Err(Failure::usage(format!(
                "{} is given twice. Name different runs",
                result.run_id
            )));
        }
        seen.push(result.run_id.clone());
        results.push(result);
    }
    let comparison = compare::compare(&results).map_err(Failure::failed)?;
    show(&compare::render(&comparison, args.format));
    Ok(())
}
