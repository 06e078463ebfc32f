//! The index's file: lines of JSON.
//!
//! ```text
//! {"lem_index":3,"lem":"0.1.0"}      who wrote it
//! "config.batching.batch_size"       a key: the next number, from 0
//! =1a2b3c4d⇥["run-a",[…]]⇥[0,8,3,"finished"]   a run: checksum of what follows, path and
//!                                    stamp, key number and value by turns; tabs between
//! {"end":1}                          how many runs; without it the file is torn
//! ```
//!
//! The checksum spares whoever only looks what is there the reading of all values. A file of another format or version of lem, or one that is torn, is as good as none.

use std::fmt;
use std::io::{self, BufRead, Write};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::scan::Stamp;

const FORMAT: u32 = 3;
/// No run has as many fields.
const MOST_LINE: usize = 64 << 20;

/// One line that was read.
pub enum Line {
    Key(String),
    Run {
        path: String,
        stamp: Stamp,
        values: Vec<Value>,
    },
    End {
        runs: u64,
    },
}

/// Reads an index from its start.
pub struct Reader<R> {
    from: R,
    line: Vec<u8>,
    begun: bool,
}

impl<R: BufRead> Reader<R> {
    pub fn new(from: R) -> Self {
        Self {
            from,
            line: Vec::new(),
            begun: false,
        }
    }

    /// The next line; of a run the values whose keys have a slot. `Err` where the file is no
    /// whole index of ours.
    pub fn next(&mut self, slots: &Slots) -> Result<Line, Foreign> {
        if !self.begun {
            self.read()?;
            let header: Value = serde_json::from_slice(&self.line).map_err(|_| Foreign)?;
            if header != header_line() {
                return Err(Foreign);
            }
            self.begun = true;
        }
        self.read()?;
        match self.line.first() {
            Some(b'"') => {
                let key: String = serde_json::from_slice(&self.line).map_err(|_| Foreign)?;
                Ok(Line::Key(key))
            }
            Some(b'=') => self.run(slots).ok_or(Foreign),
            _ => {
                let end: Value = serde_json::from_slice(&self.line).map_err(|_| Foreign)?;
                let runs = end.get("end").and_then(Value::as_u64).ok_or(Foreign)?;
                Ok(Line::End { runs })
            }
        }
    }

    /// The line of a run. Without slots nobody wants its values, and they are not read.
    fn run(&self, slots: &Slots) -> Option<Line> {
        let line = self.line.strip_suffix(b"\n")?;
        let (sum, rest) = (line.get(1..9)?, line.get(10..)?);
        if line.get(9) != Some(&b'\t') || sum != checksum(rest).as_bytes() {
            return None;
        }
        // JSON has no tab but as an escape.
        let tab = rest.iter().position(|byte| *byte == b'\t')?;
        let (path, stamp): (String, Stamp) = serde_json::from_slice(rest.get(..tab)?).ok()?;
        let values = if slots.count == 0 {
            Vec::new()
        } else {
            let mut from = serde_json::Deserializer::from_slice(rest.get(tab + 1..)?);
            slots.deserialize(&mut from).ok()?
        };
        Some(Line::Run {
            path,
            stamp,
            values,
        })
    }

    /// The line that was read last, with its newline.
    pub fn raw(&self) -> &[u8] {
        &self.line
    }

    fn read(&mut self) -> Result<(), Foreign> {
        self.line.clear();
        let mut limited = io::Read::take(&mut self.from, MOST_LINE as u64);
        let read = limited
            .read_until(b'\n', &mut self.line)
            .map_err(|_| Foreign)?;
        if read == 0 || self.line.last() != Some(&b'\n') {
            return Err(Foreign);
        }
        Ok(())
    }
}

/// Not a whole index of this version of lem.
#[derive(Debug)]
pub struct Foreign;

fn header_line() -> Value {
    json!({"lem_index": FORMAT, "lem": env!("CARGO_PKG_VERSION")})
}

/// Writes an index.
pub struct Writer<W> {
    to: W,
    runs: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(mut to: W) -> io::Result<Self> {
        writeln!(to, "{}", header_line())?;
        Ok(Self { to, runs: 0 })
    }

    pub fn key(&mut self, key: &str) -> io::Result<()> {
        serde_json::to_writer(&mut self.to, key)?;
        self.to.write_all(b"\n")
    }

    /// A run's line as it stood in another index with the same keys.
    pub fn raw(&mut self, line: &[u8]) -> io::Result<()> {
        self.runs += 1;
        self.to.write_all(line)
    }

    pub fn run(&mut self, path: &str, stamp: Stamp, fields: &[(usize, Value)]) -> io::Result<()> {
        self.runs += 1;
        let flat: Vec<Value> = fields
            .iter()
            .flat_map(|(key, value)| [json!(key), value.clone()])
            .collect();
        let mut line = serde_json::to_vec(&(path, stamp))?;
        line.push(b'\t');
        serde_json::to_writer(&mut line, &flat)?;
        write!(self.to, "={}\t", checksum(&line))?;
        self.to.write_all(&line)?;
        self.to.write_all(b"\n")
    }

    pub fn end(mut self) -> io::Result<W> {
        writeln!(self.to, "{}", json!({"end": self.runs}))?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// Which keys are wanted: by number, the place of each among the values.
#[derive(Debug, Default)]
pub struct Slots {
    pub by_key: Vec<Option<usize>>,
    pub count: usize,
}

fn checksum(of: &[u8]) -> String {
    let mut sum = flate2::Crc::new();
    sum.update(of);
    format!("{:08x}", sum.sum())
}

impl<'de> DeserializeSeed<'de> for &Slots {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Vec<Value>, D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &Slots {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("keys and values by turns")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<Value>, A::Error> {
        let mut values = vec![Value::Null; self.count];
        while let Some(key) = seq.next_element::<usize>()? {
            let slot = self.by_key.get(key).copied().flatten();
            match slot.and_then(|slot| values.get_mut(slot)) {
                Some(slot) => *slot = seq.next_element()?.unwrap_or_default(),
                None => {
                    seq.next_element::<IgnoredAny>()?;
                }
            }
        }
        Ok(values)
    }
}
