use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::Arc;

use lem_record::{Envelope, Record};

use super::policy::Policy;
use crate::cursor::Cursor;
use crate::log::LogReader;
use crate::thin::{Thinned, thin};

/// Consecutive records of the log, as a sink gets them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What is sent: without the samples that are thinned away.
    pub(super) envelopes: Vec<Arc<Envelope>>,
    /// Every record that was read for it.
    steps: Vec<Step>,
    /// It was sent before.
    pub(super) sent: bool,
}

/// What a cursor moves by with a record.
#[derive(Debug)]
struct Step {
    n: u64,
    end: u64,
    samples: Option<(String, u64)>,
}

impl Batch {
    /// Reads the records that follow those of the cursor. Empty at the log's end.
    pub(super) fn read<R: BufRead>(
        reader: &mut LogReader<R>,
        cursor: &Cursor,
        policy: &Policy,
    ) -> io::Result<Self> {
        let mut batch = Self::default();
        let mut seen: BTreeMap<String, u64> = cursor.samples.clone();
        let mut bytes = 0;
        while batch.steps.len() < policy.batch_records.max(1) && bytes < policy.batch_bytes {
            let Some(entry) = reader.next_entry()? else {
                break;
            };
            bytes += entry.end - entry.start;
            let mut envelope = entry.envelope;
            let mut step = Step {
                n: envelope.n,
                end: entry.end,
                samples: None,
            };
            if let Record::Samples(samples) = &envelope.record {
                let count = samples.t_ns.len() as u64;
                let before = seen.entry(samples.source.clone()).or_default();
                let thinned = thin(samples, *before);
                *before = before.saturating_add(count);
                step.samples = Some((samples.source.clone(), count));
                match thinned {
                    Thinned::Whole => {}
                    Thinned::Some(samples) => envelope.record = Record::Samples(samples),
                    Thinned::Nothing => {
                        batch.steps.push(step);
                        continue;
                    }
                }
            }
            batch.steps.push(step);
            batch.envelopes.push(Arc::new(envelope));
        }
        Ok(batch)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Moves the cursor past the records up to `through`, and forgets them.
    /// Whether it moved at all.
    pub(super) fn deliver(&mut self, through: u64, cursor: &mut Cursor) -> bool {
        // records that nothing was left of go with the last one that was sent
        let all = self.envelopes.last().is_none_or(|last| last.n <= through);
        let done = self
            .steps
            .iter()
            .take_while(|step| all || step.n <= through)
            .count();
        for step in self.steps.drain(..done) {
            cursor.next = step.n + 1;
            cursor.offset = step.end;
            if let Some((source, count)) = step.samples {
                let seen = cursor.samples.entry(source).or_default();
                *seen = seen.saturating_add(count);
            }
        }
        self.envelopes.retain(|envelope| envelope.n >= cursor.next);
        self.sent = self.sent && done == 0;
        done > 0
    }
}
