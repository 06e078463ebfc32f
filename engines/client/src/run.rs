//! The loop.

use crate::{EventSink, Plan, Report, Target, TargetError};

/// Does the plan on this thread, telling every event; returns when all requests have ended.
///
/// `stop` is asked at least every 20 ms; once it says yes, whatever is in flight ends as
/// [`Cancelled`](crate::Failure::Cancelled), what was not yet sent is not told of, and the
/// run returns. An error is a target or plan that cannot work: then nothing was sent.
pub fn run(
    target: &Target,
    plan: &Plan,
    sink: &mut dyn EventSink,
    stop: &dyn Fn() -> bool,
) -> Result<Report, TargetError> {
    let _ = (target, plan, sink, stop);
    Err(TargetError::new(
        "not built yet",
        "wait for the next commit of this branch",
    ))
}
