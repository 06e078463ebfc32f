//! Files of `/proc` and `/sys` that are kept open and read again at each tick.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Reading from offset 0 makes the kernel write the file anew: one system call, no allocation.
#[derive(Debug)]
pub(super) struct OpenFile(File);

impl OpenFile {
    /// Opens the file and reads it once, so that a file that opens but does not read is found out.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = Self(File::open(path)?);
        file.0.read_at(&mut [0; 16], 0)?;
        Ok(file)
    }

    /// As much as fits the buffer.
    pub fn read<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let n = self.0.read_at(buffer, 0)?;
        Ok(buffer.get(..n).unwrap_or_default())
    }

    pub fn read_u64(&self) -> io::Result<u64> {
        let mut buffer = [0; 32];
        first_number(self.read(&mut buffer)?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a whole number"))
    }
}

/// The number that a line starts with, after blanks.
pub(super) fn first_number(text: &[u8]) -> Option<u64> {
    numbers(text).next().flatten()
}

/// The words of a line as numbers; `None` for a word that is not one.
pub(super) fn numbers(line: &[u8]) -> impl Iterator<Item = Option<u64>> + '_ {
    line.split(|b| b.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| std::str::from_utf8(word).ok()?.parse().ok())
}
