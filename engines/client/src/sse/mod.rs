//! Server-sent events, by the letter of the WHATWG HTML standard (9.2.6), incremental.
//!
//! Bytes come in pieces split anywhere. A line that lies whole in a piece is not copied, and
//! neither is the data of an event that lies whole in one. Text is not decoded here: the
//! standard decodes with replacement, which never touches a line's end, so that whoever reads
//! the data may do it later.

use memchr::memchr2;

/// One event. Its name is empty where the stream gave none (the standard's `message`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    pub name: &'a [u8],
    pub data: &'a [u8],
    /// The last id that the stream gave, in this event or before.
    pub id: &'a [u8],
}

/// An event or a line is larger than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The state between two pieces.
#[derive(Debug)]
pub struct Sse {
    limit: usize,
    /// How much of a byte order mark was seen; its length once that is settled.
    bom: usize,
    /// The last piece ended in a carriage return: a line feed that follows belongs to it.
    after_cr: bool,
    /// A line whose end has not come.
    line: Vec<u8>,
    /// Data lines of an event that began in an earlier piece, each with a line feed.
    data: Vec<u8>,
    name: Vec<u8>,
    id: Vec<u8>,
}

impl Sse {
    /// `limit`: most bytes of a line, and of an event's data.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bom: 0,
            after_cr: false,
            line: Vec::new(),
            data: Vec::new(),
            name: Vec::new(),
            id: Vec::new(),
        }
    }

    /// What the standard throws away when the stream ends here: the data, so far, of an event
    /// whose blank line has not come.
    pub fn unfinished(&self) -> Vec<u8> {
        let mut data = self.data.clone();
        if let (b"data", value) = split(&self.line) {
            data.extend_from_slice(value);
        }
        if data.last() == Some(&b'\n') {
            data.pop();
        }
        data
    }

    /// Takes the next piece and calls `each` with every event that it completes.
    pub fn feed<'a>(
        &mut self,
        mut piece: &'a [u8],
        mut each: impl FnMut(SseEvent<'_>),
    ) -> Result<(), TooLarge> {
        while self.bom < BOM.len() {
            match piece.first() {
                None => return Ok(()),
                Some(byte) if *byte == BOM[self.bom] => {
                    self.bom += 1;
                    piece = &piece[1..];
                }
                Some(_) => {
                    self.line.extend_from_slice(&BOM[..self.bom]);
                    self.bom = BOM.len();
                }
            }
        }
        // The data of the event so far, while it is a single line of this piece.
        let mut borrowed: Option<&'a [u8]> = None;
        while !piece.is_empty() {
            if std::mem::take(&mut self.after_cr) && piece[0] == b'\n' {
                piece = &piece[1..];
                continue;
            }
            let Some(end) = memchr2(b'\r', b'\n', piece) else {
                self.keep(piece)?;
                break;
            };
            let line = &piece[..end];
            self.after_cr = piece[end] == b'\r';
            piece = &piece[end + 1..];
            if self.line.is_empty() {
                self.check(line.len())?;
                self.line_done(line, &mut borrowed, &mut each)?;
            } else {
                self.keep(line)?;
                let line = std::mem::take(&mut self.line);
                self.kept_line_done(&line, &mut borrowed, &mut each)?;
                self.line = line;
                self.line.clear();
            }
        }
        if let Some(value) = borrowed {
            self.add_data(value)?;
        }
        Ok(())
    }

    fn line_done<'a>(
        &mut self,
        line: &'a [u8],
        borrowed: &mut Option<&'a [u8]>,
        each: &mut impl FnMut(SseEvent<'_>),
    ) -> Result<(), TooLarge> {
        if let (b"data", value) = split(line) {
            if borrowed.is_none() && self.data.is_empty() {
                *borrowed = Some(value);
                return Ok(());
            }
            if let Some(first) = borrowed.take() {
                self.add_data(first)?;
            }
            return self.add_data(value);
        }
        self.other_line(line, borrowed, each);
        Ok(())
    }

    /// A line that began in an earlier piece: nothing of it can be borrowed.
    fn kept_line_done(
        &mut self,
        line: &[u8],
        borrowed: &mut Option<&[u8]>,
        each: &mut impl FnMut(SseEvent<'_>),
    ) -> Result<(), TooLarge> {
        if let (b"data", value) = split(line) {
            if let Some(first) = borrowed.take() {
                self.add_data(first)?;
            }
            return self.add_data(value);
        }
        self.other_line(line, borrowed, each);
        Ok(())
    }

    fn other_line(
        &mut self,
        line: &[u8],
        borrowed: &mut Option<&[u8]>,
        each: &mut impl FnMut(SseEvent<'_>),
    ) {
        if line.is_empty() {
            let data = match borrowed.take() {
                Some(data) => Some(data),
                None => self.data.split_last().map(|(_, data)| data),
            };
            if let Some(data) = data {
                each(SseEvent {
                    name: &self.name,
                    data,
                    id: &self.id,
                });
            }
            self.data.clear();
            self.name.clear();
            return;
        }
        match split(line) {
            (b"event", value) => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            (b"id", value) if !value.contains(&0) => {
                self.id.clear();
                self.id.extend_from_slice(value);
            }
            // A comment; `retry`, as nothing reconnects here; a field that the standard does
            // not know.
            _ => {}
        }
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        self.check(self.line.len() + part.len())?;
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn add_data(&mut self, value: &[u8]) -> Result<(), TooLarge> {
        self.check(self.data.len() + value.len())?;
        self.data.extend_from_slice(value);
        self.data.push(b'\n');
        Ok(())
    }

    fn check(&self, size: usize) -> Result<(), TooLarge> {
        if size > self.limit {
            Err(TooLarge)
        } else {
            Ok(())
        }
    }
}

/// Field name and value; a comment has the empty name.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

#[cfg(test)]
mod tests;
