use crate::Record;

/// Where the measurement puts what it learns. The measurement sees nothing else
/// of logs and sinks.
pub trait Recorder: Send + Sync {
    /// Appends to memory. Never blocks on a disk or a network, never fails: it
    /// may be called while the meter is measuring.
    fn record(&self, record: Record);

    /// Writes and syncs everything appended so far. For the time between cycles,
    /// and the end of a segment.
    fn commit(&self) -> std::io::Result<()>;

    /// Opens (`true`) or closes the quiet window: within it no sink sends, and a
    /// request that hangs is cancelled and sent again later.
    fn quiet(&self, on: bool);
}
