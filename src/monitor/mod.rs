//! Showing this machine's power and state for as long as it lives: what `lem monitor` does.
//!
//! ```text
//! meters ─► Sampler ─► its own board ─► Ledger ─► the board that is served
//!    ▲                                     │
//!    └──────────── Watch ◄─────────────────┘   looks for the sensors again where some are lost
//! ```
//!
//! The [`Ledger`] makes of present readings what a scraper may rely on: counters that never go
//! back, energy where a sensor tells power alone (and the other way round), and nothing at all
//! where a reading is old. The [`Watch`] keeps the meters alive.

mod ledger;
mod watch;

pub use ledger::Ledger;
pub use watch::{Meters, Watch, cpu_seconds};
