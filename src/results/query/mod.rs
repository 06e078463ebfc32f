//! Questions to a folder of runs: which, in what order, with which fields.

mod filter;

use std::cmp::Ordering;
use std::io;

use serde_json::Value;

pub use filter::{Filter, plain};

use super::fields::{Known, left_out};
use super::index::{self, Index};

/// What is asked, as it was written.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub filters: Vec<String>,
    /// `field`, `field:desc`.
    pub sort: Vec<String>,
    pub columns: Vec<String>,
    pub limit: Option<usize>,
}

/// A run that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// Below the index's folder.
    pub path: String,
    /// One a column.
    pub values: Vec<Value>,
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// As they were asked for.
    pub columns: Vec<String>,
    pub hits: Vec<Hit>,
    /// Runs that met the conditions, also those beyond the limit.
    pub matched: usize,
    /// All runs of the folder.
    pub runs: usize,
    /// Runs that could not be read.
    pub unreadable: usize,
    /// What to say of the names that were written.
    pub notes: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("{0}")]
    Wrong(String),
    #[error("the index cannot be read: {0}. Remove {file} from the folder of runs, and try again", file = index::FILE)]
    Io(#[from] io::Error),
}

struct Sorting {
    column: usize,
    down: bool,
}

/// Answers from the index; fields that it leaves out are read from the results, of those
/// runs only that meet all other conditions.
pub fn ask(index: &mut Index, query: &Query) -> Result<Answer, QueryError> {
    let known = Known::seen(index.keys.iter().cloned());
    let mut notes = Vec::new();
    let mut paths: Vec<String> = Vec::new();
    let mut place = |name: &str, compares: bool| -> Result<usize, QueryError> {
        let found = known.resolve(name).map_err(QueryError::Wrong)?;
        if let Some(why) = found.differs(name).filter(|_| compares) {
            return Err(QueryError::Wrong(why));
        }
        if let Some(note) = found.note.filter(|note| !notes.contains(note)) {
            notes.push(note);
        }
        if let Some(at) = paths.iter().position(|p| *p == found.path) {
            return Ok(at);
        }
        paths.push(found.path);
        Ok(paths.len() - 1)
    };
    let columns: Vec<usize> = query
        .columns
        .iter()
        .map(|name| place(name, false))
        .collect::<Result<_, _>>()?;
    let mut filters = Vec::new();
    for text in &query.filters {
        let filter = Filter::parse(text).map_err(QueryError::Wrong)?;
        filters.push((place(&filter.field, true)?, filter));
    }
    let mut sorting = Vec::new();
    for text in &query.sort {
        let (name, down) = match text.rsplit_once(':') {
            Some((name, "desc")) => (name, true),
            Some((name, "asc")) => (name, false),
            _ => (text.as_str(), false),
        };
        sorting.push(Sorting {
            column: place(name, false)?,
            down,
        });
    }
    let problem = place("problem", false)?;
    let elsewhere: Vec<bool> = paths.iter().map(|path| left_out(path)).collect();
    let folder = paths.iter().position(|path| path == "folder");
    let root = index.root.clone();
    let runs = index.runs;
    let (mut hits, mut unreadable) = (Vec::new(), 0);
    index.rows(&paths, &mut |mut row| {
        if let Some(slot) = folder.and_then(|at| row.values.get_mut(at)) {
            *slot = Value::String(row.path.clone());
        }
        unreadable += usize::from(row.values.get(problem).is_some_and(|v| !v.is_null()));
        let value = |values: &[Value], at: usize| values.get(at).cloned().unwrap_or_default();
        let known_here = |values: &[Value], at: usize| {
            !elsewhere.get(at).is_some_and(|e| *e) && !value(values, at).is_object()
        };
        let early = filters
            .iter()
            .filter(|(at, _)| known_here(&row.values, *at));
        if !early
            .into_iter()
            .all(|(at, filter)| filter.meets(&value(&row.values, *at)))
        {
            return;
        }
        if (0..paths.len()).any(|at| !known_here(&row.values, at)) {
            let all = index::fields(&root.join(&row.path), false).all;
            for (path, found) in all {
                let at = paths.iter().position(|p| *p == path);
                if let Some(slot) = at.and_then(|at| row.values.get_mut(at)) {
                    *slot = found;
                }
            }
            // Objects stand only where the index had no room.
            row.values
                .iter_mut()
                .filter(|v| v.is_object())
                .for_each(|v| *v = Value::Null);
        }
        if filters
            .iter()
            .all(|(at, filter)| filter.meets(&value(&row.values, *at)))
        {
            hits.push(row);
        }
    })?;
    hits.sort_by(|a, b| {
        let by = sorting.iter().map(|sorting| {
            let of = |row: &index::Row| row.values.get(sorting.column).cloned().unwrap_or_default();
            order(&of(a), &of(b), sorting.down)
        });
        by.into_iter()
            .find(|o| o.is_ne())
            .unwrap_or_else(|| a.path.cmp(&b.path))
    });
    let matched = hits.len();
    hits.truncate(query.limit.unwrap_or(usize::MAX));
    let pick = |row: index::Row| Hit {
        values: columns
            .iter()
            .map(|at| row.values.get(*at).cloned().unwrap_or_default())
            .collect(),
        path: row.path,
    };
    Ok(Answer {
        columns: query.columns.clone(),
        hits: hits.into_iter().map(pick).collect(),
        matched,
        runs,
        unreadable,
        notes,
    })
}

/// What is absent comes last, whichever way it is sorted; numbers before words.
fn order(a: &Value, b: &Value, down: bool) -> Ordering {
    let turned = |order: Ordering| if down { order.reverse() } else { order };
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => turned(a.total_cmp(&b)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => turned(plain(a).cmp(&plain(b))),
        },
    }
}
