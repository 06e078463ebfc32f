//! How well the client itself kept up.

/// What the run tells of itself at its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What due times count from.
    pub start_ns: u64,
    pub end_ns: u64,
    pub finished: u64,
    pub failed: u64,
    /// Most requests in flight at one time.
    pub peak_in_flight: u64,
    /// Due to really sent, connecting included.
    pub lag: Quantiles,
    /// From the kernel's receiving to our reading, for the reads that the kernel stamped: the
    /// delay that the stamps of those reads do not have.
    pub read_delay: Quantiles,
    /// Reads with bytes in them; those beyond `read_delay.count` are stamped when they were read.
    pub reads: u64,
    /// How long the loop was busy in one turn: a stream that became readable right at its
    /// start waited at most this long to be read.
    pub turn: Quantiles,
    /// Processor time of the thread of the run.
    pub cpu_ns: u64,
    /// How long that thread was ready to run and had no core (from the scheduler; `None` where
    /// the kernel does not tell). Where this is large, the client's times are late by it.
    pub waited_for_core_ns: Option<u64>,
    pub connections: u64,
    /// Requests that went over a connection that was there already.
    pub reused: u64,
    /// Requests sent again because a kept connection had been closed.
    pub resent: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub chunks: u64,
    /// Some request failed because no more files could be opened.
    pub ran_out_of_files: bool,
    /// The limit on open files, if fewer connections fit than the plan may need: what to do.
    pub open_files_note: Option<String>,
}

/// Of durations in nanoseconds; absent where there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    pub count: u64,
    pub p50_ns: Option<u64>,
    pub p90_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub max_ns: Option<u64>,
}
