//! From records to what is to be sent. Pure: the same records and the same state give
//! the same atoms, so that what is sent again is the same, sample for sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use lem_record::{Envelope, Record, Rejected, RunContext};

use super::atom::{Atom, Labels, Row, split};
use super::state::{MOST_OPEN, State};
use crate::encode::{self, Series};
use crate::points::{self, MOST_AHEAD};

/// As Prometheus ends a series: a NaN of its own.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

const NAME: &str = "__name__";

/// What one batch of records means to a receiver.
#[derive(Debug, Default)]
pub struct Plan {
    pub atoms: Vec<Atom>,
    pub rejected: Vec<Rejected>,
    /// What the next batch is to be encoded with.
    pub state: State,
}

/// `now_ms` is the wall clock's time: a sample that is later is not believed.
pub fn encode(run: &RunContext, state: &State, batch: &[Arc<Envelope>], now_ms: i64) -> Plan {
    let mut plan = Plan {
        state: state.clone(),
        ..Plan::default()
    };
    let latest = now_ms.saturating_add(MOST_AHEAD);
    for envelope in batch {
        plan.add(run, envelope, latest);
        plan.state.next = envelope.n + 1;
    }
    plan
}

impl Plan {
    fn add(&mut self, run: &RunContext, envelope: &Envelope, latest: i64) {
        let n = envelope.n;
        let encoded = encode::record(run, envelope);
        let mut rejected = encoded.rejected;
        let mut rows = Vec::new();
        let is_metric = matches!(&envelope.record, Record::Metric(_));
        for series in &encoded.series {
            let ahead = series.points.iter().filter(|point| point.unix_ms > latest);
            let ahead = ahead.count();
            if ahead > 0 {
                let name = &series.family.name;
                rejected.push(format!("{name}: {ahead} points lie in the future"));
            }
            let all = rows_of(series, latest).into_iter();
            rows.extend(match is_metric {
                true => all.filter_map(|row| self.only(row)).collect::<Vec<_>>(),
                false => all.filter_map(|row| self.more(row, run)).collect(),
            });
        }
        if matches!(envelope.record, Record::RunFinished(_)) {
            let open = std::mem::take(&mut self.state.open);
            rows.extend(
                open.into_iter()
                    .filter_map(|(key, last)| end(&key, last, run)),
            );
        }
        let reasons = rejected.into_iter();
        self.rejected
            .extend(reasons.map(|reason| Rejected { n, reason }));
        self.atoms.extend(split(n, rows));
    }

    /// A metric's point is the only one of its series, which ends with it.
    fn only(&mut self, mut row: Row) -> Option<Row> {
        let (last, _) = *row.points.last()?;
        row.points
            .push((last.saturating_add(1), f64::from_bits(STALE)));
        self.state.newest = self.state.newest.max(last);
        Some(row)
    }

    /// Of a series that goes on.
    fn more(&mut self, mut row: Row, run: &RunContext) -> Option<Row> {
        let key = key(&row.labels, run);
        let mut last = self.state.open.get(&key).copied();
        row.points.retain(|(ms, _)| {
            let later = points::is_later(last, *ms);
            if later {
                last = Some(*ms);
            }
            later
        });
        let (last, _) = *row.points.last()?;
        self.state.newest = self.state.newest.max(last);
        if self.state.open.len() < MOST_OPEN || self.state.open.contains_key(&key) {
            self.state.open.insert(key, last);
        }
        Some(row)
    }
}

/// One of a number, several of a histogram.
fn rows_of(series: &Series, latest: i64) -> Vec<Row> {
    let mut rows: BTreeMap<(usize, &str, Option<String>), Row> = BTreeMap::new();
    for point in series.points.iter().filter(|point| point.unix_ms <= latest) {
        for (place, sample) in point.value.samples().into_iter().enumerate() {
            let row = rows
                .entry((place, sample.suffix, sample.le.clone()))
                .or_insert_with(|| Row {
                    family: Some(Arc::clone(&series.family)),
                    labels: labels_of(series, sample.suffix, sample.le),
                    points: Vec::with_capacity(series.points.len()),
                });
            row.points.push((point.unix_ms, sample.value));
        }
    }
    rows.into_values().collect()
}

fn labels_of(series: &Series, suffix: &str, le: Option<String>) -> Labels {
    let mut labels = series.labels.clone();
    labels.push((NAME.to_owned(), format!("{}{suffix}", series.family.name)));
    labels.extend(le.map(|le| ("le".to_owned(), le)));
    labels.sort_unstable();
    labels.into()
}

/// A series by its labels, without those that all series of the run share.
fn key(labels: &Labels, run: &RunContext) -> String {
    let common = common(run);
    let own: Vec<_> = labels
        .iter()
        .filter(|label| !common.contains(label))
        .collect();
    serde_json::to_string(&own).unwrap_or_default()
}

/// The end of a series, a millisecond after its last sample.
fn end(key: &str, last: i64, run: &RunContext) -> Option<Row> {
    // a key that cannot be read is of a state that somebody edited
    let mut labels: Vec<(String, String)> = serde_json::from_str(key).ok()?;
    labels.extend(common(run));
    labels.sort_unstable();
    Some(Row {
        family: None,
        labels: labels.into(),
        points: vec![(last.saturating_add(1), f64::from_bits(STALE))],
    })
}

fn common(run: &RunContext) -> Vec<(String, String)> {
    encode::labels(&BTreeMap::new(), &run.run_id)
}
