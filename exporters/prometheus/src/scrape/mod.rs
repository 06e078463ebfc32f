//! A scrape endpoint, for as long as a run goes on and until its end was scraped.
//!
//! [`page`] is what is shown, [`site`] who gets to see it and in which form, and
//! [`server`] a thread of its own that listens: it answers also while the run is
//! measured, because the user asked for that, and counts what that costs.

mod accept;
mod auth;
mod config;
mod exporter;
mod linger;
mod page;
mod served;
mod server;
mod site;
mod tls;

pub use config::{DEFAULT_ADDRESS, LINGER_S, PrometheusConfig, ServerTls};
pub use exporter::PrometheusExporter;
