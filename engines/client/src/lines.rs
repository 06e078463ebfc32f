//! JSON objects, one a line (Ollama), incremental.

use memchr::memchr;

use crate::sse::TooLarge;

/// The state between two pieces: a line whose end has not come.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    line: Vec<u8>,
}

impl Lines {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
        }
    }

    /// Calls `each` with every line that the piece completes; blank ones are skipped.
    pub fn feed(&mut self, mut piece: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), TooLarge> {
        while let Some(end) = memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            piece = rest;
            if self.line.len() + line.len() > self.limit {
                return Err(TooLarge);
            }
            if self.line.is_empty() {
                tell(line, &mut each);
            } else {
                self.line.extend_from_slice(line);
                tell(&self.line, &mut each);
                self.line.clear();
            }
        }
        if self.line.len() + piece.len() > self.limit {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(piece);
        Ok(())
    }

    /// The end of the stream ends the last line too.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        tell(&std::mem::take(&mut self.line), &mut each);
    }
}

fn tell(line: &[u8], each: &mut impl FnMut(&[u8])) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        each(line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_line_needs_no_end() {
        let mut lines = Lines::new(100);
        let mut seen = Vec::new();
        lines
            .feed(b"{\"a\":1}\r\n\n{\"b\"", |l| seen.push(l.to_vec()))
            .unwrap();
        lines.feed(b":2}", |l| seen.push(l.to_vec())).unwrap();
        lines.finish(|l| seen.push(l.to_vec()));
        assert_eq!(seen, [b"{\"a\":1}".to_vec(), b"{\"b\":2}".to_vec()]);
        assert_eq!(Lines::new(3).feed(b"1234", |_| {}), Err(TooLarge));
        assert_eq!(Lines::new(3).feed(b"1234\n", |_| {}), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(text in "[a\r\n ]{0,40}", cut in any::<prop::sample::Index>()) {
            let cut = cut.index(text.len() + 1);
            let read = |pieces: &[&str]| {
                let mut lines = Lines::new(1000);
                let mut seen: Vec<String> = Vec::new();
                let mut each = |l: &[u8]| seen.push(String::from_utf8_lossy(l).into_owned());
                for piece in pieces {
                    lines.feed(piece.as_bytes(), &mut each).unwrap();
                }
                lines.finish(each);
                seen
            };
            let whole: Vec<String> =
                text.split('\n').map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
            prop_assert_eq!(read(&[&text[..cut], &text[cut..]]), whole);
        }
    }
}
