//! One metric's file: a line `<ms> <value> <step>` for each point.
//!
//! A batch may come again, after a crash before its acknowledgement or because a
//! finished run is exported once more. So the lines of a file that was there before
//! are remembered, by hash, and only the others are appended.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

use crate::encode::Series;

#[derive(Debug, Default)]
pub(super) struct History {
    /// Of the lines that stood there when it was opened.
    lines: HashSet<u64>,
}

/// Longer than any line of ours, or of MLflow's.
const LONGEST: u64 = 4096;

impl History {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut lines = HashSet::new();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        let mut whole = 0;
        loop {
            line.clear();
            let read = (&mut reader).take(LONGEST).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                // torn by a crash: it would spoil the next line too
                if read > 0 {
                    OpenOptions::new().write(true).open(path)?.set_len(whole)?;
                }
                return Ok(Self { lines });
            }
            whole += read as u64;
            lines.insert(hash(&line));
        }
    }

    /// Appends the points that are not there yet; says how many are there now of those given.
    pub fn append(&self, path: &Path, series: &Series<'_>) -> io::Result<u64> {
        let mut count = 0;
        let mut text = Vec::with_capacity(series.len() * 40);
        for (value, time, step) in series.points() {
            let start = text.len();
            write!(text, "{time} ")?;
            serde_json::to_writer(&mut text, &value)?;
            writeln!(text, " {step}")?;
            if text
                .get(start..)
                .is_some_and(|line| self.lines.contains(&hash(line)))
            {
                text.truncate(start);
            }
            count += 1;
        }
        if !text.is_empty() {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            file.write_all(&text)?;
            file.sync_data()?;
        }
        Ok(count)
    }
}

fn hash(line: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::sync::Arc;

    use super::History;
    use crate::encode::{Series, Values};

    fn append(path: &Path, values: &[Option<f64>]) -> u64 {
        let times: Arc<[_]> = (0..values.len() as i64).map(|i| (1000 + i, i)).collect();
        let series = Series {
            n: 0,
            key: "k".into(),
            scale: 1.0,
            values: Values::Many(values),
            times,
        };
        History::open(path).unwrap().append(path, &series).unwrap()
    }

    #[test]
    fn the_same_points_again_change_nothing_and_a_torn_line_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        assert_eq!(append(&path, &[Some(0.5), None, Some(1e300)]), 2);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "1000 0.5 0\n1002 1e+300 2\n");
        append(&path, &[Some(0.5), None, Some(1e300)]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        for torn in 0..text.len() {
            std::fs::write(&path, &text[..torn]).unwrap();
            append(&path, &[Some(0.5), None, Some(1e300)]);
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                text,
                "torn at {torn}"
            );
        }
    }
}
