//! `remote-write`: every sample at its own time, into any receiver of Prometheus remote write.
//!
//! [`plan`] turns records into atoms, purely; [`courier`] sends them in groups and finds
//! out what a refusal is about; [`sender`] makes one request of a group, by version 1.0
//! or 2.0.

mod atom;
mod body;
mod check;
mod config;
mod courier;
mod exporter;
mod plan;
pub mod proto;
mod sender;
mod state;
mod verdict;

pub use atom::{Atom, Labels, Row};
pub use body::{v1, v2};
pub use config::{Protocol, RemoteWriteConfig};
pub use exporter::RemoteWriteExporter;
pub use plan::{Plan, STALE, encode};
pub use state::State;
