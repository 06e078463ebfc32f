use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use lem_record::{Envelope, Record};

use super::facts::{Facts, Torn};
use super::lines::{Line, Lines};
use super::{LogError, RECORDS_FILE};

/// A number beyond this is not of our making (and JSON readers would round it).
const MAX_NUMBER: u64 = 1 << 53;

/// A record, and where its line stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub envelope: Envelope,
    /// Byte offset of the line.
    pub start: u64,
    /// Byte offset of the next line.
    pub end: u64,
}

/// Reads a log record by record, in memory bounded by one line.
///
/// It yields the records of one run in strictly increasing number. All else is
/// passed over and told by [`LogReader::facts`].
#[derive(Debug)]
pub struct LogReader<R = BufReader<File>> {
    lines: Lines<R>,
    line: Vec<u8>,
    line_number: u64,
    /// Of the run; that of the first record where not told.
    run: Option<String>,
    /// The number that should come next.
    next: u64,
    /// Records below are passed over in silence.
    from: u64,
    /// An entry that was read to judge the one before it.
    ahead: Option<(Entry, u64)>,
    facts: Facts,
}

impl LogReader {
    /// Reads a run's folder from the first record to the end of the file.
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        let path = folder.join(RECORDS_FILE);
        let file = File::open(&path).map_err(|source| LogError::open(folder, source))?;
        Ok(Self::new(BufReader::with_capacity(1 << 16, file)))
    }

    /// Reads on from a record. `offset` is where its line is thought to begin; a
    /// wrong one costs a pass over the file, not a record.
    pub fn open_at(folder: &Path, run: &str, from: u64, offset: u64) -> Result<Self, LogError> {
        let path = folder.join(RECORDS_FILE);
        let at = |source| LogError::open(folder, source);
        let mut file = File::open(&path).map_err(at)?;
        let trusted = offset > 0 && Self::fits(&file, run, from, offset).map_err(at)?;
        let (offset, next) = if trusted { (offset, from) } else { (0, 0) };
        file.seek(SeekFrom::Start(offset)).map_err(at)?;
        let mut reader = Self::starting(BufReader::with_capacity(1 << 16, file), offset, next);
        reader.run = Some(run.to_owned());
        reader.from = from;
        Ok(reader)
    }

    /// Whether a line ends right before the offset, and that of record `from` begins there.
    fn fits(mut file: &File, run: &str, from: u64, offset: u64) -> io::Result<bool> {
        if offset > file.metadata()?.len() {
            return Ok(false);
        }
        let mut before = [0];
        file.seek(SeekFrom::Start(offset - 1))?;
        if file.read(&mut before)? == 0 || before != *b"\n" {
            return Ok(false);
        }
        let mut probe = LogReader::starting(BufReader::new(file), offset, from);
        probe.run = Some(run.to_owned());
        Ok(match probe.next_entry()? {
            Some(entry) => entry.envelope.n == from,
            None => probe.facts == Facts::default(),
        })
    }
}

impl<R: BufRead> LogReader<R> {
    /// Reads from any source, from its first byte.
    pub fn new(from: R) -> Self {
        Self::starting(from, 0, 0)
    }

    fn starting(from: R, offset: u64, next: u64) -> Self {
        Self {
            lines: Lines::new(from, offset),
            line: Vec::new(),
            line_number: 0,
            run: None,
            next,
            from: 0,
            ahead: None,
            facts: Facts::default(),
        }
    }

    /// Takes that many bytes of the file for its end; may grow as the file does.
    pub fn set_limit(&mut self, bytes: u64) {
        self.lines.set_limit(bytes);
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The run that is read, once known.
    pub fn run(&self) -> Option<&str> {
        self.run.as_deref()
    }

    /// How far it has read.
    pub fn offset(&self) -> u64 {
        self.lines.offset()
    }

    /// The next record, or none at the end.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let (entry, line) = match self.ahead.take() {
                Some(ahead) => ahead,
                None => match self.decodable()? {
                    Some(entry) => (entry, self.line_number),
                    None => return Ok(None),
                },
            };
            let n = entry.envelope.n;
            if n < self.next {
                self.facts.duplicates += 1;
                continue;
            }
            if n > self.next {
                // Records are missing, or this line's number is damaged. Where the
                // following line goes back, it is the number: to believe it would
                // make duplicates of all that follows.
                self.ahead = self.decodable()?.map(|entry| (entry, self.line_number));
                let following = self.ahead.as_ref().map(|(entry, _)| entry.envelope.n);
                if following.is_some_and(|following| (self.next..=n).contains(&following)) {
                    let next = self.next;
                    let why = format!("its number is {n} where {next} should follow");
                    self.facts.skip(line, entry.start, why);
                    continue;
                }
                self.facts.missing += n - self.next;
            }
            self.next = n + 1;
            if n < self.from {
                continue;
            }
            self.facts.records += 1;
            if matches!(entry.envelope.record, Record::Unknown(_)) {
                self.facts.unknown_kinds += 1;
            }
            return Ok(Some(entry));
        }
    }

    /// The next line that is a record of this run.
    fn decodable(&mut self) -> io::Result<Option<Entry>> {
        loop {
            let line = self.lines.next(&mut self.line)?;
            if line != Line::End {
                self.line_number += 1;
            }
            let number = self.line_number;
            let (start, end) = match line {
                Line::End => return Ok(None),
                Line::Torn { start, end } => {
                    self.facts.torn = Some(Torn {
                        offset: start,
                        bytes: end - start,
                    });
                    return Ok(None);
                }
                Line::TooLong { start, .. } => {
                    self.facts
                        .skip(number, start, lem_record::DecodeError::TooLong.to_string());
                    continue;
                }
                Line::Whole { start, end } => (start, end),
            };
            if self.line.trim_ascii().is_empty() {
                continue; // the end of a line that a full disk cut short
            }
            let envelope = match std::str::from_utf8(&self.line) {
                Ok(line) => Envelope::decode(line).map_err(|error| error.to_string()),
                Err(error) => Err(format!("not text: {error}")),
            };
            match envelope {
                Err(why) => self.facts.skip(number, start, why),
                Ok(envelope) if envelope.n > MAX_NUMBER => {
                    self.facts
                        .skip(number, start, format!("its number is {}", envelope.n));
                }
                Ok(envelope) => {
                    if envelope.run != *self.run.get_or_insert_with(|| envelope.run.clone()) {
                        self.facts.foreign += 1;
                        continue;
                    }
                    return Ok(Some(Entry {
                        envelope,
                        start,
                        end,
                    }));
                }
            }
        }
    }
}

impl<R: BufRead> Iterator for LogReader<R> {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_entry().transpose()
    }
}
