//! vLLM's ledger of its steps, from the log of a server that lem launched.
//!
//! The server is given a format for its log that begins with the time in microseconds: its own
//! has seconds. The log is read between the cycles, never within one.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::LazyLock;

use lem_record::{Record, Stamp, Table, Warning};
use regex::Regex;
use serde_json::{Value, json};

pub const TABLE: &str = "engine_steps";
const COLUMNS: [&str; 5] = [
    "cycle",
    "end_ns",
    "elapsed_ns",
    "context_tokens",
    "generation_requests",
];
/// What begins each line that lem can read.
const MARK: &str = "lem-time";
/// A longer line is no step.
const MOST_LINE: usize = 4096;
/// Steps of a cycle: an hour of 1 ms each.
const MOST_STEPS: usize = 4_000_000;

static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"lem-time (\d+\.\d+) .*?Iteration\(\d+\): \d+ context requests, (\d+) context tokens, (\d+) generation requests, \d+ generation tokens, iteration elapsed time: (\d+(?:\.\d+)?) ms( \(dummy\))?",
    )
    .ok()
});

/// The configuration of Python's logging that has the time in it.
pub fn logging() -> Value {
    json!({
        "version": 1,
        "disable_existing_loggers": false,
        "formatters": {
            "lem": { "format": format!("{MARK} %(created).6f %(levelname)s %(message)s") }
        },
        "handlers": {
            "lem": { "class": "logging.StreamHandler", "formatter": "lem", "stream": "ext://sys.stderr" }
        },
        "loggers": { "vllm": { "handlers": ["lem"], "level": "INFO", "propagate": false } },
    })
}

/// How far the log has been read.
#[derive(Debug, Default)]
pub struct Steps {
    offset: u64,
    warned: bool,
}

impl Steps {
    /// What is there now is of no cycle.
    pub fn skip(&mut self, log: &Path) {
        self.offset = std::fs::metadata(log).map_or(self.offset, |m| m.len());
    }

    /// The steps since, as a table; or why there is none, once.
    pub fn read(&mut self, log: &Path, cycle: u32) -> Option<Record> {
        match self.rows(log, cycle) {
            Ok(rows) if !rows.is_empty() => Some(Record::Table(Table {
                name: TABLE.into(),
                columns: COLUMNS.map(str::to_owned).to_vec(),
                rows,
            })),
            result if !self.warned => {
                self.warned = true;
                let why = match result {
                    Ok(_) => "it logged none".to_owned(),
                    Err(error) => error.to_string(),
                };
                Some(Record::Warning(Warning {
                    code: "server.no_steps".into(),
                    message: format!("server.iterations asks for the steps of vLLM, and {why}"),
                    remedy: "Use a vLLM that knows --enable-logging-iteration-details, or leave server.iterations out".into(),
                }))
            }
            _ => None,
        }
    }

    fn rows(&mut self, log: &Path, cycle: u32) -> std::io::Result<Vec<Vec<Value>>> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let now = Stamp::now();
        let mut reader = BufReader::new(file);
        let mut rows = Vec::new();
        let mut line = Vec::new();
        while rows.len() < MOST_STEPS {
            line.clear();
            let read = reader.read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            self.offset += read as u64;
            if line.len() > MOST_LINE {
                continue;
            }
            if let Some(step) = step(&String::from_utf8_lossy(&line)) {
                // Both clocks are read here and now; a step of the wall clock in the last
                // minutes would show as a warning of its own.
                let ago_ns = now.unix_ns - step.unix_ns;
                let end_ns = i64::try_from(now.mono_ns).unwrap_or(i64::MAX) - ago_ns;
                if let Ok(end_ns) = u64::try_from(end_ns) {
                    rows.push(vec![
                        json!(cycle),
                        json!(end_ns),
                        json!(step.elapsed_ns),
                        json!(step.context_tokens),
                        json!(step.generation_requests),
                    ]);
                }
            }
        }
        Ok(rows)
    }
}

#[derive(Debug, PartialEq)]
struct Line {
    unix_ns: i64,
    elapsed_ns: u64,
    context_tokens: u64,
    generation_requests: u64,
}

/// A step of a line; none of a rank that only keeps others company.
fn step(line: &str) -> Option<Line> {
    let found = LINE.as_ref()?.captures(line)?;
    if found.get(5).is_some() {
        return None;
    }
    let text = |i: usize| found.get(i).map(|m| m.as_str());
    // Seconds in 64 bits of floating point are good to a quarter of a microsecond.
    let seconds: f64 = text(1)?.parse().ok()?;
    let ms: f64 = text(4)?.parse().ok()?;
    (seconds.is_finite() && ms.is_finite()).then_some(())?;
    Some(Line {
        unix_ns: (seconds * 1e9) as i64,
        elapsed_ns: (ms * 1e6) as u64,
        context_tokens: text(2)?.parse().ok()?,
        generation_requests: text(3)?.parse().ok()?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const STEP: &str = "(EngineCore pid=7) lem-time 1795552135.250000 INFO Iteration(7): 2 context requests, 7957 context tokens, 43 generation requests, 43 generation tokens, iteration elapsed time: 1125.94 ms, GPU KV cache usage: 3.1%";

    #[test]
    fn a_line_of_any_version_is_read() {
        let read = step(STEP).unwrap();
        assert_eq!(read.elapsed_ns, 1_125_940_000);
        assert_eq!((read.context_tokens, read.generation_requests), (7957, 43));
        assert!((read.unix_ns - 1_795_552_135_250_000_000).abs() < 1000);
        assert!(step(&STEP.replace(", GPU KV cache usage: 3.1%", "")).is_some());
        assert!(step(&STEP.replace("1125.94 ms", "1125.94 ms (dummy)")).is_none());
        assert!(step("lem-time 17 INFO Iteration(7): done").is_none());
    }

    #[test]
    fn only_what_came_since_is_of_the_cycle() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let path = log.path().to_owned();
        let mut steps = Steps::default();
        writeln!(log, "{STEP}").unwrap();
        steps.skip(&path);
        let nothing = steps.read(&path, 0);
        assert!(matches!(nothing, Some(Record::Warning(_))), "told once");
        assert_eq!(steps.read(&path, 0), None);
        let now = Stamp::now();
        let stamp = format!("{:.6}", now.unix_ns as f64 / 1e9);
        writeln!(log, "noise\n{}", STEP.replace("1795552135.250000", &stamp)).unwrap();
        let Some(Record::Table(table)) = steps.read(&path, 3) else {
            panic!("a table");
        };
        assert_eq!(table.rows.len(), 1);
        let end = table.rows[0][1].as_u64().unwrap();
        assert!(
            end.abs_diff(now.mono_ns) < 1_000_000,
            "{end} {}",
            now.mono_ns
        );
        assert_eq!(table.rows[0][0], 3);
    }
}
