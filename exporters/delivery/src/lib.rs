//! From a run's log to its sinks.
//!
//! ```text
//! Recorder ─► Spool ─► records.jsonl ─► courier (cursor, batches, retry) ─► dyn Exporter
//!                                    └► courier …                         ─► dyn Exporter
//! ```
//!
//! [`Spool`] is the run log that a measurement writes; [`LogReader`] and [`Log`] read
//! it, whatever a crash has left of it. [`Delivery`] feeds sinks from it while the
//! run goes on, [`deliver_once`] afterwards; each sink's [`Cursor`] says how far it
//! is, and its [`Outcome`] what to tell people. This crate knows no sink by name.

mod cursor;
mod deliver;
mod disk;
mod gate;
mod lock;
mod log;
mod outcome;
mod spool;
mod thin;

pub use cursor::{Cursor, DELIVERY_FOLDER, LastError};
pub use deliver::{DEFAULT_DEADLINE, DeliverError, Delivery, Policy, deliver_once};
pub use lock::{Holder, LOCK_FILE, LockError, RunLock, holder};
pub use log::{Entry, Facts, Log, LogError, LogReader, RECORDS_FILE, Skip, Standing, Torn};
pub use outcome::{DeliveryState, Outcome};
pub use spool::{Spool, SpoolError};
pub use thin::{MAX_POINTS, Thinned, allowance, thin};
