//! Runs in Prometheus, by every way into it.
//!
//! [`encode`] turns records into series, purely, under the names that the
//! OpenTelemetry-to-Prometheus translation gives, and writes them as text. All ways
//! in share it, so that a scrape, a push, a remote write and a file give the same
//! series.

mod at_end;
pub mod encode;
mod error;
pub mod file;
mod log;
mod points;
pub mod push;
pub mod remote_write;
pub mod scrape;
mod service;
mod summary;

pub use error::ConfigError;
