//! Times that contradict one another: what was put in, or put elsewhere.

use lem_delivery::RECORDS_FILE;
use lem_record::{Envelope, Record};

use super::Check;
use super::log::Read;

/// A record tells of the past; sensors that keep their own samples may be a little off.
const AHEAD_NS: u64 = 1_000_000_000;
/// A wall clock that is corrected by less in one go was not set.
const STEP_NS: i128 = 100_000_000;
/// More contradictions say nothing new.
const MAX: usize = 100;

/// Gathered while the log is read.
#[derive(Debug, Default)]
pub struct Times {
    last_mono_ns: u64,
    pairs: Vec<(u64, i64)>,
    /// The analysis may be written by another process, after another boot.
    measured: bool,
    found: Vec<String>,
}

impl Times {
    pub fn push(&mut self, envelope: &Envelope) {
        let n = envelope.n;
        let now = envelope.at.mono_ns;
        if matches!(envelope.record, Record::Metric(_)) {
            self.measured = true;
        }
        if self.measured {
            return;
        }
        if now < self.last_mono_ns {
            self.tell(format!(
                "{RECORDS_FILE} record {n} was made {:.6} s before the record that stands before it",
                (self.last_mono_ns - now) as f64 / 1e9
            ));
        }
        self.last_mono_ns = self.last_mono_ns.max(now);
        let latest = match &envelope.record {
            Record::Samples(samples) => samples.t_ns.iter().max().copied(),
            Record::Span(span) => Some(span.end_ns),
            Record::CycleFinished(cycle) => Some(cycle.end_ns),
            Record::Clock(pairs) => {
                self.pairs.extend(&pairs.pairs);
                pairs.pairs.iter().map(|(mono, _)| *mono).max()
            }
            _ => None,
        };
        if latest.is_some_and(|latest| latest > now.saturating_add(AHEAD_NS)) {
            let kind = envelope.record.kind();
            self.tell(format!(
                "{RECORDS_FILE} record {n} ({kind}) tells of times after it was made"
            ));
        }
    }

    fn tell(&mut self, what: String) {
        if self.found.len() < MAX {
            self.found.push(what);
        }
    }
}

pub fn check(read: &Read) -> Check {
    const NAME: &str = "clock";
    let times = &read.times;
    if !times.found.is_empty() {
        return Check::failed(NAME, "times contradict one another", times.found.clone());
    }
    let mut pairs = times.pairs.clone();
    pairs.sort_unstable();
    let offset = |(mono, unix): &(u64, i64)| i128::from(*unix) - i128::from(*mono);
    let steps: Vec<String> = pairs
        .windows(2)
        .filter_map(|pair| {
            let step = offset(&pair[1]) - offset(&pair[0]);
            (step.abs() > STEP_NS).then(|| {
                format!(
                    "the wall clock was set by {:.3} s during the run",
                    step as f64 / 1e9
                )
            })
        })
        .collect();
    match (pairs.len(), steps.is_empty()) {
        (0, _) => Check::skipped(NAME, "the log has no pairs of both clocks"),
        (n, true) => Check::passed(
            NAME,
            format!("{n} pairs of both clocks agree, and times rise with the records"),
        ),
        (n, false) => Check::noted(
            NAME,
            format!("{n} pairs of both clocks; times rise with the records"),
            steps,
        ),
    }
}
