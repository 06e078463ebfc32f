//! Showing the points below their sweep, at the sinks that do so by a mark on the point.
//!
//! Only the coordinator does it, or whoever gathers an array's points, and only with what both
//! deliveries remember: it makes no run and cannot race with one that is being made.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lem_delivery::Cursor;

use super::parent;
use crate::command::Failure;
use crate::config::Resolved;

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Marks that were set.
    pub marked: usize,
    /// What could not be marked, and why.
    pub owed: Vec<String>,
}

/// Marks these points as the sweep's, wherever both were delivered to. Each mark gets
/// `limit`.
pub fn adopt(
    sweep: &Path,
    points: &[PathBuf],
    resolved: &Resolved,
    limit: Duration,
) -> Result<Adopted, Failure> {
    let mut adopted = Adopted::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::failed(format!(
                "no runtime to mark the sweep's points: {error}. Raise the limit on open files (ulimit -n)"
            ))
        })?;
    for mut sink in parent::exporters(resolved)? {
        let name = sink.name();
        let destination = sink.destination();
        let of = |folder: &Path| {
            let cursor = Cursor::read(&Cursor::path(folder, name)).ok()?;
            (cursor.destination == destination).then_some(cursor.state)
        };
        let Some(ours) = of(sweep) else { continue };
        // Each mark has its time, not all of them together.
        let work = async {
            for point in points {
                // What was not delivered is marked when it is: by a resumption, or by gathering.
                let Some(theirs) = of(point) else { continue };
                match tokio::time::timeout(limit, sink.adopt(&ours, &theirs)).await {
                    Ok(Ok(true)) => adopted.marked += 1,
                    Ok(Ok(false)) => return,
                    Ok(Err(error)) => {
                        adopted.owed.push(format!("{name}: {error}"));
                        return;
                    }
                    Err(_) => {
                        let seconds = limit.as_secs();
                        let owed = format!("{name}: no answer within {seconds} s");
                        adopted.owed.push(owed);
                        return;
                    }
                }
            }
        };
        runtime.block_on(work);
    }
    // A look-up of a name may still block a thread of it.
    runtime.shutdown_background();
    Ok(adopted)
}
