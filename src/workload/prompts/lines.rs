//! Lines of a file of any size, never more than one of them in memory.

use std::io::{self, BufRead, Read};

/// No prompt is longer; a file without line breaks is no list of prompts.
pub(super) const MOST_BYTES: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Lines<R> {
    from: R,
    number: u64,
    line: Vec<u8>,
}

/// Why there is no next line.
#[derive(Debug)]
pub(super) enum Broken {
    Unreadable(io::Error),
    TooLong,
    NotText,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "it cannot be read: {error}"),
            Self::TooLong => write!(f, "it is longer than {} MiB", MOST_BYTES >> 20),
            Self::NotText => f.write_str("it is no text in UTF-8"),
        }
    }
}

impl<R: BufRead> Lines<R> {
    pub const fn new(from: R) -> Self {
        Self {
            from,
            number: 0,
            line: Vec::new(),
        }
    }

    /// Of the line that was read last, or could not be; from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The next line without its end.
    pub fn next(&mut self) -> Result<Option<&str>, Broken> {
        self.number += 1;
        self.line.clear();
        let most = MOST_BYTES as u64 + 2;
        let read = self
            .from
            .by_ref()
            .take(most)
            .read_until(b'\n', &mut self.line);
        if read.map_err(Broken::Unreadable)? == 0 {
            return Ok(None);
        }
        let mut line = self.line.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MOST_BYTES {
            return Err(Broken::TooLong);
        }
        if self.number == 1 {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.contains(&0) {
            return Err(Broken::NotText);
        }
        std::str::from_utf8(line)
            .map(Some)
            .map_err(|_| Broken::NotText)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::{Broken, Lines, MOST_BYTES};

    #[test]
    fn every_end_of_line_and_a_byte_order_mark() {
        let mut lines = Lines::new(&b"\xef\xbb\xbfa\r\nb\n\nc"[..]);
        for expected in ["a", "b", "", "c"] {
            assert_eq!(lines.next().unwrap(), Some(expected));
        }
        assert_eq!(lines.next().unwrap(), None);
    }

    #[test]
    fn an_endless_line_is_given_up_early() {
        let endless = std::io::repeat(b'x').take(100 << 20);
        let mut lines = Lines::new(BufReader::new(endless));
        assert!(matches!(lines.next(), Err(Broken::TooLong)));
        assert!(lines.line.capacity() < 3 * MOST_BYTES);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for bytes in [&b"ok\n\xff\xfe\n"[..], b"ok\na\0b\n"] {
            let mut lines = Lines::new(bytes);
            lines.next().unwrap();
            assert!(matches!(lines.next(), Err(Broken::NotText)));
            assert_eq!(lines.number(), 2);
        }
    }
}
