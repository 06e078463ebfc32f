//! Where rows wait for the end of a window: columns of one slot's sources.

use std::sync::Arc;

use lem_record::{Board, Column, How, Live, Samples};

use super::stats::{MissedReason, SourceMissed};
use crate::meter::{SampleSink, Source};

/// Distinct reasons kept for one source; the rest are counted together.
const MAX_REASONS: usize = 8;

/// The rows of one call to a meter, before they are committed. Reused at each tick.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// Source, time and the end of the row's values in `values`.
    rows: Vec<(usize, u64, usize)>,
    values: Vec<Option<f64>>,
    missed: Vec<(usize, String)>,
}

impl Staging {
    pub fn with_capacity() -> Self {
        Self {
            rows: Vec::with_capacity(256),
            values: Vec::with_capacity(4096),
            missed: Vec::new(),
        }
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.values.clear();
        self.missed.clear();
    }
}

impl SampleSink for Staging {
    fn row(&mut self, source: usize, t_ns: u64, values: &[Option<f64>]) {
        // A number that is not finite is no reading, and JSON could not carry it.
        let finite = |value: &Option<f64>| value.filter(|v| v.is_finite());
        self.values.extend(values.iter().map(finite));
        self.rows.push((source, t_ns, self.values.len()));
    }

    fn missed(&mut self, source: usize, why: &str) {
        self.missed.push((source, why.to_owned()));
    }
}

#[derive(Debug)]
pub(super) struct Buffers {
    rows_expected: usize,
    sources: Vec<Buffer>,
}

#[derive(Debug)]
struct Buffer {
    id: String,
    columns: Vec<Column>,
    /// One a column, or none.
    live: Vec<Arc<Live>>,
    t_ns: Vec<u64>,
    missed: u64,
    reasons: Vec<MissedReason>,
}

impl Buffers {
    pub fn new(sources: &[Source], rows_expected: usize) -> Self {
        let column = |source: &Source, how: Option<How>, metric: &str| Column {
            metric: metric.to_owned(),
            attributes: Default::default(),
            how: how.unwrap_or(source.how),
            values: Vec::with_capacity(rows_expected),
        };
        let buffer = |source: &Source| Buffer {
            id: source.id.clone(),
            columns: source
                .columns
                .iter()
                .map(|c| Column {
                    attributes: c.attributes.clone(),
                    ..column(source, c.how, &c.metric)
                })
                .collect(),
            live: Vec::new(),
            t_ns: Vec::with_capacity(rows_expected),
            missed: 0,
            reasons: Vec::new(),
        };
        Self {
            rows_expected,
            sources: sources.iter().map(buffer).collect(),
        }
    }

    pub fn show(&mut self, board: &Board) {
        for buffer in &mut self.sources {
            let live = |c: &Column| board.series(&c.metric, &c.attributes, c.how);
            buffer.live = buffer.columns.iter().map(live).collect();
        }
    }

    /// The window is over: what was read last is not true any more.
    pub fn show_nothing(&self) {
        let live = self.sources.iter().flat_map(|buffer| &buffer.live);
        live.for_each(|live| live.clear());
    }

    pub fn clear(&mut self) {
        for buffer in &mut self.sources {
            buffer.t_ns.clear();
            for column in &mut buffer.columns {
                column.values.clear();
            }
            buffer.missed = 0;
            buffer.reasons.clear();
        }
    }

    /// Takes in what a meter said in one call.
    pub fn absorb(&mut self, staging: &mut Staging) {
        let mut start = 0;
        for &(source, t_ns, end) in &staging.rows {
            let values = staging.values.get(start..end).unwrap_or_default();
            start = end;
            if let Some(buffer) = self.sources.get_mut(source) {
                buffer.push(t_ns, values);
            }
        }
        for (source, why) in &staging.missed {
            if let Some(buffer) = self.sources.get_mut(*source) {
                buffer.miss(why);
            }
        }
        staging.clear();
    }

    /// Each of the meter's sources missed one sample.
    pub fn miss_all(&mut self, why: &str) {
        for buffer in &mut self.sources {
            buffer.miss(why);
        }
    }

    /// Moves the rows out; the buffers start again, as large as before.
    pub fn take(&mut self) -> (Vec<Samples>, Vec<SourceMissed>) {
        let rows = self.rows_expected;
        let mut samples = Vec::new();
        let mut missed = Vec::new();
        for buffer in &mut self.sources {
            if buffer.missed > 0 {
                missed.push(SourceMissed {
                    source: buffer.id.clone(),
                    count: std::mem::take(&mut buffer.missed),
                    reasons: std::mem::take(&mut buffer.reasons),
                });
            }
            if !buffer.t_ns.is_empty() {
                samples.push(buffer.take(rows));
            }
        }
        (samples, missed)
    }
}

impl Buffer {
    fn push(&mut self, t_ns: u64, values: &[Option<f64>]) {
        if values.len() != self.columns.len() {
            self.miss("the meter gave a row of the wrong length");
            return;
        }
        self.t_ns.push(t_ns);
        for (column, value) in self.columns.iter_mut().zip(values) {
            column.values.push(*value);
        }
        for (live, value) in self.live.iter().zip(values) {
            match value {
                Some(value) => live.set(*value, t_ns),
                None => live.clear(),
            }
        }
    }

    fn miss(&mut self, why: &str) {
        self.missed += 1;
        let full = self.reasons.len() >= MAX_REASONS;
        if let Some(known) = self.reasons.iter_mut().find(|r| r.why == why) {
            known.count += 1;
        } else if !full {
            self.reasons.push(MissedReason {
                why: why.to_owned(),
                count: 1,
            });
        } else if let Some(last) = self.reasons.last_mut() {
            if last.why != "other reasons" {
                last.why = "other reasons".to_owned();
            }
            last.count += 1;
        }
    }

    fn take(&mut self, rows: usize) -> Samples {
        let mut samples = Samples {
            source: self.id.clone(),
            t_ns: std::mem::replace(&mut self.t_ns, Vec::with_capacity(rows)),
            columns: Vec::with_capacity(self.columns.len()),
        };
        for column in &mut self.columns {
            samples.columns.push(Column {
                metric: column.metric.clone(),
                attributes: column.attributes.clone(),
                how: column.how,
                values: std::mem::replace(&mut column.values, Vec::with_capacity(rows)),
            });
        }
        sort_by_time(&mut samples);
        samples
    }
}

/// Sensors that keep their own samples tell them after rows that are later.
fn sort_by_time(samples: &mut Samples) {
    if samples.t_ns.is_sorted() {
        return;
    }
    let mut order: Vec<usize> = (0..samples.t_ns.len()).collect();
    let time = |i: &usize| samples.t_ns.get(*i).copied().unwrap_or(u64::MAX);
    order.sort_by_key(time);
    samples.t_ns = order.iter().map(time).collect();
    for column in &mut samples.columns {
        column.values = order
            .iter()
            .map(|&i| column.values.get(i).copied().flatten())
            .collect();
    }
}
