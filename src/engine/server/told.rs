//! What a cycle leaves beside its requests: the server's metrics, the client's own lag, and
//! what makes a reader doubt.

use std::collections::BTreeSet;

use lem_client::Report;
use lem_record::{Record, Table, Warning};
use serde_json::{Value, json};

use super::drive::Tally;
use super::metrics::Told;

/// The table of what a server, and the client that asked it, tell of each cycle.
pub const TABLE: &str = "engine_metrics";
pub const COLUMNS: [&str; 6] = ["cycle", "metric", "value", "how", "source", "reason"];

/// Prompts of which more than this share was in the server's cache were not all worked on.
const WARM: f64 = 0.01;
/// A client that is later than this, or than a share of the cycle, is part of what it measures.
const LAG_S: f64 = 0.005;
const STARVED: f64 = 0.05;
/// More chunks than this came together: the gaps between them were not seen.
const BUNCHED: f64 = 0.1;

/// Collected from the generations of one cycle.
#[derive(Debug, Default)]
pub struct CycleTold {
    tally: Tally,
    lag_p99_ns: Option<u64>,
    cpu_ns: u64,
    waited_ns: Option<u64>,
    ran_ns: u64,
    resent: u64,
    open_files: Option<String>,
    /// Codes that were told already: each once a run.
    warned: BTreeSet<&'static str>,
}

impl CycleTold {
    /// A new cycle; what the run was warned of stays.
    pub fn begin(&mut self) {
        *self = Self {
            warned: std::mem::take(&mut self.warned),
            ..Self::default()
        };
    }

    pub fn answered(&self) -> u64 {
        self.tally.answered
    }

    pub fn add(&mut self, tally: &Tally, report: &Report) {
        let sum = &mut self.tally;
        sum.answered += tally.answered;
        sum.failed += tally.failed;
        sum.chunks += tally.chunks;
        sum.bunched += tally.bunched;
        sum.uncounted += tally.uncounted;
        sum.input_tokens += tally.input_tokens;
        if let Some(cached) = tally.cached_tokens {
            *sum.cached_tokens.get_or_insert(0) += cached;
        }
        self.lag_p99_ns = self.lag_p99_ns.max(report.lag.p99_ns);
        self.cpu_ns += report.cpu_ns;
        if let Some(waited) = report.waited_for_core_ns {
            *self.waited_ns.get_or_insert(0) += waited;
        }
        self.ran_ns += report.end_ns.saturating_sub(report.start_ns);
        self.resent += report.resent;
        self.open_files = self
            .open_files
            .take()
            .or_else(|| report.open_files_note.clone());
    }

    /// The cycle's table and warnings. `other` is how many requests the server counted, where
    /// that is not how many were sent.
    pub fn records(&mut self, cycle: u32, told: &[Told], other: Option<u64>) -> Vec<Record> {
        let mut rows: Vec<Vec<Value>> = told
            .iter()
            .map(|told| {
                let (value, reason) = match &told.value {
                    Ok(value) => (json!(value), Value::Null),
                    Err(why) => (Value::Null, json!(why)),
                };
                vec![
                    json!(cycle),
                    json!(told.id),
                    value,
                    json!("reported"),
                    json!(told.source),
                    reason,
                ]
            })
            .collect();
        let mut own = |id: &str, value: Option<f64>, why: &str| {
            let reason = if value.is_some() {
                Value::Null
            } else {
                json!(why)
            };
            rows.push(vec![
                json!(cycle),
                json!(id),
                json!(value),
                json!("measured"),
                json!("lem-client"),
                reason,
            ]);
        };
        let seconds = |ns: u64| ns as f64 / 1e9;
        own("client.cpu", Some(seconds(self.cpu_ns)), "");
        own(
            "client.waited",
            self.waited_ns.map(seconds),
            "the kernel does not tell how long a thread waited for a core",
        );
        own("client.bunched", self.bunched(), "there was no chunk");
        let mut records = vec![Record::Table(Table {
            name: TABLE.into(),
            columns: COLUMNS.map(str::to_owned).to_vec(),
            rows,
        })];
        records.extend(self.warnings(other).into_iter().map(Record::Warning));
        records
    }

    fn bunched(&self) -> Option<f64> {
        (self.tally.chunks > 0).then(|| self.tally.bunched as f64 / self.tally.chunks as f64)
    }

    fn warnings(&mut self, other: Option<u64>) -> Vec<Warning> {
        let mut found: Vec<(&'static str, String, &'static str)> = Vec::new();
        let tally = &self.tally;
        if let Some(cached) = tally.cached_tokens
            && tally.input_tokens > 0
            && cached as f64 > WARM * tally.input_tokens as f64
        {
            found.push((
                "server.cache_warm",
                format!(
                    "{:.0} % of the prompts' tokens were in the server's cache: their prefill cost nothing",
                    100.0 * cached as f64 / tally.input_tokens as f64
                ),
                "Where that is not meant, turn the cache of prefixes off (vllm.enable_prefix_caching: false), or use more prompts that differ",
            ));
        }
        if let Some(other) = other {
            found.push((
                "server.shared",
                format!(
                    "The server counted {other} requests in a cycle, and lem was answered {}",
                    tally.answered
                ),
                "Measure a server that nobody else uses: its energy and its times hold the others' work too",
            ));
        }
        if let Some(lag) = self.lag_p99_ns.map(|ns| ns as f64 / 1e9)
            && lag > LAG_S
        {
            found.push((
                "client.lag",
                format!("One request in a hundred was sent {:.1} ms or more after it was due", lag * 1e3),
                "Times count from when a request was due, so nothing is hidden; give the client a core of its own where this is much",
            ));
        }
        if let Some(waited) = self.waited_ns
            && waited as f64 > STARVED * self.ran_ns as f64
            && self.ran_ns > 0
        {
            found.push((
                "client.starved",
                format!(
                    "The client waited for a core for {:.0} % of the time: its times are late by as much, now and then",
                    100.0 * waited as f64 / self.ran_ns as f64
                ),
                "Give server and client cores of their own (taskset), or run the client on another machine",
            ));
        }
        if let Some(bunched) = self.bunched().filter(|share| *share > BUNCHED) {
            found.push((
                "client.bunched",
                format!("{:.0} % of the chunks came together with the one before: the time between them was not seen", bunched * 100.0),
                "The server sends in bunches, or a proxy or a busy core holds them up; its own times (engine.*) do not have this",
            ));
        }
        if tally.uncounted > 0 {
            found.push((
                "server.uncounted",
                format!("Of {} answers nobody told the number of tokens: chunks stand for them", tally.uncounted),
                "Use a server that tells usage in streams (stream_options.include_usage), or distrust every number per token",
            ));
        }
        if self.resent > 0 {
            found.push((
                "client.resent",
                format!(
                    "{} requests were sent again, because the server had closed the connection",
                    self.resent
                ),
                "Nothing, where they are few: the later time counts",
            ));
        }
        if let Some(note) = self.open_files.clone() {
            found.push((
                "client.open_files",
                note,
                "Raise the limit on open files (ulimit -n)",
            ));
        }
        let new = found
            .into_iter()
            .filter(|(code, ..)| self.warned.insert(code));
        new.map(|(code, message, remedy)| Warning {
            code: code.into(),
            message,
            remedy: remedy.into(),
        })
        .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cycle_tells_its_table_and_each_doubt_once() {
        let mut told = CycleTold::default();
        let tally = Tally {
            answered: 10,
            chunks: 100,
            bunched: 50,
            input_tokens: 1000,
            cached_tokens: Some(400),
            ..Tally::default()
        };
        let report = Report {
            end_ns: 1_000_000_000,
            cpu_ns: 2_000_000,
            ..Report::default()
        };
        let metrics = [
            Told {
                id: "engine.steps",
                value: Ok(7.0),
                source: "x_total".into(),
            },
            Told {
                id: "engine.queue",
                value: Err("not told".into()),
                source: "y".into(),
            },
        ];
        let codes = |records: &[Record]| -> Vec<String> {
            let of = |r: &Record| match r {
                Record::Warning(w) => Some(w.code.clone()),
                _ => None,
            };
            records.iter().filter_map(of).collect()
        };
        told.begin();
        told.add(&tally, &report);
        let records = told.records(0, &metrics, Some(12));
        assert_eq!(
            codes(&records),
            ["server.cache_warm", "server.shared", "client.bunched"]
        );
        let Record::Table(table) = &records[0] else {
            panic!()
        };
        assert_eq!(
            serde_json::to_value(&table.rows[..2]).unwrap(),
            json!([
                [0, "engine.steps", 7.0, "reported", "x_total", null],
                [0, "engine.queue", null, "reported", "y", "not told"],
            ])
        );
        told.begin();
        told.add(&tally, &report);
        assert!(codes(&told.records(1, &[], None)).is_empty(), "told once");
        assert_eq!(told.answered(), 10, "of this cycle alone");
    }
}
