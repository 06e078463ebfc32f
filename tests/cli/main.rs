//! The command line as scripts and people use it: the built binary, a tiny model with
//! random weights, real files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod ci;
mod contract;
mod exec;
mod export;
mod help;
mod interrupt;
mod killed;
mod migrate;
mod mlflow;
mod monitor;
mod numbers;
mod otlp;
mod plot;
mod prometheus_push;
mod prometheus_scrape;
mod results;
mod resume;
mod secrets;
mod served_kinds;
mod servers;
mod sinks;
mod sinks_check;
mod support;
mod verify;
mod version_2;
mod workers;
