use lem_record::Record;

use super::Scope;
use super::text::short;

/// What a person would like to read of a record, in one line.
pub(super) fn line(scope: &Scope<'_>, record: &Record) -> Option<String> {
    let text = match record {
        Record::RunStarted(started) => format!(
            "{} started run {} ({})",
            started.producer, scope.run_id, started.name
        ),
        Record::Warning(warning) => format!(
            "warning {}: {}{}",
            warning.code,
            warning.message,
            match warning.remedy.as_str() {
                "" => String::new(),
                remedy => format!(". {remedy}"),
            }
        ),
        Record::CycleFinished(cycle) => format!(
            "cycle {} finished after {:.3} s: {} requests, {} failed, {} samples missed",
            cycle.cycle,
            cycle.end_ns.saturating_sub(cycle.start_ns) as f64 / 1e9,
            cycle.requests,
            cycle.failed,
            cycle.samples_missed
        ),
        Record::RunFinished(finished) => format!(
            "run {}{}",
            finished.status.as_str(),
            match &finished.reason {
                Some(reason) => format!(": {reason}"),
                None => String::new(),
            }
        ),
        _ => return None,
    };
    Some(short(&text, 2000))
}
