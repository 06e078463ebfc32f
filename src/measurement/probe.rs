use lem_record::{Record, Samples};

/// The meters' sampler, as the measurement sees it.
pub trait Probe: Sync {
    /// Reads every sensor and starts to keep what is sampled.
    fn begin_window(&self);

    /// What was sampled since the window began or the last segment.
    fn take_segment(&self) -> Vec<Samples>;

    /// Reads every sensor and stops keeping.
    fn end_window(&self) -> Window;
}

/// What a window, or its last segment, brought.
#[derive(Clone, Debug, Default)]
pub struct Window {
    pub samples: Vec<Samples>,
    /// Clock pairs and warnings (a source that fell away), ready for the log.
    pub notes: Vec<Record>,
    pub missed: u64,
}
