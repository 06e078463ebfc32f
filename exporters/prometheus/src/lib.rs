//! Runs in Prometheus, by every way into it.
//!
//! [`encode`] turns records into series, purely, under the names that the
//! OpenTelemetry-to-Prometheus translation gives, and writes them as text. All ways
//! in share it, so that a scrape, a push, a remote write and a file give the same
//! series.

pub mod encode;
mod error;

pub use error::ConfigError;
