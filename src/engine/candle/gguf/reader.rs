//! Numbers and texts from a stream, counted against a limit.

use std::io::Read;

use super::GgufError;

pub(super) struct Reader<R> {
    source: R,
    at: u64,
    end: u64,
}

impl<R: Read> Reader<R> {
    /// Reads at most `end` bytes.
    pub fn new(source: R, end: u64) -> Self {
        Self { source, at: 0, end }
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn error(&self, what: impl Into<String>) -> GgufError {
        GgufError {
            at: self.at,
            what: what.into(),
        }
    }

    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A text with its length before it. What is not UTF-8 in it is replaced, as every
    /// other reader of the format does.
    pub fn text(&mut self, max_bytes: u64, what: &str) -> Result<String, GgufError> {
        let bytes = self.u64(what)?;
        self.limit(what, bytes, max_bytes, 1)?;
        let mut text = vec![0; bytes as usize];
        self.fill(&mut text, what)?;
        Ok(match String::from_utf8(text) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// Refuses a count that is over `max`, or that what is left of the file cannot hold
    /// at `least` bytes each.
    pub fn limit(&self, what: &str, count: u64, max: u64, least: u64) -> Result<(), GgufError> {
        if count > max {
            return Err(self.error(format!("{what}: {count} is more than the {max} allowed")));
        }
        let left = self.end - self.at;
        if count.saturating_mul(least) > left {
            return Err(self.error(format!(
                "{what}: {count} cannot fit in the {left} bytes that are left: the file is cut off"
            )));
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8], what: &str) -> Result<(), GgufError> {
        self.limit(what, bytes.len() as u64, u64::MAX, 1)?;
        self.source
            .read_exact(bytes)
            .map_err(|error| self.error(format!("cannot read {what}: {error}")))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
