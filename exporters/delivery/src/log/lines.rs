use std::io::{self, BufRead};

use lem_record::MAX_LINE_BYTES;

/// What the next line is. Offsets are in bytes from the file's start; `end` is
/// that of the following line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole {
        start: u64,
        end: u64,
    },
    TooLong {
        start: u64,
        end: u64,
    },
    /// No newline before the end.
    Torn {
        start: u64,
        end: u64,
    },
    End,
}

/// Lines of at most [`MAX_LINE_BYTES`], up to a limit that may grow.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    offset: u64,
    limit: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(from: R, offset: u64) -> Self {
        Self {
            from,
            offset,
            limit: u64::MAX,
        }
    }

    pub(super) fn set_limit(&mut self, bytes: u64) {
        self.limit = bytes;
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads one line into `into`, without its newline.
    pub(super) fn next(&mut self, into: &mut Vec<u8>) -> io::Result<Line> {
        into.clear();
        let start = self.offset;
        let mut too_long = false;
        loop {
            let available = match self.from.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let room =
                usize::try_from(self.limit.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            let available = available.get(..room).unwrap_or(available);
            if available.is_empty() {
                let end = self.offset;
                return Ok(if end == start {
                    Line::End
                } else {
                    Line::Torn { start, end }
                });
            }
            let newline = available.iter().position(|byte| *byte == b'\n');
            let piece = available
                .get(..newline.unwrap_or(available.len()))
                .unwrap_or_default();
            too_long = too_long || into.len() + piece.len() > MAX_LINE_BYTES;
            if too_long {
                into.clear();
            } else {
                into.extend_from_slice(piece);
            }
            let used = piece.len() + usize::from(newline.is_some());
            self.from.consume(used);
            self.offset += used as u64;
            if newline.is_some() {
                let end = self.offset;
                return Ok(match too_long {
                    true => Line::TooLong { start, end },
                    false => Line::Whole { start, end },
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_end_at_newlines_and_at_the_limit() {
        let text: &[u8] = b"ab\n\ncd\nef";
        let mut lines = Lines::new(io::BufReader::with_capacity(3, text), 0);
        let mut line = Vec::new();
        lines.set_limit(4);
        assert_eq!(
            lines.next(&mut line).unwrap(),
            Line::Whole { start: 0, end: 3 }
        );
        assert_eq!(line, b"ab");
        assert_eq!(
            lines.next(&mut line).unwrap(),
            Line::Whole { start: 3, end: 4 }
        );
        assert_eq!(lines.next(&mut line).unwrap(), Line::End);
        lines.set_limit(u64::MAX);
        assert_eq!(
            lines.next(&mut line).unwrap(),
            Line::Whole { start: 4, end: 7 }
        );
        assert_eq!(line, b"cd");
        assert_eq!(
            lines.next(&mut line).unwrap(),
            Line::Torn { start: 7, end: 9 }
        );
        assert_eq!(lines.next(&mut line).unwrap(), Line::End);
    }

    #[test]
    fn a_line_without_end_is_passed_over_in_little_memory() {
        let huge = io::Read::take(io::repeat(b'x'), MAX_LINE_BYTES as u64 + 1);
        let rest: &[u8] = b"\nok\n";
        let mut lines = Lines::new(
            io::BufReader::with_capacity(1 << 20, io::Read::chain(huge, rest)),
            0,
        );
        let mut line = Vec::new();
        let end = MAX_LINE_BYTES as u64 + 2;
        assert_eq!(
            lines.next(&mut line).unwrap(),
            Line::TooLong { start: 0, end }
        );
        assert!(line.is_empty());
        assert_eq!(
            lines.next(&mut line).unwrap(),
            Line::Whole {
                start: end,
                end: end + 3
            }
        );
        assert_eq!(line, b"ok");
    }
}
