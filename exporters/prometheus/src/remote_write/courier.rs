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
    /// The batch's first record, and its settled atoms.
    batch: Option<(u64, BTreeMap<(u64, u32), Settled>)>,
    /// No record up to this one is sent for the first time.
    attempted: Option<u64>,
    /// The receiver took something that it would have refused, had it held it already:
    /// it holds nothing of what comes after.
    is_new: bool,
}

#[derive(Clone, Debug)]
enum Settled {
    Stored(usize),
    /// By an earlier attempt, of this process or another.
    ThereBefore(usize),
    Rejected(String),
}

#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub stored: u64,
    pub there_before: u64,
    pub rejected: Vec<Rejected>,
}

impl Courier {
    /// Sends every atom that is not settled yet. After an error the same call goes on
    /// where it stopped.
    pub async fn deliver(
        &mut self,
        sender: &mut Sender,
        first: u64,
        atoms: &[Atom],
        max_samples: usize,
    ) -> Result<Delivered, ExportError> {
        let mut settled = match self.batch.take() {
            Some((n, settled)) if n == first => settled,
            _ => BTreeMap::new(),
        };
        let again = |atom: &Atom| self.attempted.is_some_and(|last| atom.n <= last);
        let left: Vec<(bool, &Atom)> = atoms
            .iter()
            .filter(|atom| !settled.contains_key(&atom.key()))
            .map(|atom| (again(atom), atom))
            .collect();
        // kept here, as this call may be cancelled at any await
        self.batch = Some((first, std::mem::take(&mut settled)));
        let mut rest = left.as_slice();
        while !rest.is_empty() {
            let (group, more) = rest.split_at(group(rest, max_samples));
            self.settle(sender, group).await?;
            rest = more;
        }
        let (_, settled) = self.batch.take().unwrap_or_default();
        Ok(summed(settled))
    }

    async fn settle(
        &mut self,
        sender: &mut Sender,
        mut group: &[(bool, &Atom)],
    ) -> Result<(), ExportError> {
        let mut width = group.len();
        while let Some((first, _)) = group.split_first() {
            width = width.clamp(1, group.len());
            let (now, later) = group.split_at(width);
            let atoms: Vec<&Atom> = now.iter().map(|(_, atom)| *atom).collect();
            let last = now.iter().map(|(_, atom)| atom.n).max();
            self.attempted = self.attempted.max(last);
            let verdict = sender.post(&atoms).await?;
            let outcome = match verdict {
                Verdict::Stored => {
                    self.is_new |= atoms.iter().any(|atom| atom.proves_newness());
                    for atom in &atoms {
                        self.set(atom, Settled::Stored(atom.len()));
                    }
                    (width, group) = (width.saturating_mul(2), later);
                    continue;
                }
                Verdict::TooLarge if now.len() > 1 => {
                    width = now.len() / 2;
                    continue;
                }
                _ if now.len() > 1 => {
                    width = 1;
                    continue;
                }
                Verdict::OutOfOrder(said) => {
                    let (again, atom) = first;
                    match *again || !self.is_new {
                        true => Settled::ThereBefore(atom.len()),
                        false => rejected(atom, &said, ANOTHER),
                    }
                }
                Verdict::TooOld(said) => rejected(first.1, &said, WINDOW),
                Verdict::TooLarge => rejected(first.1, "it is too large", SIZE),
                Verdict::Refused(said) => {
                    rejected(first.1, &said, "the receiver refuses this for good")
                }
                // told as errors by the sender
                Verdict::OtherVersion | Verdict::ByStatus => return Ok(()),
            };
            self.set(first.1, outcome);
            group = later;
        }
        Ok(())
    }

    fn set(&mut self, atom: &Atom, to: Settled) {
        if let Some((_, settled)) = &mut self.batch {
            settled.insert(atom.key(), to);
        }
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

fn rejected(atom: &Atom, said: &str, remedy: &str) -> Settled {
    let first = atom.rows.first().map_or("", Row::name);
    let more = match atom.rows.len() {
        0 | 1 => String::new(),
        rows => format!(" and {} more series", rows - 1),
    };
    let samples = atom.len();
    Settled::Rejected(format!(
        "{first}{more}: {samples} samples were not stored ({said}); {remedy}"
    ))
}

fn summed(settled: BTreeMap<(u64, u32), Settled>) -> Delivered {
    let mut delivered = Delivered::default();
    for ((n, _), settled) in settled {
        match settled {
            Settled::Stored(samples) => delivered.stored += samples as u64,
            Settled::ThereBefore(samples) => delivered.there_before += samples as u64,
            Settled::Rejected(reason) => delivered.rejected.push(Rejected { n, reason }),
        }
    }
    delivered
}
