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
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (String, String, String);

    fn own(event: SseEvent<'_>) -> Owned {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        (text(event.name), text(event.data), text(event.id))
    }

    fn all(pieces: &[&[u8]]) -> Vec<Owned> {
        let mut sse = Sse::new(1 << 20);
        let mut events = Vec::new();
        for piece in pieces {
            sse.feed(piece, |event| events.push(own(event))).unwrap();
        }
        events
    }

    fn data(stream: &str) -> Vec<String> {
        all(&[stream.as_bytes()]).into_iter().map(|e| e.1).collect()
    }

    #[test]
    fn examples_of_the_standard() {
        assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
        let stream = ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        let events = all(&[stream.as_bytes()]);
        let ids: Vec<_> = events.iter().map(|e| e.2.as_str()).collect();
        assert_eq!(ids, ["1", "", ""]);
        assert_eq!(events[2].1, " third event");
        // Two events with empty and newline data; the last one is not complete.
        assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
        assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
    }

    #[test]
    fn all_ends_of_line_and_a_mark_at_the_start() {
        assert_eq!(
            data("\u{feff}data: a\r\n\r\ndata: b\r\rdata: c\n\n"),
            ["a", "b", "c"]
        );
        assert_eq!(
            data("data: a\n\n\u{feff}data: b\n\n"),
            ["a"],
            "only one mark, only at the start"
        );
        assert_eq!(data("data: a\r\ndata: b\r\n\r\n"), ["a\nb"]);
    }

    #[test]
    fn names_and_ids() {
        let mut sse = Sse::new(100);
        let mut events = Vec::new();
        let stream = b"event: error\ndata: x\nid: 7\nretry: 250\n\nevent: lost\n\nid: a\0b\nretry: 2x\ndata: y\n\n";
        sse.feed(stream, |event| events.push(own(event))).unwrap();
        let strings = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(events, [strings("error", "x", "7"), strings("", "y", "7")]);
    }

    #[test]
    fn what_is_not_finished_is_no_event() {
        let mut sse = Sse::new(100);
        sse.feed(b"data: [DO", |_| panic!("no event yet")).unwrap();
        sse.feed(b"NE]\n", |_| panic!("no event yet")).unwrap();
        assert_eq!(sse.unfinished(), b"[DONE]");
    }

    #[test]
    fn size_is_bounded_however_it_comes() {
        assert_eq!(
            Sse::new(10).feed(b"data: 0123456789\n", |_| {}),
            Err(TooLarge)
        );
        let mut sse = Sse::new(10);
        assert_eq!(
            (0..100).find_map(|_| sse.feed(b"x", |_| {}).err()),
            Some(TooLarge)
        );
        let mut sse = Sse::new(10);
        assert_eq!(
            (0..100).find_map(|_| sse.feed(b"data\n", |_| {}).err()),
            Some(TooLarge)
        );
    }

    /// The standard's own algorithm on the whole text, written without regard to speed.
    fn reference(stream: &str) -> Vec<Owned> {
        let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        let text = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut out, mut data, mut name, mut id) =
            (Vec::new(), String::new(), String::new(), String::new());
        let mut lines: Vec<&str> = text.split('\n').collect();
        lines.pop();
        for line in lines {
            if line.is_empty() {
                if !data.is_empty() {
                    data.pop();
                    out.push((name.clone(), data.clone(), id.clone()));
                }
                data.clear();
                name.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => name = value.to_owned(),
                "data" => data += &format!("{value}\n"),
                "id" if !value.contains('\0') => id = value.to_owned(),
                _ => {}
            }
        }
        out
    }

    fn stream() -> impl Strategy<Value = String> {
        let atom = prop_oneof![
            Just("data: "),
            Just("data"),
            Just("data:"),
            Just("event: "),
            Just("id: "),
            Just("retry: 5"),
            Just(":"),
            Just("\n"),
            Just("\r"),
            Just("\r\n"),
            Just("\n\n"),
            Just(" "),
            Just("x"),
            Just("é"),
            Just("{\"a\":1}"),
            Just("\0"),
            Just("\u{feff}"),
            Just("[DONE]"),
        ];
        prop::collection::vec(atom, 0..60).prop_map(|atoms| atoms.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_events_of_the_standard(
            stream in stream(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let bytes = stream.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
            at.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in at {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(all(&pieces), reference(&stream));
        }
    }
}
