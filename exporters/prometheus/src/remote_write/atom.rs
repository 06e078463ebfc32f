//! What is stored wholly or not at all.

use std::sync::Arc;

use crate::encode::Family;

/// Sorted by name, `__name__` among them.
pub type Labels = Arc<[(String, String)]>;

/// Fixed: an atom must be the same in every attempt, whatever the configuration.
const ATOM_SAMPLES: usize = 2_000;

/// Samples of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// None at a series' end, where it has been told.
    pub family: Option<Arc<Family>>,
    pub labels: Labels,
    /// Unix ms and value, ever later.
    pub points: Vec<(i64, f64)>,
}

impl Row {
    pub fn name(&self) -> &str {
        let named = self.labels.iter().find(|(name, _)| name == "__name__");
        named.map_or("", |(_, value)| value)
    }
}

/// A record's samples, or a part of them: what one request holds at least.
#[derive(Clone, Debug, PartialEq)]
pub struct Atom {
    /// The record.
    pub n: u64,
    /// From 0, in the order of time.
    pub part: u32,
    pub rows: Vec<Row>,
}

impl Atom {
    /// How many samples.
    pub fn len(&self) -> usize {
        self.rows.iter().map(|row| row.points.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) const fn key(&self) -> (u64, u32) {
        (self.n, self.part)
    }

    /// For a receiver that takes small requests only: without what is said of the
    /// series, else in two. Always the same two, so that a resend is the same. Nothing
    /// where it is one sample.
    pub(super) fn smaller(&self) -> Option<Vec<Self>> {
        let with = |rows: Vec<Row>| Self { rows, ..*self };
        if self.rows.iter().any(|row| row.family.is_some()) {
            let bare = |row: &Row| Row {
                family: None,
                ..row.clone()
            };
            return Some(vec![with(self.rows.iter().map(bare).collect())]);
        }
        match self.rows.as_slice() {
            [] => None,
            [row] if row.points.len() < 2 => None,
            [row] => {
                let (first, second) = row.points.split_at(row.points.len() / 2);
                let part = |points: &[(i64, f64)]| {
                    with(vec![Row {
                        points: points.to_vec(),
                        ..row.clone()
                    }])
                };
                Some(vec![part(first), part(second)])
            }
            rows => {
                let (first, second) = rows.split_at(rows.len() / 2);
                Some(vec![with(first.to_vec()), with(second.to_vec())])
            }
        }
    }

    /// A receiver without a window refuses it where it holds it already: it takes
    /// the newest sample of a series again, but none before that.
    pub(super) fn proves_newness(&self) -> bool {
        self.rows.iter().any(|row| row.points.len() > 1)
    }
}

/// A record's rows in atoms.
pub(super) fn split(n: u64, rows: Vec<Row>) -> Vec<Atom> {
    let mut atoms = Vec::new();
    for rows in rows.chunks(ATOM_SAMPLES) {
        let most = (ATOM_SAMPLES / rows.len().max(1)).max(1);
        let longest = rows.iter().map(|row| row.points.len()).max().unwrap_or(0);
        for start in (0..longest).step_by(most) {
            let part = |row: &Row| {
                let points = row.points.iter().skip(start).take(most);
                Row {
                    points: points.copied().collect(),
                    ..row.clone()
                }
            };
            let rows = rows.iter().map(part).filter(|row| !row.points.is_empty());
            atoms.push(Atom {
                n,
                part: u32::try_from(atoms.len()).unwrap_or(u32::MAX),
                rows: rows.collect(),
            });
        }
    }
    atoms
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(name: &str, points: usize) -> Row {
        Row {
            family: None,
            labels: Arc::new([("__name__".to_owned(), name.to_owned())]),
            points: (0..points).map(|i| (i as i64, i as f64)).collect(),
        }
    }

    #[test]
    fn a_large_record_is_split_by_time_and_loses_nothing() {
        let rows = vec![row("a", 3000), row("b", 10), row("c", 2999)];
        let atoms = split(7, rows.clone());
        assert!(
            atoms
                .iter()
                .all(|atom| atom.len() <= ATOM_SAMPLES && atom.n == 7)
        );
        for row in rows {
            let all: Vec<_> = atoms
                .iter()
                .flat_map(|atom| atom.rows.iter().filter(|r| r.labels == row.labels))
                .flat_map(|row| row.points.clone())
                .collect();
            assert_eq!(all, row.points);
        }
        let keys: Vec<_> = atoms.iter().map(Atom::key).collect();
        assert!(keys.is_sorted() && keys.len() == atoms.len());
        assert!(split(7, Vec::new()).is_empty());
    }

    #[test]
    fn so_many_series_that_one_sample_each_is_too_much() {
        let rows: Vec<Row> = (0..4500).map(|i| row(&format!("s{i}"), 1)).collect();
        let atoms = split(0, rows);
        assert_eq!(
            atoms.iter().map(Atom::len).collect::<Vec<_>>(),
            [2000, 2000, 500]
        );
    }
}
