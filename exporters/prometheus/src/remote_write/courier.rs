//! A batch's way into the receiver: in groups where it takes them, one by one where
//! something in a group is refused.
//!
//! Prometheus stores a request wholly or not at all, so a group with one old sample is
//! refused with all its new ones. Whatever was stored of a run is a beginning of its
//! log: atoms are sent in the log's order, and each is the same, whatever the batches.

use std::collections::{BTreeMap, HashMap};

use lem_record::{ExportError, Rejected};

use super::atom::{Atom, Labels, Row};
use super::sender::Sender;
use super::verdict::Verdict;

const WINDOW: &str = "Prometheus takes samples of ended runs with `storage.tsdb.out_of_order_time_window` in its configuration, for example 30d; or export to openmetrics and use promtool";
const ANOTHER: &str = "another source, such as a scrape of the same run, wrote these series: send them by one way only, or set `storage.tsdb.out_of_order_time_window`";
const SIZE: &str = "raise the receiver's limit on the size of a request";

/// What has become of the batch that is under way, and what is known of the receiver.
#[derive(Debug, Default)]
pub(super) struct Courier {
    batch: Batch,
    /// No record up to this one is sent for the first time.
    attempted: Option<u64>,
    /// The receiver took something that it would have refused, had it held it already:
    /// it holds nothing of what comes after.
    is_new: bool,
}

#[derive(Debug, Default)]
struct Batch {
    /// Its first record.
    first: u64,
    /// Its atoms that need not be sent again.
    settled: BTreeMap<(u64, u32), Settled>,
}

/// What came of an atom.
#[derive(Clone, Debug, Default)]
struct Settled {
    /// Samples.
    stored: usize,
    /// Samples that an earlier attempt stored, of this process or another.
    there_before: usize,
    rejected: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub stored: u64,
    pub there_before: u64,
    pub rejected: Vec<Rejected>,
}

impl Courier {
    /// Sends every atom that is not settled yet. After an error, or where the call was
    /// cancelled, the same call goes on where it stopped.
    pub async fn deliver(
        &mut self,
        sender: &mut Sender,
        first: u64,
        atoms: &[Atom],
        max_samples: usize,
    ) -> Result<Delivered, ExportError> {
        if self.batch.first != first {
            self.batch = Batch {
                first,
                ..Batch::default()
            };
        }
        let again = |atom: &Atom| self.attempted.is_some_and(|last| atom.n <= last);
        let left: Vec<(bool, &Atom)> = atoms
            .iter()
            .filter(|atom| !self.batch.settled.contains_key(&atom.key()))
            .map(|atom| (again(atom), atom))
            .collect();
        let mut rest = left.as_slice();
        while !rest.is_empty() {
            let (group, more) = rest.split_at(group(rest, max_samples));
            self.settle(sender, group).await?;
            rest = more;
        }
        Ok(summed(std::mem::take(&mut self.batch.settled)))
    }

    async fn settle(
        &mut self,
        sender: &mut Sender,
        mut group: &[(bool, &Atom)],
    ) -> Result<(), ExportError> {
        let mut width = group.len();
        while let Some(((again, alone), _)) = group.split_first() {
            width = width.clamp(1, group.len());
            let (now, later) = group.split_at(width);
            if now.len() == 1 {
                let settled = self.alone(sender, *again, alone).await?;
                width = if settled.stored > 0 { 2 } else { 1 };
                self.batch.settled.insert(alone.key(), settled);
                group = later;
                continue;
            }
            let atoms: Vec<&Atom> = now.iter().map(|(_, atom)| *atom).collect();
            match self.post(sender, &atoms).await? {
                Verdict::Stored => {
                    for atom in atoms {
                        let stored = Settled {
                            stored: atom.len(),
                            ..Settled::default()
                        };
                        self.batch.settled.insert(atom.key(), stored);
                    }
                    (width, group) = (width.saturating_mul(2), later);
                }
                Verdict::TooLarge => width = now.len() / 2,
                _ => width = 1,
            }
        }
        Ok(())
    }

    /// Of one atom, in pieces where it is too large.
    async fn alone(
        &mut self,
        sender: &mut Sender,
        again: bool,
        atom: &Atom,
    ) -> Result<Settled, ExportError> {
        let mut settled = Settled::default();
        let mut pieces = vec![atom.clone()];
        while let Some(piece) = pieces.pop() {
            let refusal = match self.post(sender, &[&piece]).await? {
                Verdict::Stored => {
                    settled.stored += piece.len();
                    continue;
                }
                Verdict::OutOfOrder(_) if again || !self.is_new => {
                    settled.there_before += piece.len();
                    continue;
                }
                Verdict::TooLarge => match piece.smaller() {
                    Some(smaller) => {
                        pieces.extend(smaller.into_iter().rev());
                        continue;
                    }
                    None => ("it is too large".to_owned(), SIZE),
                },
                Verdict::OutOfOrder(said) => (said, ANOTHER),
                Verdict::TooOld(said) => (said, WINDOW),
                Verdict::Refused(said) => (said, "the receiver refuses this for good"),
                // the sender tells both as errors
                Verdict::OtherVersion | Verdict::ByStatus => continue,
            };
            settled
                .rejected
                .get_or_insert_with(|| rejected(&piece, &refusal.0, refusal.1));
        }
        Ok(settled)
    }

    async fn post(&mut self, sender: &mut Sender, atoms: &[&Atom]) -> Result<Verdict, ExportError> {
        // before it is sent: this call may be cancelled while it is under way
        let last = atoms.iter().map(|atom| atom.n).max();
        self.attempted = self.attempted.max(last);
        let verdict = sender.post(atoms).await?;
        if verdict == Verdict::Stored {
            self.is_new |= atoms.iter().any(|atom| atom.proves_newness());
        }
        Ok(verdict)
    }
}

/// How many of the atoms go into one request: until they are too many samples, or a
/// series would go back in time. A receiver drops such a sample silently within one
/// request, and says so across two.
fn group(atoms: &[(bool, &Atom)], max_samples: usize) -> usize {
    let mut samples = 0;
    let mut newest: HashMap<&Labels, i64> = HashMap::new();
    for (place, (_, atom)) in atoms.iter().enumerate() {
        samples += atom.len();
        let back = atom.rows.iter().any(|row| {
            let first = row.points.first().map(|point| point.0);
            first.is_some_and(|first| newest.get(&row.labels).is_some_and(|t| first <= *t))
        });
        if place > 0 && (back || samples > max_samples) {
            return place;
        }
        for row in &atom.rows {
            if let Some((last, _)) = row.points.last() {
                newest.insert(&row.labels, *last);
            }
        }
    }
    atoms.len()
}

fn rejected(atom: &Atom, said: &str, remedy: &str) -> String {
    let first = atom.rows.first().map_or("", Row::name);
    let more = match atom.rows.len() {
        0 | 1 => String::new(),
        rows => format!(" and {} more series", rows - 1),
    };
    let samples = atom.len();
    format!("{first}{more}: {samples} samples were not stored ({said}); {remedy}")
}

fn summed(settled: BTreeMap<(u64, u32), Settled>) -> Delivered {
    let mut delivered = Delivered::default();
    for ((n, _), settled) in settled {
        delivered.stored += settled.stored as u64;
        delivered.there_before += settled.there_before as u64;
        let reason = settled.rejected;
        delivered
            .rejected
            .extend(reason.map(|reason| Rejected { n, reason }));
    }
    delivered
}
