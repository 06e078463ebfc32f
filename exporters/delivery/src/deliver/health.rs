use std::sync::Arc;

use lem_record::{Attributes, Board, How, Live, Stamp};

use crate::cursor::Cursor;

/// How a delivery goes, on the board: a live sink shows it for all of them.
#[derive(Debug)]
pub(super) struct Health {
    failures: Arc<Live>,
    owed: Arc<Live>,
}

impl Health {
    pub(super) fn new(board: &Board, sink: &str) -> Self {
        let attributes = Attributes::from([("lem.sink".to_owned(), sink.to_owned())]);
        let series = |metric| board.series(metric, &attributes, How::Measured);
        Self {
            failures: series("export.failures"),
            owed: series("export.owed"),
        }
    }

    /// `next` is the number of the next record to be written.
    pub(super) fn show(&self, cursor: &Cursor, next: u64) {
        let t_ns = Stamp::mono_ns();
        self.failures.set(cursor.failures as f64, t_ns);
        self.owed.set(next.saturating_sub(cursor.next) as f64, t_ns);
    }
}
