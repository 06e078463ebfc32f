//! The chunked transfer coding of HTTP/1.1 (RFC 9112, 7.1), incremental.

/// What a piece led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunked {
    More,
    /// The body is complete; this many bytes of the piece belonged to it.
    Done {
        used: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the digits of a size.
    Size,
    /// Between the digits and the end of their line.
    Extension,
    SizeLf,
    Data,
    DataEnd,
    DataLf,
    /// At the start of a line behind the last chunk.
    TrailerStart,
    Trailer,
    LastLf,
    Done,
}

/// Neither extensions nor trailers have a reason to be longer.
const ASIDE: usize = 16 << 10;

#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Of the size.
    digits: u8,
    /// Bytes of the chunk still to come.
    left: u64,
    /// Bytes of extensions and trailers so far.
    aside: usize,
}

impl Decoder {
    pub fn new() -> Self {
        Self {
            state: State::Size,
            digits: 0,
            left: 0,
            aside: 0,
        }
    }

    /// Calls `each` with the parts of the body that lie in the piece.
    pub fn feed<'a>(
        &mut self,
        piece: &'a [u8],
        mut each: impl FnMut(&'a [u8]),
    ) -> Result<Chunked, &'static str> {
        let mut at = 0;
        while at < piece.len() {
            if self.state == State::Data {
                let rest = piece.len() - at;
                let here = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                each(&piece[at..at + here]);
                at += here;
                self.left -= here as u64;
                if self.left == 0 {
                    self.state = State::DataEnd;
                }
                continue;
            }
            self.byte(piece[at])?;
            at += 1;
            if self.state == State::Done {
                return Ok(Chunked::Done { used: at });
            }
        }
        Ok(Chunked::More)
    }

    fn byte(&mut self, byte: u8) -> Result<(), &'static str> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if self.digits == 15 {
                    return Err("a chunk's size has too many digits");
                }
                self.digits += 1;
                let digit = (byte as char).to_digit(16).unwrap_or(0);
                self.left = self.left << 4 | u64::from(digit);
                State::Size
            }
            (State::Size, _) if self.digits == 0 => return Err("a chunk has no size"),
            (State::Size, b';' | b' ' | b'\t') => State::Extension,
            (State::Size | State::Extension, b'\r') => State::SizeLf,
            (State::Size | State::Extension | State::SizeLf, b'\n') => {
                self.digits = 0;
                if self.left == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                }
            }
            (State::Size, _) => return Err("a chunk's size is no number"),
            (State::Extension, _) => self.aside(State::Extension)?,
            (State::DataEnd, b'\r') => State::DataLf,
            (State::DataEnd | State::DataLf, b'\n') => State::Size,
            (State::DataEnd, _) => return Err("a chunk is longer than its size"),
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::TrailerStart | State::LastLf, b'\n') => State::Done,
            (State::Trailer, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer, _) => self.aside(State::Trailer)?,
            (State::SizeLf | State::DataLf | State::LastLf, _) => {
                return Err("a carriage return without a line feed");
            }
            (State::Data | State::Done, _) => self.state,
        };
        Ok(())
    }

    fn aside(&mut self, state: State) -> Result<State, &'static str> {
        self.aside += 1;
        if self.aside > ASIDE {
            Err("extensions or trailers of chunks that do not end")
        } else {
            Ok(state)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<usize>), &'static str> {
        let mut decoder = Decoder::new();
        let mut body = Vec::new();
        let mut before = 0;
        for piece in pieces {
            match decoder.feed(piece, |part| body.extend_from_slice(part))? {
                Chunked::Done { used } => return Ok((body, Some(before + used))),
                Chunked::More => before += piece.len(),
            }
        }
        Ok((body, None))
    }

    #[test]
    fn sizes_extensions_and_trailers() {
        let stream = b"5;name=value\r\nhello\r\n00A \r\n0123456789\r\n0\r\nX-Took: 3\r\n\r\nrest";
        let (body, end) = decode(&[stream]).unwrap();
        assert_eq!(body, b"hello0123456789");
        assert_eq!(end, Some(stream.len() - 4));
    }

    #[test]
    fn damage_is_told() {
        for (stream, why) in [
            ("x\r\n", "a chunk has no size"),
            ("\r\n", "a chunk has no size"),
            ("5x\r\n", "a chunk's size is no number"),
            ("5\rhello", "a carriage return without a line feed"),
            ("2\r\nhello", "a chunk is longer than its size"),
            ("1111111111111111", "a chunk's size has too many digits"),
        ] {
            assert_eq!(decode(&[stream.as_bytes()]), Err(why), "{stream:?}");
        }
        assert!(decode(&[b"5;", &[b'x'; ASIDE + 1]]).is_err());
        assert_eq!(decode(&[b"5\r\nhel"]), Ok((b"hel".to_vec(), None)));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_body(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in any::<prop::sample::Index>(),
            again in any::<prop::sample::Index>(),
        ) {
            let mut stream = Vec::new();
            for part in &parts {
                stream.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                stream.extend_from_slice(part);
                stream.extend_from_slice(b"\r\n");
            }
            stream.extend_from_slice(b"0\r\n\r\n");
            let (a, b) = (cut.index(stream.len() + 1), again.index(stream.len() + 1));
            let (a, b) = (a.min(b), a.max(b));
            let got = decode(&[&stream[..a], &stream[a..b], &stream[b..]]);
            prop_assert_eq!(got, Ok((parts.concat(), Some(stream.len()))));
        }
    }
}
