//! From a worker's standard output to what it said, line by line, with the time of arrival.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::SyncSender;

use lem_record::Stamp;

use super::protocol::Said;

/// The longest line: log-probabilities of half a million tokens.
pub const LONGEST_LINE: usize = 16 << 20;
/// So many characters of what is no message are shown.
const SHOWN: usize = 160;

/// What came from a worker.
#[derive(Debug)]
pub enum Heard {
    Said {
        said: Box<Said>,
        arrived_ns: u64,
    },
    /// A line that is no message: its beginning, and why not.
    Rubbish {
        line: String,
        why: String,
    },
    TooLong,
    /// Its standard output is closed.
    Ended,
}

/// Reads until the end. A receiver that is full holds the worker up, as a full pipe does.
pub fn read(from: impl Read, tell: &SyncSender<Heard>) {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let mut line = Vec::new();
    loop {
        line.clear();
        let heard = match next_line(&mut from, &mut line) {
            Next::Line => message(&line, Stamp::mono_ns()),
            Next::TooLong => Some(Heard::TooLong),
            Next::End => Some(Heard::Ended),
        };
        let Some(heard) = heard else { continue };
        let last = matches!(heard, Heard::TooLong | Heard::Ended);
        if tell.send(heard).is_err() || last {
            return;
        }
    }
}

enum Next {
    Line,
    TooLong,
    End,
}

fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> Next {
    let most = LONGEST_LINE as u64 + 1;
    match from.take(most).read_until(b'\n', line) {
        // A worker that is killed in the middle of a line has said nothing with it.
        Ok(_) if line.last() == Some(&b'\n') => Next::Line,
        Ok(n) if n as u64 == most => Next::TooLong,
        Ok(0) | Err(_) => Next::End,
        Ok(_) => Next::Line,
    }
}

/// `None` for an empty line.
fn message(line: &[u8], arrived_ns: u64) -> Option<Heard> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return None;
    }
    let rubbish = |why: String| Heard::Rubbish {
        line: shown(line),
        why,
    };
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => return Some(rubbish(format!("it is no UTF-8: {error}"))),
    };
    Some(match serde_json::from_str::<Said>(text) {
        Ok(said) if said.id.is_none() => rubbish("it has no `id`".into()),
        Ok(said) => {
            let kinds = [
                said.ok.is_some(),
                said.error.is_some(),
                said.event.is_some(),
            ];
            if kinds.iter().filter(|there| **there).count() == 1 {
                Heard::Said {
                    said: Box::new(said),
                    arrived_ns,
                }
            } else {
                rubbish("it has not exactly one of `ok`, `error` and `event`".into())
            }
        }
        Err(error) => rubbish(format!("it is no message in JSON: {error}")),
    })
}

/// The beginning of a line, without what would write into the terminal.
pub fn shown(line: &[u8]) -> String {
    shown_to(line, SHOWN)
}

/// So many characters of it.
pub fn shown_to(line: &[u8], most: usize) -> String {
    let line = line.get(..most * 4).unwrap_or(line);
    let text = String::from_utf8_lossy(line);
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(most).map(clean).collect();
    if text.chars().count() > most {
        short.push('…');
    }
    crate::config::redact::line(short.trim())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::mpsc::sync_channel;

    use super::*;

    fn heard(bytes: impl Read) -> Vec<Heard> {
        let (tell, told) = sync_channel(100);
        read(bytes, &tell);
        drop(tell);
        told.into_iter().collect()
    }

    #[test]
    fn a_line_is_one_answer_or_one_event_with_its_id() {
        let heard = heard(
            b"{\"id\":1,\"ok\":{}}\n\n{\"id\":2,\"event\":\"busy\",\"new\":[1]}\n\
              {\"ok\":{}}\n{\"id\":1}\n{\"id\":1,\"ok\":{},\"event\":\"x\"}\nhello\n\xff\n[]\n\
              {\"id\":1,\"ok\":{}}"
                .as_slice(),
        );
        let rubbish = heard
            .iter()
            .filter(|h| matches!(h, Heard::Rubbish { .. }))
            .count();
        let said = heard
            .iter()
            .filter(|h| matches!(h, Heard::Said { .. }))
            .count();
        assert_eq!((said, rubbish), (3, 6), "{heard:?}");
        assert!(matches!(heard.last(), Some(Heard::Ended)));
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let heard = heard(std::io::repeat(b'x'));
        assert!(matches!(heard.as_slice(), [Heard::TooLong]));
    }

    #[test]
    fn what_is_shown_is_short_and_writes_nothing_into_the_terminal() {
        let line = format!("\x1b[31m{}", "x".repeat(10_000));
        let shown = shown(line.as_bytes());
        assert!(shown.chars().count() < 170 && !shown.contains('\x1b'));
        assert!(!super::shown(b"HF_TOKEN=hf_abcdef").contains("abcdef"));
    }
}
