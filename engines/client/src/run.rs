//! A run from its start to its report.

use std::time::Duration;

use crate::runner::Runner;
use crate::{EventSink, Load, Plan, Report, Target, TargetError, check, clock, open_files};

/// Does the plan on this thread, telling every event; returns when all requests have ended.
///
/// `stop` is asked at least every 20 ms; once it says yes, whatever is in flight ends as
/// [`Cancelled`](crate::Failure::Cancelled), what was not yet sent is not told of, and the
/// run returns. An error is a target or plan that cannot work, or a machine that gives no
/// readiness queue: then nothing was sent. Looking up the host's name may block.
pub fn run(
    target: &Target,
    plan: &Plan,
    sink: &mut dyn EventSink,
    stop: &dyn Fn() -> bool,
) -> Result<Report, TargetError> {
    check::plan(target, plan)?;
    let most = match plan.load {
        Load::Closed {
            concurrency: places,
        }
        | Load::Users { users: places } => places.min(plan.jobs.len()),
        Load::Open => plan.jobs.len(),
    };
    let open_files_note = open_files::allow(most as u64);
    let mut runner = Runner::new(target, plan, sink)?;
    runner.preconnect(plan.preconnect.min(most), stop)?;

    let (cpu, waited) = (clock::thread_cpu_ns(), clock::waited_for_core_ns());
    runner.start(clock::now_ns());
    while !runner.is_done() {
        if stop() {
            runner.cancel();
            break;
        }
        runner.turn(Duration::from_millis(20))?;
    }
    let mut report = runner.report();
    report.cpu_ns = clock::thread_cpu_ns().saturating_sub(cpu);
    report.waited_for_core_ns = waited
        .zip(clock::waited_for_core_ns())
        .map(|(before, after)| after.saturating_sub(before));
    // On a plan with open arrivals all requests at once is the worst case, not the expected one.
    report.open_files_note =
        open_files_note.filter(|_| plan.load != Load::Open || report.ran_out_of_files);
    Ok(report)
}
