use std::sync::Arc;

use lem_record::{Envelope, Table};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::text::{self, clean, word};
use super::{Item, Plan, Scope};
use crate::limits;

/// A table as a file of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFile {
    pub n: u64,
    /// Of the history and the summary: `tables/cycles`.
    pub key: String,
    /// Among the run's files.
    pub path: String,
    pub bytes: Vec<u8>,
    /// Lower-case hexadecimal.
    pub sha256: String,
    pub columns: usize,
    pub rows: usize,
}

impl TableFile {
    fn new(n: u64, step: u64, table: &Table) -> Self {
        let rows = table.rows.iter().take(limits::TABLE_ROWS);
        let rows: Vec<Value> = rows
            .map(|row| row.iter().map(text::json).collect::<Value>())
            .collect();
        let columns: Vec<String> = table.columns.iter().map(|name| clean(name)).collect();
        let body = json!({"columns": columns, "data": rows});
        let bytes = body.to_string().into_bytes();
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let key = format!("tables/{}", word(&table.name, 64));
        let hash = sha256.get(..20).unwrap_or(&sha256);
        Self {
            n,
            path: format!("media/table/{key}_{step}_{hash}.table.json"),
            key,
            bytes,
            columns: columns.len(),
            rows: rows.len(),
            sha256,
        }
    }

    /// What the history and the summary say of it.
    pub fn reference(&self) -> Value {
        json!({
            "_type": "table-file",
            "path": self.path,
            "sha256": self.sha256,
            "size": self.bytes.len(),
            "ncols": self.columns,
            "nrows": self.rows,
        })
    }
}

pub(super) fn encode(scope: &Scope<'_>, envelope: &Envelope, table: &Table, plan: &mut Plan<'_>) {
    let n = envelope.n;
    let file = TableFile::new(n, scope.base.step + plan.state.rows, table);
    if table.rows.len() > file.rows {
        let (key, all) = (&file.key, table.rows.len());
        let why = format!("{key}: W&B shows {} of its {all} rows", file.rows);
        plan.reject(n, why);
    }
    let (key, reference) = (file.key.clone(), file.reference());
    if !plan.state.summarise(key.clone(), reference.clone()) {
        plan.reject(n, "the run has more metrics than W&B shows");
        return;
    }
    plan.items.push(Item::Table(Box::new(file)));
    let at = envelope.at;
    let runtime = scope.runtime_s(at.mono_ns).max(0.0);
    let times = (at.unix_ns as f64 / 1e9, runtime);
    plan.row(scope, n, times, vec![(Arc::from(key), reference)]);
}
