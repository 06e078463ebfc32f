use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use lem_record::{Envelope, MAX_LINE_BYTES};

use super::writable::{lost, writable};
use crate::gate::Position;

/// Encoded text is handed to the file in pieces of about this size.
const PIECE: usize = 4 << 20;

/// The end of the file, and what still has to get there.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) file: File,
    path: PathBuf,
    /// Whole lines, written and synced.
    good: Position,
    /// The file may hold a half line after them, which could not be cut off.
    torn: bool,
    /// Taken over, not yet on the disk.
    waiting: Vec<Envelope>,
}

impl Writer {
    /// Opens the log and cuts it to its good part.
    pub(super) fn open(path: &Path, good: Position) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        if file.metadata()?.len() > good.bytes {
            file.set_len(good.bytes)?;
            file.sync_all()?;
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            good,
            torn: false,
            waiting: Vec::new(),
        })
    }

    pub(super) fn position(&self) -> Position {
        self.good
    }

    /// Appends and syncs the records, and those that an earlier call could not.
    pub(super) fn append(&mut self, records: Vec<Envelope>) -> io::Result<()> {
        self.waiting.extend(records);
        if self.waiting.is_empty() {
            return Ok(());
        }
        match self.write() {
            Ok(good) => {
                self.good = good;
                self.torn = false;
                self.waiting.clear();
                Ok(())
            }
            Err(error) => {
                self.torn = self.file.set_len(self.good.bytes).is_err();
                Err(io::Error::new(
                    error.kind(),
                    format!(
                        "{} records could not be written to {}: {error}. They are kept in memory \
                         and written with the next commit; free some space on that disk",
                        self.waiting.len(),
                        self.path.display()
                    ),
                ))
            }
        }
    }

    fn write(&mut self) -> io::Result<Position> {
        let mut buffer = Vec::new();
        let mut good = self.good;
        if self.torn {
            buffer.push(b'\n');
            // what the half line takes is only known from the file
            good.bytes = self.file.metadata()?.len();
        }
        for envelope in &mut self.waiting {
            writable(&mut envelope.record);
            let start = buffer.len();
            serde_json::to_writer(&mut buffer, envelope)?;
            let length = buffer.len() - start;
            if length > MAX_LINE_BYTES {
                let why = format!("it takes {length} bytes, {MAX_LINE_BYTES} are the most");
                envelope.record = lost(envelope.record.kind(), &why);
                buffer.truncate(start);
                serde_json::to_writer(&mut buffer, envelope)?;
            }
            buffer.push(b'\n');
            good.next = envelope.n + 1;
            if buffer.len() >= PIECE {
                self.file.write_all(&buffer)?;
                good.bytes += buffer.len() as u64;
                buffer.clear();
            }
        }
        self.file.write_all(&buffer)?;
        good.bytes += buffer.len() as u64;
        self.file.sync_data()?;
        Ok(good)
    }
}
