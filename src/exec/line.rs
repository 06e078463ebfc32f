//! One line of the protocol of marks.
//!
//! ```text
//! begin NAME [T]               a phase of this name starts
//! end NAME [T]                 it ends
//! mark NAME [T]                something happened, and took no time
//! tokens N [input|output] [T]  so many tokens were read or made; output where it is not said
//! ```
//!
//! T is CLOCK_MONOTONIC in nanoseconds; without it the time of arrival counts. An empty
//! line, and one that starts with `#`, says nothing.

/// The first words that are understood.
pub const VERBS: [&str; 4] = ["begin", "end", "mark", "tokens"];

/// A longer line is none of the protocol's.
pub const MAX_LINE: usize = 256;
const MAX_NAME: usize = 64;
/// Of one line: more tokens than any machine makes in a year.
const MAX_TOKENS: u64 = 1_000_000_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Begin { name: String, t_ns: Option<u64> },
    End { name: String, t_ns: Option<u64> },
    Mark { name: String, t_ns: Option<u64> },
    Tokens { count: u64, input: bool },
    Nothing,
}

/// Why a line was not taken. It never holds the line's own text: whoever may write into
/// the pipe could put anything there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refused {
    NotText,
    TooLong,
    Verb,
    Name,
    Time,
    Count,
    TooManyWords,
    TimeOutside,
    BeginsTwice,
    NotBegun,
    EndsFirst,
    TooManyNames,
    TooManySpans,
}

impl Refused {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotText => "it is no UTF-8 text",
            Self::TooLong => "it is longer than 256 bytes",
            Self::Verb => "it does not start with begin, end, mark or tokens",
            Self::Name => "a name has 1 to 64 letters, digits, and . _ - of ASCII",
            Self::Time => "its time is no whole number of nanoseconds",
            Self::Count => "tokens needs a whole number up to 10^12, then input or output",
            Self::TooManyWords => "it has too many words",
            Self::TimeOutside => {
                "its time lies outside the command's life: it has to be CLOCK_MONOTONIC in \
                 nanoseconds (time.monotonic_ns() in Python)"
            }
            Self::BeginsTwice => "a phase of this name was open already",
            Self::NotBegun => "no phase of this name was open",
            Self::EndsFirst => "the phase would end before it begins",
            Self::TooManyNames => "there are more than 64 names",
            Self::TooManySpans => "there are more than 200,000 phases and marks",
        }
    }
}

/// What a line says, without its line break.
pub fn parse(line: &[u8]) -> Result<Line, Refused> {
    if line.len() > MAX_LINE {
        return Err(Refused::TooLong);
    }
    let text = std::str::from_utf8(line).map_err(|_| Refused::NotText)?;
    let mut words = text.split_ascii_whitespace();
    let Some(verb) = words.next().filter(|verb| !verb.starts_with('#')) else {
        return Ok(Line::Nothing);
    };
    let line = match verb {
        "begin" | "end" | "mark" => {
            let name = name(words.next())?;
            let t_ns = words.next().map(time).transpose()?;
            match verb {
                "begin" => Line::Begin { name, t_ns },
                "end" => Line::End { name, t_ns },
                _ => Line::Mark { name, t_ns },
            }
        }
        "tokens" => {
            let count = words.next().and_then(|word| word.parse().ok());
            let count = count.filter(|n| *n <= MAX_TOKENS).ok_or(Refused::Count)?;
            let mut input = false;
            if let Some(word) = words.next() {
                match word {
                    "input" => input = true,
                    "output" => {}
                    // A time alone is as good.
                    other => drop(time(other).map_err(|_| Refused::Count)?),
                }
                words.next().map(time).transpose()?;
            }
            Line::Tokens { count, input }
        }
        _ => return Err(Refused::Verb),
    };
    match words.next() {
        None => Ok(line),
        Some(_) => Err(Refused::TooManyWords),
    }
}

fn name(word: Option<&str>) -> Result<String, Refused> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    word.filter(|w| (1..=MAX_NAME).contains(&w.len()) && w.bytes().all(allowed))
        .map(str::to_owned)
        .ok_or(Refused::Name)
}

fn time(word: &str) -> Result<u64, Refused> {
    // `parse` would take a sign.
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    word.parse().ok().filter(|_| digits).ok_or(Refused::Time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn begin(name: &str, t_ns: Option<u64>) -> Result<Line, Refused> {
        let name = name.to_owned();
        Ok(Line::Begin { name, t_ns })
    }

    #[test]
    fn lines_are_understood() {
        for (line, told) in [
            ("begin prefill", begin("prefill", None)),
            ("  begin\tprefill 17 \r", begin("prefill", Some(17))),
            (
                "end step-1.a_b 9",
                Ok(Line::End {
                    name: "step-1.a_b".into(),
                    t_ns: Some(9),
                }),
            ),
            (
                "mark loaded",
                Ok(Line::Mark {
                    name: "loaded".into(),
                    t_ns: None,
                }),
            ),
            (
                "tokens 12",
                Ok(Line::Tokens {
                    count: 12,
                    input: false,
                }),
            ),
            (
                "tokens 12 input 55",
                Ok(Line::Tokens {
                    count: 12,
                    input: true,
                }),
            ),
            ("", Ok(Line::Nothing)),
            ("# begin x", Ok(Line::Nothing)),
            ("start x", Err(Refused::Verb)),
            ("begin", Err(Refused::Name)),
            ("begin ../x", Err(Refused::Name)),
            ("begin x 1.5", Err(Refused::Time)),
            ("begin x -1", Err(Refused::Time)),
            ("begin x +1", Err(Refused::Time)),
            ("begin x 99999999999999999999", Err(Refused::Time)),
            ("begin x 1 2", Err(Refused::TooManyWords)),
            ("tokens", Err(Refused::Count)),
            ("tokens -1", Err(Refused::Count)),
            ("tokens 9999999999999", Err(Refused::Count)),
            ("tokens 1 both", Err(Refused::Count)),
        ] {
            assert_eq!(parse(line.as_bytes()), told, "{line:?}");
        }
        assert_eq!(parse(b"begin \xff"), Err(Refused::NotText));
        assert_eq!(parse(&[b'x'; 300]), Err(Refused::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(line in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&line);
        }
    }
}
