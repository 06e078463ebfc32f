//! The file stream: lines of the run's files, each addressed by its place, so that
//! lines that are sent again replace themselves.

use std::time::Duration;

use jiff::Timestamp;
use lem_http::{Client, retry_after};
use lem_record::ExportError;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::Remote;
use crate::limits;

/// Consecutive lines of one file, with the records that they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    offset: u64,
    lines: Vec<(u64, String)>,
    bytes: usize,
}

impl Lines {
    pub fn push(&mut self, n: u64, offset: u64, line: String) {
        if self.lines.is_empty() {
            self.offset = offset;
        }
        self.bytes += line.len();
        self.lines.push((n, line));
    }

    fn content(&self) -> Option<Value> {
        let lines: Vec<&str> = self.lines.iter().map(|(_, line)| line.as_str()).collect();
        (!lines.is_empty()).then(|| json!({"offset": self.offset, "content": lines}))
    }

    /// Takes the second half away.
    fn split(&mut self) -> Self {
        let half = self.lines.len().div_ceil(2);
        let lines = self.lines.split_off(half);
        let bytes: usize = lines.iter().map(|(_, line)| line.len()).sum();
        self.bytes -= bytes;
        Self {
            offset: self.offset + half as u64,
            lines,
            bytes,
        }
    }
}

/// What one request says.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    pub history: Lines,
    pub events: Lines,
    pub console: Lines,
    /// The whole of it.
    pub summary: Option<String>,
    /// Names of files that are there now.
    pub uploaded: Vec<String>,
    /// The run has ended.
    pub exit_code: Option<i32>,
}

/// A line in place of one that W&B refuses: the places of those after it stay.
const NOTHING: &str = "{}";

impl Chunk {
    pub fn lines(&self) -> u64 {
        self.lists()
            .iter()
            .map(|list| list.lines.len() as u64)
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        let Self {
            summary,
            uploaded,
            exit_code,
            ..
        } = self;
        self.lines() == 0 && summary.is_none() && uploaded.is_empty() && exit_code.is_none()
    }

    fn lists(&self) -> [&Lines; 3] {
        [&self.history, &self.events, &self.console]
    }

    fn bytes(&self) -> usize {
        // quotes within lines are escaped once more
        let lists = self.lists().map(|list| list.bytes + list.bytes / 4);
        lists.iter().sum::<usize>() + self.summary.as_ref().map_or(0, String::len)
    }

    pub fn body(&self) -> Value {
        let files = [
            ("wandb-history.jsonl", self.history.content()),
            ("wandb-events.jsonl", self.events.content()),
            (
                "wandb-summary.json",
                self.summary
                    .as_ref()
                    .map(|summary| json!({"offset": 0, "content": [summary]})),
            ),
            ("output.log", self.console.content()),
        ];
        let mut body = Map::new();
        let files: Map<String, Value> = files
            .into_iter()
            .filter_map(|(name, content)| Some((name.to_owned(), content?)))
            .collect();
        if !files.is_empty() {
            body.insert("files".to_owned(), Value::Object(files));
        }
        if !self.uploaded.is_empty() {
            body.insert("uploaded".to_owned(), json!(self.uploaded));
        }
        if let Some(code) = self.exit_code {
            body.insert("complete".to_owned(), json!(true));
            body.insert("exitcode".to_owned(), json!(code));
        }
        Value::Object(body)
    }

    fn is_one(&self) -> bool {
        self.lines() + u64::from(self.summary.is_some()) < 2
    }

    /// Two smaller ones of what [is more than one thing](Self::is_one). What tells of
    /// the whole stays with the second.
    fn halves(mut self) -> (Self, Self) {
        if self.lines() == 1 {
            let rest = Self {
                summary: self.summary.take(),
                uploaded: std::mem::take(&mut self.uploaded),
                exit_code: self.exit_code.take(),
                ..Self::default()
            };
            return (self, rest);
        }
        // lists of one line each: one list goes, the others stay
        if self.lists().iter().all(|list| list.lines.len() < 2) {
            let mut rest = self.clone();
            self.summary = None;
            self.uploaded.clear();
            self.exit_code = None;
            if self.history.lines.is_empty() {
                self.console = Lines::default();
                rest.events = Lines::default();
            } else {
                self.events = Lines::default();
                self.console = Lines::default();
                rest.history = Lines::default();
            }
            return (self, rest);
        }
        let rest = Self {
            history: self.history.split(),
            events: self.events.split(),
            console: self.console.split(),
            summary: self.summary.take(),
            uploaded: std::mem::take(&mut self.uploaded),
            exit_code: self.exit_code.take(),
        };
        (self, rest)
    }
}

/// What is refused for good: the record, where it is known, and why.
pub(super) type Refused = (Option<u64>, String);

/// The way to a run's file stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// W&B said that nothing more is taken before this.
    hold: Option<Instant>,
}

impl Stream {
    /// Sends all of it, in as many requests as are needed.
    pub(super) async fn send(
        &mut self,
        client: &Client,
        remote: &Remote,
        chunk: Chunk,
    ) -> Result<Vec<Refused>, ExportError> {
        let path = remote.stream_path();
        let mut refused = Vec::new();
        let mut left = vec![chunk];
        while let Some(chunk) = left.pop() {
            if chunk.bytes() > limits::STREAM_BYTES && !chunk.is_one() {
                let (first, second) = chunk.halves();
                left.extend([second, first]);
                continue;
            }
            self.may_send()?;
            let reply = client.post(&path).json(&chunk.body()).send().await?;
            // a body without a line and a summary is not refused for its size
            if reply.status == 413 && (chunk.lines() > 0 || chunk.summary.is_some()) {
                if chunk.is_one() {
                    left.extend(without(chunk, &mut refused));
                } else {
                    let (first, second) = chunk.halves();
                    left.extend([second, first]);
                }
                continue;
            }
            if !reply.is_success() {
                return Err(client.error(&reply));
            }
            self.hold = hold(&reply.headers);
        }
        Ok(refused)
    }

    fn may_send(&mut self) -> Result<(), ExportError> {
        let left = self
            .hold
            .map(|until| until.saturating_duration_since(Instant::now()));
        match left.filter(|left| !left.is_zero()) {
            None => Ok(()),
            Some(left) => Err(ExportError::Retry {
                reason: "W&B's rate limit for this run is used up for now".to_owned(),
                after: Some(left),
            }),
        }
    }
}

/// Until when to hold back: where no request is left in the window of the rate limit.
fn hold(headers: &reqwest::header::HeaderMap) -> Option<Instant> {
    /// A window that is longer is not believed.
    const LONGEST: Duration = Duration::from_secs(300);
    let remaining = headers.get("ratelimit-remaining")?.to_str().ok()?;
    let remaining: f64 = remaining.trim().parse().ok()?;
    if remaining >= 1.0 {
        return None;
    }
    let wait = retry_after(headers, Timestamp::now())?;
    Some(Instant::now() + wait.min(LONGEST))
}

/// One line, or the summary, that is too large by itself: what is left to send.
fn without(mut chunk: Chunk, refused: &mut Vec<Refused>) -> Option<Chunk> {
    let names = ["history", "system metrics", "console"];
    let lists = [&mut chunk.history, &mut chunk.events, &mut chunk.console];
    for (name, list) in names.into_iter().zip(lists) {
        let Some((n, line)) = list.lines.first_mut() else {
            continue;
        };
        if line == NOTHING {
            // not for its size, then
            refused.push((Some(*n), "W&B takes no line of this run".to_owned()));
            *list = Lines::default();
            continue;
        }
        let bytes = line.len();
        refused.push((
            Some(*n),
            format!("a line of the {name} of {bytes} bytes is too large for W&B"),
        ));
        *line = NOTHING.to_owned();
        list.bytes = line.len();
    }
    if let Some(summary) = chunk.summary.take() {
        let bytes = summary.len();
        refused.push((
            None,
            format!("the summary of {bytes} bytes is too large for W&B"),
        ));
    }
    (!chunk.is_empty()).then_some(chunk)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Chunk, NOTHING, without};

    fn chunk(history: u64, events: u64, console: u64, summary: bool) -> Chunk {
        let mut chunk = Chunk::default();
        let lists = [
            (&mut chunk.history, history),
            (&mut chunk.events, events),
            (&mut chunk.console, console),
        ];
        for (list, count) in lists {
            for i in 0..count {
                list.push(i, 7 + i, format!("line {i}"));
            }
        }
        chunk.summary = summary.then(|| "{}".to_owned());
        chunk.exit_code = Some(0);
        chunk
    }

    fn pieces(chunk: Chunk) -> Vec<Chunk> {
        if chunk.is_one() {
            return vec![chunk];
        }
        let (first, second) = chunk.halves();
        let mut all = pieces(first);
        all.extend(pieces(second));
        all
    }

    #[test]
    fn every_line_keeps_its_place_when_a_chunk_is_split() {
        for (history, events, console, summary) in [
            (5, 3, 1, true),
            (1, 1, 1, true),
            (0, 1, 1, false),
            (2, 0, 0, false),
            (1, 0, 0, true),
        ] {
            let all = pieces(chunk(history, events, console, summary));
            let expected = history + events + console;
            assert_eq!(all.iter().map(Chunk::lines).sum::<u64>(), expected);
            assert!(all.iter().all(|one| one.lines() <= 1));
            for one in &all {
                for list in one.lists() {
                    if let Some((n, line)) = list.lines.first() {
                        assert_eq!((list.offset, line), (7 + n, &format!("line {n}")));
                        assert_eq!(list.bytes, line.len());
                    }
                }
            }
            let ends: Vec<bool> = all.iter().map(|one| one.exit_code.is_some()).collect();
            assert_eq!(ends.iter().filter(|end| **end).count(), 1);
            assert!(ends.last().unwrap(), "the end comes last");
            assert_eq!(
                all.iter().filter(|one| one.summary.is_some()).count(),
                usize::from(summary)
            );
        }
    }

    #[test]
    fn a_line_that_is_too_large_leaves_its_place_empty() {
        let mut one = chunk(1, 0, 0, false);
        one.exit_code = None;
        let mut refused = Vec::new();
        let rest = without(one, &mut refused).unwrap();
        assert_eq!(rest.history.lines, [(0, NOTHING.to_owned())]);
        assert_eq!(refused.len(), 1);
        assert!(without(rest, &mut refused).is_none());
    }
}
