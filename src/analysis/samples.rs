//! The samples of one source, all batches joined.

use lem_record::{Attributes, How, Samples};

/// Missing values are NaN here: half the memory of an `Option<f64>`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSamples {
    /// Catalogue id.
    pub metric: String,
    pub attributes: Attributes,
    pub how: How,
    pub values: Vec<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceSamples {
    /// CLOCK_MONOTONIC, in order once sorted.
    pub t_ns: Vec<u64>,
    pub columns: Vec<ColumnSamples>,
}

impl SourceSamples {
    /// Appends a batch; gives how many columns are new. Values that are no finite
    /// numbers count as missing.
    pub(super) fn append(&mut self, batch: &Samples) -> usize {
        let before = self.t_ns.len();
        let mut new = 0;
        self.t_ns.extend(&batch.t_ns);
        for column in &batch.columns {
            let known = self
                .columns
                .iter()
                .position(|c| c.metric == column.metric && c.attributes == column.attributes);
            let index = known.unwrap_or_else(|| {
                new += 1;
                self.columns.push(ColumnSamples {
                    metric: column.metric.clone(),
                    attributes: column.attributes.clone(),
                    how: column.how,
                    values: vec![f64::NAN; before],
                });
                self.columns.len() - 1
            });
            let Some(kept) = self.columns.get_mut(index) else {
                continue;
            };
            // Twice the same column in one batch: the first counts.
            if kept.values.len() <= before {
                kept.values.resize(before, f64::NAN);
                let finite = |v: &Option<f64>| v.filter(|v| v.is_finite()).unwrap_or(f64::NAN);
                kept.values.extend(column.values.iter().map(finite));
            }
        }
        for column in &mut self.columns {
            column.values.resize(self.t_ns.len(), f64::NAN);
        }
        new
    }

    /// Brings the rows in order of time; a sensor's own samples may come late.
    pub(super) fn sort(&mut self) {
        if self.t_ns.is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..self.t_ns.len()).collect();
        order.sort_by_key(|i| self.t_ns.get(*i));
        let pick = |from: &[f64]| order.iter().filter_map(|i| from.get(*i).copied()).collect();
        for column in &mut self.columns {
            column.values = pick(&column.values);
        }
        self.t_ns.sort_unstable();
    }

    pub fn column(&self, metric: &str) -> Option<&ColumnSamples> {
        self.columns.iter().find(|c| c.metric == metric)
    }

    /// The times and values of a column, without the missing ones; of several values at
    /// one time the last.
    pub fn points(&self, metric: &str) -> (Vec<u64>, Vec<f64>) {
        match self.column(metric) {
            Some(column) => self.points_of(column),
            None => (Vec::new(), Vec::new()),
        }
    }

    /// As [`Self::points`], of a column of this source.
    pub fn points_of(&self, column: &ColumnSamples) -> (Vec<u64>, Vec<f64>) {
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for (t, v) in self.t_ns.iter().zip(&column.values) {
            if !v.is_finite() {
                continue;
            }
            if times.last() == Some(t) {
                values.pop();
                times.pop();
            }
            times.push(*t);
            values.push(*v);
        }
        (times, values)
    }

    /// The rows from the first at or after `start_ns` to the last at or before `end_ns`.
    pub fn rows(&self, start_ns: u64, end_ns: u64) -> std::ops::Range<usize> {
        let from = self.t_ns.partition_point(|t| *t < start_ns);
        let to = self.t_ns.partition_point(|t| *t <= end_ns);
        from..to.max(from)
    }
}
